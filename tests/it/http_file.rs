//! docs/tickets.http: every request that there is, for editors.

use std::collections::BTreeSet;

use testbed::{not_asked_for, send_all};

use crate::harness::{TestApp, token};

const FILE: &str = include_str!("../../docs/tickets.http");
const OPENAPI: &str = include_str!("../../docs/openapi.json");

#[tokio::test]
async fn every_request_of_the_file_is_answered_as_it_says() {
    let app = TestApp::start().await;
    send_all(FILE, [("host", &app.address), ("token", &token("alice"))]).await;
    app.finish().await;
}

#[test]
fn the_file_has_every_route_of_the_interface() {
    let openapi = serde_json::from_str(OPENAPI).unwrap();
    assert_eq!(not_asked_for(FILE, &openapi), BTreeSet::new());
}
