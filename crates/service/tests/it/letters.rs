//! What a consumer has put aside, on the live page.

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use messaging::{Consumer, Outcome, Received};
use mongodb::ClientSession;
use serde::Deserialize;
use serde_json::{Value, json};
use service::{Admin, Context, NoOptions, Service, Timing};
use testbed::{Place, client, eventually, log::Log};
use utoipa::ToSchema;

use crate::{
    consumers::{make_stream, orders},
    decisions::{aside, post},
    toy::{Toy, http},
    viewers,
};

#[derive(Deserialize, ToSchema)]
struct Order {
    is_wrong: bool,
}

fn take<'a>(
    _: &'a mut ClientSession,
    _: &'a Context,
    order: &'a Received<Order>,
) -> BoxFuture<'a, mongodb::error::Result<Outcome>> {
    let outcome = if order.data.is_wrong {
        Outcome::Refused("it is wrong")
    } else {
        Outcome::Applied
    };
    Box::pin(async move { Ok(outcome) })
}

async fn letters(toy: &Toy) -> Vec<Value> {
    aside(toy).await["letters"].as_array().unwrap().clone()
}

/// What is put aside: key, version, state, attempts.
async fn are(toy: &Toy, wanted: &[Value]) {
    let in_order = |mut all: Vec<Value>| {
        all.sort_unstable_by_key(Value::to_string);
        all
    };
    let wanted = in_order(wanted.to_vec());
    eventually(&format!("they are {wanted:?}"), async || {
        let letters = letters(toy).await;
        let told = letters
            .iter()
            .map(|it| json!([it["key"], it["version"], it["state"], it["attempts"]]));
        in_order(told.collect()) == wanted
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_put_aside_is_shown_with_its_payload_and_decided_about_as_it_was_shown() {
    let (log, _guard) = Log::capture();
    let place = Place::shared();
    let nats = make_stream(&place).await;
    let service = Service::new("toy", "0.1.0")
        .consumes(|| Consumer::each_version("orders", "ORDERS", &["order.created"], take));
    let parts = (http(), vec![orders(&place)]);
    let admin = Admin {
        listener: viewers::listener("127.0.0.1:0"),
        token: None,
        hosts: Vec::new(),
    };
    let (timing, domain) = (Timing::default(), NoOptions {});
    let toy = Toy::begin(place, timing, service, domain, parts, Some(admin)).await;
    toy.is_ready().await;
    for payload in [
        json!({ "version": 0, "is_wrong": true }),
        json!({ "version": 1, "is_wrong": false }),
        json!({ "of": "nobody" }),
    ] {
        let subject = format!("{}.order.created.a", toy.place.name);
        let sent = nats.publish(subject, payload.to_string().into());
        sent.await.unwrap().await.unwrap();
    }
    let waits = json!(["a", 1, "waiting", 0]);
    let unplaced = json!([null, null, "dead", 0]);
    let all = |attempts: i64| {
        [
            json!(["a", 0, "dead", attempts]),
            unplaced.clone(),
            waits.clone(),
        ]
    };
    are(&toy, &all(1)).await;
    let payload = async |query: &str| {
        let url = toy.page(&format!("/payload?consumer=orders&{query}"));
        client().get(url).send().await.unwrap().text().await
    };
    let of_the_first = payload("key=a&version=0&waits=false").await.unwrap();
    assert_eq!(of_the_first, r#"{"is_wrong":true,"version":0}"#);
    assert_eq!(payload("sequence=3").await.unwrap(), r#"{"of":"nobody"}"#);

    let decide = async |path: &str, which: Value| {
        let mut body = json!({ "consumer": "orders", "reason": "it is wrong" });
        body.as_object_mut()
            .unwrap()
            .extend(which.as_object().unwrap().clone());
        post(&toy, path, body).await.status()
    };
    let of_a =
        |version: i64, waits: bool| json!({ "key": "a", "version": version, "waits": waits });
    let retried = decide("/retry", of_a(1, true)).await;
    assert_eq!(retried, StatusCode::NOT_FOUND, "it waits");
    assert_eq!(decide("/retry", of_a(0, false)).await, StatusCode::OK);
    are(&toy, &all(2)).await;
    let skipped = decide("/skip", of_a(1, true)).await;
    assert_eq!(skipped, StatusCode::CONFLICT, "it is behind another");
    assert_eq!(
        decide("/skip", json!({ "key": "a" })).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(decide("/skip", of_a(0, false)).await, StatusCode::OK);
    // Two had the same dialog before them.
    assert_eq!(decide("/skip", of_a(0, false)).await, StatusCode::CONFLICT);
    are(&toy, &[unplaced]).await;
    let of_nobody = json!({ "sequence": 3 });
    let retried = decide("/retry", of_nobody.clone()).await;
    assert_eq!(retried, StatusCode::BAD_REQUEST, "nobody can apply it");
    assert_eq!(decide("/skip", of_nobody.clone()).await, StatusCode::OK);
    assert_eq!(decide("/skip", of_nobody).await, StatusCode::NOT_FOUND);
    are(&toy, &[]).await;
    // Each with what it is about and what came of it.
    let first = r#"message.key="a" message.version=0"#;
    for [decision, which, outcome] in [
        [r#"decision="retry""#, first, "It is tried again."],
        [r#"decision="skip""#, first, "Version 0 is given up."],
        [
            r#"decision="skip""#,
            "message.sequence=3",
            "The message is given up.",
        ],
    ] {
        let lines = log.lines_with(decision);
        let is_it = |line: &String| line.contains(which) && line.contains(outcome);
        assert!(lines.iter().any(is_it), "{which}: {lines:#?}");
    }
    nats.delete_stream(orders(&toy.place)).await.unwrap();
    toy.stop().await.remove().await;
}
