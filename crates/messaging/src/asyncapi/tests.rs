use utoipa::ToSchema;

use super::*;
use crate::{Outcome, Received};

#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
struct Invoice {
    lines: Vec<Line>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is of interest")]
struct Line {
    amount: i64,
}

mod other {
    #[derive(serde::Deserialize, utoipa::ToSchema)]
    pub(super) struct Line;
}

fn of(events: &[EventType], consumers: &[Consumer<()>]) -> Value {
    document(&Info::new("shop", "1.2.3"), "SHOP", events, consumers)
}

#[test]
fn what_a_payload_refers_to_is_in_the_document_and_each_noun_has_a_message_for_what_is_given_up() {
    let document = of(&[EventType::of::<Invoice>("invoice.paid")], &[]);
    let schemas = &document["components"]["schemas"];
    let lines = &schemas["Invoice"]["properties"]["lines"]["items"]["$ref"];
    assert_eq!(*lines, "#/components/schemas/Line");
    assert_eq!(schemas["Line"]["properties"]["amount"]["type"], "integer");
    let addresses: Vec<_> = document["channels"]
        .as_object()
        .unwrap()
        .values()
        .map(|it| &it["address"])
        .collect();
    assert_eq!(addresses, ["invoice.paid.{id}", "invoice.skipped.{id}"]);
    assert_eq!(
        document["channels"]["invoice.paid"]["x-jetstream-stream"],
        "SHOP"
    );
}

#[test]
fn a_service_without_events_has_a_document_too() {
    let document = of(&[], &[]);
    assert_eq!(document["operations"], json!({}));
    assert_eq!(document["info"]["title"], "shop");
}

#[test]
#[should_panic(expected = "two types have the name Line")]
fn two_payloads_of_one_name_are_told_apart_or_refused() {
    let consumer = Consumer::newest_only(
        "lines",
        "LINES",
        &["line.drawn"],
        |_, (), _: &Received<other::Line>| Box::pin(async { Ok(Outcome::Applied) }),
    );
    of(&[EventType::of::<Invoice>("invoice.paid")], &[consumer]);
}
