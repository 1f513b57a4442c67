//! Which spans are sampled: a publication follows its request, and the rest is as OpenTelemetry's variables say.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceId},
};
use opentelemetry_sdk::trace::{Config, Sampler, SamplingResult, ShouldSample};

/// A publication's span begins a trace of its own, and links to its request's. The sampler would decide anew.
#[derive(Debug, Clone)]
pub(super) struct AsLinked {
    otherwise: Box<dyn ShouldSample>,
}

impl AsLinked {
    /// The sampler for what has no link is that of `OTEL_TRACES_SAMPLER`.
    pub(super) fn from_environment() -> Self {
        let otherwise = Config::default().sampler;
        Self { otherwise }
    }
}

impl ShouldSample for AsLinked {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_sampled = |link: &Link| link.span_context.is_sampled();
        let sampler: &dyn ShouldSample = if links.iter().any(is_sampled) {
            &Sampler::AlwaysOn
        } else {
            self.otherwise.as_ref()
        };
        sampler.should_sample(parent, trace, name, kind, attributes, links)
    }
}
