//! The command `healthcheck`: for images without a shell.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::ensure;

/// Asks a service on this machine whether it is ready.
pub(crate) async fn healthcheck(mut address: SocketAddr) -> anyhow::Result<()> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    // A proxy of the environment's is for others.
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3));
    let request = client
        .build()?
        .get(format!("http://{address}/health/ready"));
    let answer = request.send().await.map_err(|error| {
        if error.is_timeout() {
            anyhow::anyhow!("no answer in 3 s")
        } else {
            error.into()
        }
    });
    let status = answer?.status();
    ensure!(status.is_success(), "not ready: {status}");
    Ok(())
}
