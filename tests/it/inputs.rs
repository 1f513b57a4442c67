//! What a ticket may be: titles, prices, and the texts of both.

use proptest::prelude::*;
use reqwest::Method;
use serde_json::Value;
use tickets::Price;

use crate::harness::{TestApp, token};

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
        "\"\\u200b\"",
        "\"\\ufeff\"",
        "\" \\u3164 \"",
        "{\"$serde_json::private::RawValue\": \"\\\"abc\\\"\"}",
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
        "{\"$serde_json::private::RawValue\": \"5\"}",
        "{\"$serde_json::private::Number\": \"5\"}",
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
    fn no_text_makes_price_panic(text in ".{0,60}") {
        let _ = Price::parse(&text);
    }
}
