//! The collector of traces: one line when it takes no spans any more, and one when it takes them again. OpenTelemetry's own lines would
//! be one for each batch, without an address or a cause.

use std::{
    collections::HashMap,
    net::{TcpStream, ToSocketAddrs},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::Uri;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter as Export},
};
use tracing::{Level, Metadata};

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// What OpenTelemetry says of itself, such as of spans that a collector refuses, is told once in this time.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Of a batch that was not sent: [`Collector`] tells of it.
const NOT_SENT: [&str; 2] = ["BatchSpanProcessor.ExportError", "Export."];

/// Sends spans, and tells when that begins and ceases to fail.
#[derive(Debug)]
pub(super) struct Collector {
    exporter: SpanExporter,
    /// Host and port.
    address: String,
    is_away: AtomicBool,
}

impl Collector {
    pub(super) fn new(exporter: SpanExporter, endpoint: &str) -> Self {
        let endpoint: Uri = endpoint.parse().unwrap_or_default();
        let (host, port) = (endpoint.host(), endpoint.port_u16());
        Self {
            exporter,
            address: format!("{}:{}", host.unwrap_or_default(), port.unwrap_or(80)),
            is_away: AtomicBool::new(false),
        }
    }

    /// The exporter says of a connection that it failed, not why: whoever connects anew finds the same.
    fn why(&self, error: &OTelSdkError) -> String {
        let told = error.to_string();
        if let Some((_, status)) = told.split_once("status code: ") {
            return format!("it answers {}", status.trim());
        }
        if !told.contains("network error") {
            return told;
        }
        let Some(address) = self
            .address
            .to_socket_addrs()
            .ok()
            .and_then(|mut it| it.next())
        else {
            return "its name is not found".to_owned();
        };
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(_) => "it takes connections and does not answer".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

impl Export for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let was_away = self.is_away.swap(sent.is_err(), Ordering::Relaxed);
        let address = &self.address;
        match &sent {
            Err(error) if !was_away => {
                let error = self.why(error);
                tracing::warn!(
                    address,
                    error,
                    "the collector takes no traces; spans are lost"
                );
            }
            Ok(()) if was_away => tracing::info!(address, "the collector takes traces again"),
            _ => {}
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Which lines of OpenTelemetry's own are logged.
#[derive(Default)]
pub(crate) struct OwnLines(Mutex<HashMap<&'static str, Instant>>);

impl OwnLines {
    pub(crate) fn is_told(&self, line: &Metadata<'_>) -> bool {
        let is_own = line.target().starts_with("opentelemetry") && line.is_event();
        if !is_own || *line.level() > Level::INFO {
            return true;
        }
        if NOT_SENT.iter().any(|name| line.name().starts_with(name)) {
            return false;
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_new = told
            .get(line.name())
            .is_none_or(|at| now.duration_since(*at) >= TELL_AGAIN);
        if is_new {
            told.insert(line.name(), now);
        }
        is_new
    }
}
