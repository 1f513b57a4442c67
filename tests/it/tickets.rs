//! The domain: the contract of the ticket routes, and that ticket and event are saved both or neither.

use std::collections::BTreeSet;

use bson::{DateTime, Document, doc, oid::ObjectId};
use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use service::tickets::{Cursor, Price};

use crate::harness::{DEADLINE, Place, TestApp, assert_problem, text, token};

#[tokio::test]
async fn a_ticket_is_created_and_read() {
    let app = TestApp::start().await;
    let created = app
        .post(
            "alice",
            json!({ "title": "  concert 🎸 ", "price": 20.50, "userId": "mallory" }),
        )
        .await;
    assert_eq!(created.status(), 201);
    assert_eq!(created.headers()["etag"], "\"0\"");
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let ticket: Value = created.json().await.unwrap();
    let id = text(&ticket["id"]);
    assert_eq!(location, format!("/api/tickets/{id}"));
    let expected = json!({ "id": id, "title": "concert 🎸", "price": 20.5, "userId": "alice", "orderId": null, "version": 0 });
    assert_eq!(ticket, expected);

    let read = app.get(&location).await;
    assert_eq!(read.headers()["etag"], "\"0\"");
    assert_eq!(read.json::<Value>().await.unwrap(), expected);
    for (known, status) in [
        ("\"0\"", 304),
        ("W/\"0\"", 304),
        ("\"7\", \"0\"", 304),
        ("*", 304),
        ("\"1\"", 200),
    ] {
        let read = app
            .request(Method::GET, &location)
            .header("if-none-match", known)
            .send()
            .await
            .unwrap();
        assert_eq!(read.status(), status, "{known}");
        assert_eq!(read.headers()["etag"], "\"0\"");
    }
    for unknown in [
        "nonsense",
        "507f1f77bcf86cd799439011",
        "%FF",
        "507f1f77bcf86cd79943901",
    ] {
        assert_eq!(
            app.get(&format!("/api/tickets/{unknown}")).await.status(),
            404,
            "{unknown}"
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn bad_input_is_400_and_names_every_field_once() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let (title, price) = ("\"concert\"", "20");
    let long = format!("\"{}\"", "a".repeat(101));
    let emoji = format!("\"{}\"", "🎫".repeat(101));
    let bad_titles = [
        "null",
        "7",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"  \"",
        "\"a\\u0000b\"",
        "\"a\\nb\"",
        "\"\\u007f\"",
        long.as_str(),
        emoji.as_str(),
    ];
    let bad_prices = [
        "null",
        "\"20\"",
        "true",
        "[]",
        "{}",
        "0",
        "-1",
        "0.001",
        "20.555",
        "1000000.01",
        "1e400",
        "1e-400",
        "\"NaN\"",
        "-0",
        "0.00",
    ];
    let mut bodies: Vec<(String, Vec<&str>)> = vec![
        ("{}".to_owned(), vec!["price", "title"]),
        (format!("{{\"title\":{title}}}"), vec!["price"]),
        (format!("{{\"price\":{price}}}"), vec!["title"]),
        (
            "{\"title\":\"\",\"price\":0}".to_owned(),
            vec!["price", "title"],
        ),
    ];
    bodies.extend(bad_titles.map(|bad| {
        (
            format!("{{\"title\":{bad},\"price\":{price}}}"),
            vec!["title"],
        )
    }));
    bodies.extend(bad_prices.map(|bad| {
        (
            format!("{{\"title\":{title},\"price\":{bad}}}"),
            vec!["price"],
        )
    }));
    for (body, fields) in bodies {
        for (method, path) in [
            (Method::POST, "/api/tickets".to_owned()),
            (Method::PUT, format!("/api/tickets/{id}")),
            (Method::PUT, "/api/tickets/nonsense".to_owned()),
        ] {
            let request = app.request(method, &path).bearer_auth(token("alice"));
            let refused = request
                .header("content-type", "application/json")
                .body(body.clone())
                .send()
                .await
                .unwrap();
            assert_eq!(refused.status(), 400, "{body}");
            let problem: Value = refused.json().await.unwrap();
            let told: Vec<&str> = problem["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["field"].as_str().unwrap())
                .collect();
            assert_eq!(told, fields, "{body}");
        }
    }
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn the_bounds_themselves_are_accepted() {
    let app = TestApp::start().await;
    for (body, price) in [
        ("0.01", 0.01),
        ("1000000", 1_000_000.0),
        ("1e6", 1_000_000.0),
        ("20.5000", 20.5),
        ("205E-1", 20.5),
    ] {
        let title = "é".repeat(100);
        let request = app
            .request(Method::POST, "/api/tickets")
            .bearer_auth(token("alice"))
            .header("content-type", "application/json");
        let created = request
            .body(format!("{{\"title\":\"{title}\",\"price\":{body}}}"))
            .send()
            .await
            .unwrap();
        assert_eq!(created.status(), 201, "{body}");
        assert_eq!(
            created.json::<Value>().await.unwrap()["price"].as_f64(),
            Some(price)
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn an_update_is_checked_in_the_order_of_the_contract() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let body = json!({ "title": "play", "price": 30 });
    let put = async |user: &str, if_match: &str| {
        let request = app
            .request(Method::PUT, &format!("/api/tickets/{id}"))
            .bearer_auth(token(user));
        request
            .header("if-match", if_match)
            .json(&body)
            .send()
            .await
            .unwrap()
    };
    for nobodys in ["507f1f77bcf86cd799439011", "nonsense"] {
        assert_problem(app.put("alice", nobodys, body.clone()).await, 404).await;
        assert_problem(app.get(&format!("/api/tickets/{nobodys}")).await, 404).await;
    }
    assert_problem(put("bob", "\"7\"").await, 403).await;
    assert_problem(put("alice", "\"7\"").await, 412).await;
    assert_problem(put("alice", "W/\"0\"").await, 412).await;
    assert_eq!(app.place.events().await.len(), 1);

    let tickets = app.place.database().await.collection::<Document>("tickets");
    let by_id = doc! { "_id": ObjectId::parse_str(&id).unwrap() };
    tickets
        .update_one(by_id.clone(), doc! { "$set": { "orderId": "order" } })
        .await
        .unwrap();
    assert_problem(put("bob", "\"0\"").await, 403).await;
    assert_problem(put("alice", "\"7\"").await, 409).await;
    let reserved: Value = app
        .get(&format!("/api/tickets/{id}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&reserved["title"], &reserved["orderId"]),
        (&json!("concert"), &json!("order"))
    );
    assert_eq!(
        app.get("/api/tickets").await.json::<Value>().await.unwrap(),
        json!([])
    );
    tickets
        .update_one(by_id, doc! { "$set": { "orderId": null } })
        .await
        .unwrap();

    assert_eq!(put("alice", "\"7\", \"0\"").await.status(), 200);
    let updated: Value = app
        .get(&format!("/api/tickets/{id}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&updated["title"], &updated["version"]),
        (&json!("play"), &json!(1))
    );
    app.finish().await;
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_the_version_and_writes_no_event() {
    let app = TestApp::start().await;
    let id = app.create().await;
    let same = app
        .put("alice", &id, json!({ "title": " concert ", "price": 20.5 }))
        .await;
    assert_eq!(
        (
            same.status().as_u16(),
            same.headers()["etag"].to_str().unwrap()
        ),
        (200, "\"0\"")
    );
    assert_eq!(same.json::<Value>().await.unwrap()["version"], 0);
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn pages_follow_each_other_newest_first_and_leave_nothing_out() {
    let app = TestApp::start().await;
    let mut created = Vec::new();
    for _ in 0..7 {
        created.push(app.create().await);
    }
    created.reverse();
    let (mut listed, mut path) = (Vec::new(), "/api/tickets?limit=3".to_owned());
    loop {
        let page = app.get(&path).await;
        let next = page
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        let tickets: Vec<Value> = page.json().await.unwrap();
        listed.extend(tickets.iter().map(|ticket| text(&ticket["id"])));
        match next {
            None => break,
            Some(link) => {
                path = link
                    .strip_prefix('<')
                    .unwrap()
                    .strip_suffix(">; rel=\"next\"")
                    .unwrap()
                    .to_owned()
            }
        }
    }
    assert_eq!(listed, created);
    assert!(
        app.get("/api/tickets?limit=7")
            .await
            .headers()
            .get("link")
            .is_none()
    );
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
    ] {
        let refused = app.get(&format!("/api/tickets?{query}")).await;
        assert_eq!(refused.status(), 400, "{query}");
        assert_eq!(
            refused.json::<Value>().await.unwrap()["errors"][0]["field"],
            field
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_is_not_saved_without_its_event_nor_the_event_without_its_ticket() {
    let app = TestApp::start().await;
    let id = app.create().await;
    app.place.drained().await;
    let database = app.place.database().await;
    let counts = async || {
        let count = async |name: &str| {
            database
                .collection::<Document>(name)
                .count_documents(doc! {})
                .await
                .unwrap()
        };
        (count("tickets").await, count("events").await)
    };
    let refuse = async |collection: &str, validator: Document| {
        database
            .run_command(doc! { "collMod": collection, "validator": validator })
            .await
            .unwrap();
    };
    for collection in ["events", "tickets"] {
        refuse(collection, doc! { "impossible": true }).await;
        let created = app
            .post("alice", json!({ "title": "play", "price": 1 }))
            .await;
        assert_eq!(created.status(), 500);
        assert!(!created.text().await.unwrap().contains("validation"));
        assert_eq!(
            app.put("alice", &id, json!({ "title": "play", "price": 1 }))
                .await
                .status(),
            500
        );
        refuse(collection, doc! {}).await;
        assert_eq!(counts().await, (1, 1), "{collection}");
        let unchanged: Value = app
            .get(&format!("/api/tickets/{id}"))
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(unchanged["version"], 0);
    }
    app.finish().await;
}

#[tokio::test]
async fn fifty_updates_at_once_all_succeed_with_consecutive_versions() {
    // On a busy machine they conflict for longer than a request may take.
    let mut place = Place::new();
    place.timing.db.attempts_end = DEADLINE;
    place.timing.http.work = DEADLINE;
    let app = TestApp::start_at(place).await;
    let id = app.create().await;
    let updates =
        (1..=50).map(|price| app.put("alice", &id, json!({ "title": "concert", "price": price })));
    let mut versions = BTreeSet::new();
    for updated in futures_util::future::join_all(updates).await {
        assert_eq!(updated.status(), 200);
        versions.insert(
            updated.json::<Value>().await.unwrap()["version"]
                .as_i64()
                .unwrap(),
        );
    }
    assert_eq!(versions, (1..=50).collect());
    app.place.drained().await;
    let published: Vec<i64> = app
        .place
        .messages()
        .await
        .iter()
        .map(|message| {
            serde_json::from_slice::<Value>(&message.payload).unwrap()["version"]
                .as_i64()
                .unwrap()
        })
        .collect();
    assert_eq!(published, (0..=50).collect::<Vec<_>>());
    app.finish().await;
}

proptest! {
    #[test]
    fn a_price_survives_its_text(cents in 1_i64..=100_000_000) {
        let price = Price::from_cents(cents).unwrap();
        let json = serde_json::to_string(&price).unwrap();
        prop_assert_eq!(Price::parse(&json), Some(price));
        prop_assert_eq!(Price::parse(&format!("{}.{:02}", cents / 100, cents % 100)), Some(price));
        prop_assert_eq!(Price::parse(&format!("{cents}e-2")), Some(price));
    }

    #[test]
    fn a_price_with_a_third_decimal_is_none(thousandths in 1_i64..=1_000_000) {
        prop_assume!(thousandths % 10 != 0);
        prop_assert_eq!(Price::parse(&format!("{}.{:03}", thousandths / 1000, thousandths % 1000)), None);
    }

    #[test]
    fn no_text_makes_price_or_cursor_panic(text in ".{0,60}") {
        let _ = Price::parse(&text);
        let _ = Cursor::decode(&text);
    }

    #[test]
    fn a_cursor_survives_its_text(millis in any::<i64>(), id in any::<[u8; 12]>()) {
        let cursor = Cursor { created_at: DateTime::from_millis(millis), id: ObjectId::from_bytes(id) };
        prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }
}
