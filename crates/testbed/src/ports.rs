//! Ports of this machine that nothing listens on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// All are bound at once, so that no two are the same.
pub fn free_ports(count: usize) -> Vec<u16> {
    let bound: Vec<_> = (0..count)
        .map(|_| TcpListener::bind(local(0)).unwrap())
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    bound.iter().map(port).collect()
}
