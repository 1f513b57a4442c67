//! What a span says of its request, and which trace context goes on.

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

use crate::{
    collector::{Traced, attribute, collector},
    harness::{Place, token},
    traces::{COLLECTOR, TRACED},
};

#[tokio::test]
async fn a_later_traceparent_and_its_tracestate_go_on_to_the_message() {
    let place = Place::new();
    let service = Traced::start(&place, &[]).await;
    let post = testbed::client().post(format!("http://{}/api/tickets", service.address));
    let post = post
        .bearer_auth(token("alice"))
        .header("traceparent", TRACED.replacen("00", "01", 1))
        .header("tracestate", "a=1")
        .header("tracestate", "b@c=x y");
    let post = post.json(&json!({ "title": "concert", "price": 1 })).send();
    assert_eq!(post.await.unwrap().status(), 201);
    place.drained().await;
    service.stop().await;
    let messages = place.messages().await;
    let header = |name: &str| messages[0].headers.get(name).map(|value| value.as_str());
    assert_eq!(header("traceparent"), Some(TRACED));
    assert_eq!(header("tracestate"), Some("a=1,b@c=x y"));
    place.remove().await;
}

#[tokio::test]
async fn spans_are_named_as_opentelemetry_names_them_and_probes_are_not_traced() {
    let (collector, received) = collector().await;
    let place = Place::new();
    let service = Traced::start(&place, &[(COLLECTOR, &collector)]).await;
    let ask = async |method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("http://{}{path}", service.address);
        let request = testbed::client().request(method, url);
        let request = request
            .header("user-agent", "a-client")
            .header("tracestate", "a=1");
        request.header("traceparent", TRACED).send().await.unwrap();
    };
    ask("GET", "/nowhere?token=secret").await;
    ask("BREW", "/api/tickets").await;
    ask("GET", "/health/live").await;
    service.stop().await;
    let spans = std::mem::take(&mut received.lock().unwrap().spans);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["GET", "HTTP /api/tickets"]);
    let [nowhere, brew] = [&spans[0], &spans[1]];
    let has = |span: &Span, key: &str| span.attributes.iter().any(|it| it.key == key);
    assert!(
        !has(nowhere, "http.route") && !has(nowhere, "url.query"),
        "{nowhere:?}"
    );
    assert_eq!(attribute(nowhere, "url.path"), "/nowhere");
    assert_eq!(attribute(nowhere, "user_agent.original"), "a-client");
    assert_eq!(nowhere.trace_state, "a=1");
    assert_eq!(attribute(brew, "http.request.method"), "_OTHER");
    assert_eq!(attribute(brew, "http.request.method_original"), "BREW");
    place.remove().await;
}
