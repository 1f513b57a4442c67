//! Orders, where there is a service that takes them.

use super::*;
use crate::{domain::HOLDER, history::Event};

fn event(key: String, version: i64, data: serde_json::Value) -> Event {
    Event {
        id: format!("{key}-{version}"),
        r#type: String::new(),
        subject: String::new(),
        key,
        version,
        data,
        traceparent: None,
        tracestate: None,
        made_ms: 0,
        made: String::new(),
        made_at_ms: 0,
        is_sent: true,
        is_parked: false,
        is_skipped: false,
    }
}

/// A run in which so many orders were placed, cancelled, and had their document.
fn run(placed: usize, cancelled: usize, reserved: usize) -> Run {
    let mut run = Run::good();
    let order = |version| move |number| event(format!("o{number}"), version, json!({}));
    let created = (0..placed).map(order(0));
    run.observed.sibling = Some(Box::new(Observed {
        events: created.chain((0..cancelled).map(order(1))).collect(),
        ..Observed::default()
    }));
    let held = |number| {
        let data = json!({ HOLDER: format!("o{number}") });
        event(format!("d{number}"), 1, data)
    };
    run.observed.events = (0..reserved).map(held).collect();
    run
}

#[test]
fn a_run_with_few_orders_shows_too_little() {
    assert_eq!(run(16, 10, 12).broken(), [] as [&str; 0]);
    assert_eq!(run(13, 10, 12).broken(), ["orders that were placed"]);
    assert_eq!(run(16, 9, 12).broken(), ["orders that were cancelled"]);
    assert_eq!(run(16, 10, 11).broken(), ["orders that had their document"]);
}
