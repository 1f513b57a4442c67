//! docs/orders.http: every request that there is, for editors.

use std::collections::BTreeSet;

use testbed::{not_asked_for, send_all};

use crate::harness::{App, token};

const FILE: &str = include_str!("../../../../docs/orders.http");
const OPENAPI: &str = include_str!("../../openapi.json");

#[tokio::test]
async fn every_request_of_the_file_is_answered_as_it_says() {
    let app = App::start().await;
    let ticket = app.ticket().await;
    let (host, token) = (app.address(), token("bob"));
    let variables = [("host", host), ("token", &token), ("ticket", &ticket.id)];
    send_all(FILE, variables).await;
    app.finish().await;
}

#[test]
fn the_file_has_every_route_of_the_interface() {
    let openapi = serde_json::from_str(OPENAPI).unwrap();
    assert_eq!(not_asked_for(FILE, &openapi), BTreeSet::new());
}
