//! Sets up the log, on standard error, and traces, where there is a collector for them.

mod sampler;

use std::{
    collections::HashMap,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, Tracer},
};
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

use db::{Unusable, unusable};
use sampler::AsLinked;

use crate::config::{LogConfig, LogFormat, SERVICE};

/// Whose spans are traced: the crates of this workspace.
const TRACED: [&str; 2] = [env!("CARGO_CRATE_NAME"), "messaging"];
static TRACING: AtomicBool = AtomicBool::new(false);
/// What is not sent by then is given up when the process ends.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Sends what was traced; [`Telemetry::end`] sends the rest.
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Installs log and traces for the whole process; a second call changes nothing.
///
/// # Errors
/// When traces can't be sent to such an address.
pub fn init(config: &LogConfig) -> Result<Telemetry, Unusable> {
    let provider = match &config.otel_exporter_otlp_endpoint {
        Some(endpoint) => {
            Some(provider(endpoint).map_err(unusable("OTEL_EXPORTER_OTLP_ENDPOINT"))?)
        }
        None => None,
    };
    let traces = provider
        .as_ref()
        .map(|provider| traces(provider.tracer(SERVICE)));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let log = log.with_filter(EnvFilter::new(&config.rust_log));
    // The only failure is a subscriber that is there already.
    drop(
        tracing_subscriber::registry()
            .with(traces)
            .with(log)
            .try_init(),
    );
    TRACING.store(provider.is_some(), Ordering::Relaxed);
    Ok(Telemetry(provider))
}

/// What is traced does not depend on what is logged.
fn traces<S>(tracer: Tracer) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_targets(TRACED.map(|of| (of, Level::INFO))))
}

fn provider(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder()
        .with_service_name(SERVICE)
        .with_attribute(version)
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(AsLinked::from_environment())
        .with_resource(resource)
        .build())
}

impl Telemetry {
    /// Sends what is left.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        let ending =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT));
        if let Ok(Err(error)) = ending.await {
            tracing::warn!(%error, "some traces were not sent");
        }
    }
}

/// Whether there is a collector: what is for traces alone is not made in vain.
pub(crate) fn is_tracing() -> bool {
    TRACING.load(Ordering::Relaxed)
}

/// Makes `span` a part of the trace of `traceparent`, which is valid.
pub(crate) fn continue_trace(span: &Span, traceparent: &str) {
    // Refused only where spans are not traced.
    drop(span.set_parent(remote(traceparent)));
}

/// The `traceparent` of `span`, where it is traced.
pub(crate) fn traceparent(span: &Span) -> Option<String> {
    let context = span.context().span().span_context().clone();
    context.is_valid().then(|| {
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        format!("00-{trace}-{span}-{:02x}", flags.to_u8())
    })
}

fn remote(traceparent: &str) -> Context {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}
