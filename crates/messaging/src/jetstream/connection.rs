//! The connection to NATS: where to, whom we trust, who we are, and whether it is there.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_nats::{Client, ConnectOptions, ServerAddr};
use db::setting::{Unusable, unusable};
use metrics::gauge;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::sync::watch;

use super::identity::Identity;
use crate::{NatsAccess, NatsOptions, Timing, metrics::NATS_CONNECTED};

/// Connects in the background: a server that is away is tried again for ever. The second says whether it is connected.
pub(super) async fn connect(
    nats: &NatsOptions,
    service: &str,
    timing: Timing,
) -> Result<(Client, watch::Receiver<bool>), Unusable> {
    let (is_connected, connected) = watch::channel(false);
    let identity = Identity::of(nats)?;
    let servers = nats.urls().map(|url| without_credentials(url).parse());
    let servers: Result<Vec<ServerAddr>, _> = servers.collect();
    let servers = servers.map_err(unusable("NATS_URL"))?;
    let mut options = ConnectOptions::with_auth_callback(move |nonce| identity.clone().auth(nonce));
    options = with_tls(options, &nats.access)?;
    if !nats.access.nats_inbox_prefix.is_empty() {
        options = options.custom_inbox_prefix(&nats.access.nats_inbox_prefix);
    }
    gauge!(NATS_CONNECTED).set(0.0);
    let is_told = AtomicBool::new(false);
    let client = options
        .name(service)
        .retry_on_initial_connect()
        .ping_interval(timing.nats_ping)
        .reconnect_delay_callback(move |attempts| {
            reconnect_delay(attempts, timing.longest_reconnect)
        })
        .event_callback(move |event| {
            match event {
                async_nats::Event::Connected => {
                    tracing::info!("connected to NATS");
                    is_told.store(false, Ordering::Relaxed);
                    gauge!(NATS_CONNECTED).set(1.0);
                    is_connected.send_replace(true);
                }
                async_nats::Event::Disconnected | async_nats::Event::Closed => {
                    // It is closed by us alone, at the end.
                    if event == async_nats::Event::Disconnected {
                        tracing::warn!("not connected to NATS; events wait");
                    }
                    gauge!(NATS_CONNECTED).set(0.0);
                    is_connected.send_replace(false);
                }
                // One attempt after the other fails: the first tells why.
                async_nats::Event::ClientError(error) if !is_told.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(%error, "cannot connect to NATS; events wait");
                }
                _ => {}
            }
            std::future::ready(())
        })
        .connect(servers)
        .await
        .map_err(unusable("NATS_URL"))?;
    Ok((client, connected))
}

/// Grows with the number of attempts that failed.
fn reconnect_delay(attempts: usize, longest: Duration) -> Duration {
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    longest.min(Duration::from_millis(20).saturating_mul(attempts))
}

/// The files are read at the start: the client would try a bad one again and again. It reads them at each connection, too.
fn with_tls(mut options: ConnectOptions, access: &NatsAccess) -> Result<ConnectOptions, Unusable> {
    if let Some(authorities) = &access.nats_tls_ca_file {
        CertificateDer::from_pem_file(authorities).map_err(unusable("NATS_TLS_CA_FILE"))?;
        options = options
            .add_root_certificates(authorities.clone())
            .require_tls(true);
    }
    if access.nats_tls_first {
        options = options.tls_first();
    }
    match (&access.nats_tls_cert_file, &access.nats_tls_key_file) {
        (None, None) => Ok(options),
        (Some(certificate), Some(key)) => {
            CertificateDer::from_pem_file(certificate).map_err(unusable("NATS_TLS_CERT_FILE"))?;
            PrivateKeyDer::from_pem_file(key).map_err(unusable("NATS_TLS_KEY_FILE"))?;
            Ok(options
                .add_client_certificate(certificate.clone(), key.clone())
                .require_tls(true))
        }
        (Some(_), None) => Err(unusable("NATS_TLS_CERT_FILE")("it needs NATS_TLS_KEY_FILE")),
        (None, Some(_)) => Err(unusable("NATS_TLS_KEY_FILE")("it needs NATS_TLS_CERT_FILE")),
    }
}

/// The client logs addresses as they are.
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_to_connect_come_less_and_less_often_up_to_one_a_second() {
        let longest = Duration::from_secs(1);
        assert_eq!(reconnect_delay(1, longest), Duration::from_millis(20));
        assert_eq!(reconnect_delay(10, longest), Duration::from_millis(200));
        for many in [50, 1_000_000, usize::MAX] {
            assert_eq!(reconnect_delay(many, longest), longest);
        }
    }

    #[test]
    fn what_is_logged_of_an_address_holds_no_password() {
        for (url, logged) in [
            ("nats://user:pa@ss@host:4222", "nats://host:4222"),
            ("tls://token@host", "tls://host"),
            ("user:password@host:4222", "nats://host:4222"),
            ("host", "nats://host"),
        ] {
            assert_eq!(without_credentials(url), logged);
        }
    }
}
