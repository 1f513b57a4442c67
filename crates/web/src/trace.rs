//! The W3C trace context of a request (<https://www.w3.org/TR/trace-context/>): read to the letter, and handed on to whatever the request
//! causes.

use std::{collections::HashMap, convert::Infallible};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, request::Parts},
};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// In bytes: what everybody has to hand on (§3.3.1.5); a longer one is dropped.
pub(crate) const LONGEST_TRACESTATE: usize = 512;

/// The context of the request's span where it is traced, else the one that the request came with, where that is valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The header `traceparent`.
    pub parent: Option<String>,
    /// The header `tracestate`: what the tracing systems on the way have to say to each other.
    pub state: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let span = ours(&Span::current()).or_else(|| valid(&incoming(&parts.headers)));
        Ok(span.map(Self::of).unwrap_or_default())
    }
}

impl Trace {
    fn of(span: SpanContext) -> Self {
        let (trace, parent, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
        let state = span.trace_state().header();
        Self {
            parent: Some(format!("00-{trace}-{parent}-{:02x}", flags.to_u8())),
            state: (!state.is_empty()).then_some(state),
        }
    }
}

/// Where spans are traced.
pub(crate) fn ours(span: &Span) -> Option<SpanContext> {
    valid(&span.context())
}

pub(crate) fn valid(context: &Context) -> Option<SpanContext> {
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// What the request came with.
pub(crate) fn incoming(headers: &HeaderMap) -> Context {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let parent = lines.next().filter(|_| lines.next().is_none());
    let parent = parent.and_then(|line| known_part(line.to_str().ok()?.trim()));
    let Some(parent) = parent else {
        return Context::new();
    };
    let mut carrier = HashMap::from([(TRACEPARENT.to_owned(), parent)]);
    if let Some(state) = tracestate(headers) {
        carrier.insert(TRACESTATE.to_owned(), state);
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

/// A later version is read as far as we know it (§3.2.4): it may have more behind. `None` for what is no `traceparent`, which the library
/// does not see in all cases.
fn known_part(text: &str) -> Option<String> {
    const KNOWN: usize = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".len();
    let known = text.get(..KNOWN)?;
    let rest = &text[KNOWN..];
    let (version, ids) = known.split_once('-')?;
    let is_known = version == "00" && rest.is_empty();
    let is_later = version != "00" && version != "ff" && (rest.is_empty() || rest.starts_with('-'));
    let is_hex = |part: &str| {
        part.bytes()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts = ids.split('-').chain([version]);
    let lengths: Vec<usize> = parts
        .clone()
        .filter(|part| is_hex(part))
        .map(str::len)
        .collect();
    let fits = (is_known || is_later) && lengths == [32, 16, 2, 2];
    fits.then(|| format!("00-{ids}"))
}

/// Several headers are one list.
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str);
    let lines: Vec<&str> = lines.collect::<Result<_, _>>().ok()?;
    let state = lines.join(",");
    (!state.is_empty() && state.len() <= LONGEST_TRACESTATE).then_some(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace(lines: &[(&'static str, &str)]) -> Trace {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        valid(&incoming(&headers))
            .map(Trace::of)
            .unwrap_or_default()
    }

    #[test]
    fn a_later_version_is_read_as_the_one_that_is_known() {
        for fine in [
            PARENT.to_owned(),
            PARENT.replacen("00", "01", 1),
            format!("{}-what-is-new", PARENT.replacen("00", "cc", 1)),
        ] {
            assert_eq!(
                trace(&[("traceparent", &fine)]).parent.as_deref(),
                Some(PARENT),
                "{fine}"
            );
        }
        for no_parent in [
            "",
            "nonsense",
            &PARENT.to_uppercase(),
            &PARENT.replacen("00", "ff", 1),
            &format!("{PARENT}-00"),
            &format!("{PARENT}-"),
            &format!("{}x", PARENT.replacen("00", "01", 1)),
            &PARENT.replacen("00", "+0", 1),
            &PARENT.replacen("00", "0", 1),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("-01", "-1"),
            &PARENT.replace("0af7", "+af7"),
        ] {
            assert_eq!(
                trace(&[("traceparent", no_parent)]),
                Trace::default(),
                "{no_parent}"
            );
        }
        assert_eq!(
            trace(&[("traceparent", PARENT), ("traceparent", PARENT)]),
            Trace::default()
        );
    }

    #[test]
    fn tracestate_goes_on_with_its_parent_unless_it_is_none_or_too_long() {
        let state = |lines: &[&str]| {
            let mut all = vec![("traceparent", PARENT)];
            all.extend(lines.iter().map(|line| ("tracestate", *line)));
            let trace = trace(&all);
            assert_eq!(trace.parent.as_deref(), Some(PARENT));
            trace.state
        };
        assert_eq!(state(&["a=1,b@c=x y"]).as_deref(), Some("a=1,b@c=x y"));
        assert_eq!(state(&["a=1", "b=2"]).as_deref(), Some("a=1,b=2"));
        let longest = format!("a={}", "x".repeat(253));
        assert_eq!(state(&[&longest]).as_deref(), Some(longest.as_str()));
        for none in [
            &[""][..],
            &["nonsense"],
            &["A=1"],
            &[&longest, &longest, "c=1"],
        ] {
            assert_eq!(state(none), None, "{none:?}");
        }
        assert_eq!(trace(&[("tracestate", "a=1")]), Trace::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_traceparent_panic(text in "([0-9a-f]{0,34}-?){0,6}|.{0,80}") {
            let _ = known_part(&text);
        }
    }
}
