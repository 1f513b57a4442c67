//! The connection to NATS: where to, whom we trust, who we are, and whether it is there.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use db::setting::{Unusable, unusable};
use metrics::{Gauge, gauge};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::sync::watch;

use super::{denied::Denied, identity::Identity, outage::Outage};
use crate::{NatsAccess, NatsOptions, Timing, metrics::NATS_CONNECTED};

/// A connection, or attempts to make one.
pub(super) struct Connection {
    pub(super) client: Client,
    /// Whether it is connected.
    pub(super) connected: watch::Receiver<bool>,
    pub(super) outage: Arc<Outage>,
    pub(super) denied: Denied,
}

/// Connects in the background: a server that is away is tried again for ever. `consumes` is the stream of a connection that consumes.
pub(super) async fn connect(
    nats: &NatsOptions,
    service: &str,
    consumes: Option<String>,
    timing: Timing,
) -> Result<Connection, Unusable> {
    let (is_connected, connected) = watch::channel(false);
    let identity = Identity::of(nats)?;
    let servers = nats.urls().map(|url| without_credentials(url).parse());
    let servers: Result<Vec<ServerAddr>, _> = servers.collect();
    let servers = servers.map_err(unusable("NATS_URL"))?;
    let outage = Outage::new(identity.clone(), nats.access.nats_tls_first);
    let inbox_prefix = match nats.access.nats_inbox_prefix.as_str() {
        "" => "_INBOX",
        prefix => prefix,
    };
    let (outage, denied) = (Arc::new(outage), Denied::of(inbox_prefix));
    let mut options = ConnectOptions::with_auth_callback(move |nonce| identity.clone().auth(nonce));
    options = with_tls(options, &nats.access)?;
    options = options.custom_inbox_prefix(inbox_prefix);
    let gauge = match &consumes {
        Some(stream) => gauge!(NATS_CONNECTED, "consumes" => stream.clone()),
        None => gauge!(NATS_CONNECTED),
    };
    gauge.set(0.0);
    let events = Events {
        consumes,
        gauge,
        is_connected,
        outage: Arc::clone(&outage),
        denied: denied.clone(),
    };
    let attempts = Arc::clone(&outage);
    let client = options
        .name(service)
        .retry_on_initial_connect()
        .ping_interval(timing.nats_ping)
        .reconnect_delay_callback(move |attempts| {
            reconnect_delay(attempts, timing.longest_reconnect)
        })
        .reconnect_to_server_callback(move |servers, _| {
            let attempts = Arc::clone(&attempts);
            async move {
                attempts.round_begins(servers).await;
                // The client chooses.
                None
            }
        })
        .event_callback(move |event| {
            events.take(&event);
            std::future::ready(())
        })
        .connect(servers)
        .await
        .map_err(unusable("NATS_URL"))?;
    Ok(Connection {
        client,
        connected,
        outage,
        denied,
    })
}

/// What the client tells.
struct Events {
    consumes: Option<String>,
    gauge: Gauge,
    is_connected: watch::Sender<bool>,
    outage: Arc<Outage>,
    denied: Denied,
}

impl Events {
    fn take(&self, event: &Event) {
        let consumes = self.consumes.as_deref();
        match event {
            Event::Connected => {
                tracing::info!(consumes, "connected to NATS");
                self.outage.ended();
                self.denied.forget();
                self.gauge.set(1.0);
                self.is_connected.send_replace(true);
            }
            Event::Disconnected | Event::Closed => {
                // It is closed by us alone, at the end.
                if *event == Event::Disconnected {
                    tracing::warn!(consumes, "not connected to NATS; events wait");
                }
                self.gauge.set(0.0);
                self.is_connected.send_replace(false);
            }
            // What is denied is told where it fails.
            Event::ServerError(error) if !self.denied.note(&error.to_string()) => {
                tracing::warn!(%error, "NATS reports an error");
            }
            _ => {}
        }
    }
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
