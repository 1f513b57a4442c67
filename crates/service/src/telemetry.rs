//! Sets up the log, and traces, where there is a collector for them.

mod collector;
mod sampler;

use std::time::Duration;

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracerProvider, Tracer},
};
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer, filter::filter_fn, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

use db::setting::{Unusable, unusable};
use web::UNTRACED;

use crate::{About, log, options::LogOptions};
use collector::Collector;
use sampler::AsLinked;

pub(crate) use collector::OwnLines;

/// What is not sent by then is given up when the process ends.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Writes what is logged and sends what is traced; [`Telemetry::end`] does so with the rest.
#[must_use]
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    log: log::Rest,
}

/// Installs log and traces for the whole process.
///
/// # Errors
/// When traces can't be sent to such an address.
pub(crate) fn init(about: About, options: &LogOptions) -> Result<Telemetry, Unusable> {
    let provider = match &options.otel_exporter_otlp_endpoint {
        Some(endpoint) => {
            Some(provider(about, endpoint).map_err(unusable("OTEL_EXPORTER_OTLP_ENDPOINT"))?)
        }
        None => None,
    };
    let traces = provider
        .as_ref()
        .map(|provider| traces(provider.tracer(about.name)));
    let (log, rest, dropped) = log::layer(options);
    // The only failure is a subscriber that is there already.
    drop(
        tracing_subscriber::registry()
            .with(traces)
            .with(log)
            .try_init(),
    );
    log::log_panics();
    tokio::spawn(log::count(dropped));
    Ok(Telemetry {
        traces: provider,
        log: rest,
    })
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
        .with_filter(filter_fn(|of| {
            *of.level() <= Level::INFO && of.target() != UNTRACED
        }))
}

fn provider(about: About, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let version = KeyValue::new("service.version", about.version);
    // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` know better.
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|it| it.contains("service.name="));
    let resource = Resource::builder().with_attribute(version);
    let resource = if named {
        resource.build()
    } else {
        resource.with_service_name(about.name).build()
    };
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(Collector::new(exporter, endpoint))
        .with_sampler(AsLinked::from_environment())
        .with_resource(resource)
        .build())
}

impl Telemetry {
    /// Whether there is a collector: what is for traces alone is not made in vain.
    pub(crate) fn is_traced(&self) -> bool {
        self.traces.is_some()
    }

    /// Sends and writes what is left.
    pub(crate) async fn end(self) {
        if let Some(provider) = self.traces {
            let ending =
                tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT));
            if let Ok(Err(error)) = ending.await {
                tracing::warn!(%error, "some traces were not sent");
            }
        }
        drop(self.log);
    }
}
