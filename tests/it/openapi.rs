//! The OpenAPI document says what is so.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tickets::Price;

use crate::{
    harness::{Place, TestApp, service, token},
    process::command,
};

#[tokio::test]
async fn every_header_of_an_answer_is_in_the_openapi_document() {
    // Of HTTP itself, and of what browsers are told.
    const OF_ANY: [&str; 10] = [
        "allow",
        "cache-control",
        "content-length",
        "content-security-policy",
        "content-type",
        "date",
        "referrer-policy",
        "transfer-encoding",
        "vary",
        "x-content-type-options",
    ];
    let app = TestApp::start_with(|http| http.rate_limit = 100).await;
    let document: Value = app.get("/openapi.json").await.json().await.unwrap();
    let id = app.create().await;
    app.create().await;
    let (all, one) = ("/api/tickets".to_owned(), format!("/api/tickets/{id}"));
    let body = json!({ "title": "play", "price": 1 });
    let key = |key| ("idempotency-key", key);
    let (none, other) = (("x-none", ""), json!({ "title": "b", "price": 1 }));
    let asked = [
        (Method::POST, &all, key("a"), &body, 201),
        (Method::POST, &all, key("a"), &body, 201),
        (Method::POST, &all, key("a"), &other, 422),
        (Method::POST, &all, none, &json!({}), 400),
        (Method::PUT, &one, key("b"), &body, 200),
        (Method::PUT, &one, ("if-match", "\"7\""), &body, 412),
        (Method::GET, &one, ("if-none-match", "\"1\""), &body, 304),
        (Method::GET, &one, none, &body, 200),
    ];
    let mut answers = Vec::new();
    for (method, path, (header, value), body, status) in asked {
        let request = app
            .request(method.clone(), path)
            .bearer_auth(token("alice"));
        let answer = request.header(header, value).json(body).send().await;
        assert_eq!(answer.as_ref().unwrap().status(), status);
        let path = path.replace(&id, "{id}");
        answers.push((method, path, answer.unwrap()));
    }
    let page = app.get("/api/tickets?limit=1").await;
    assert!(page.headers().contains_key("link"));
    answers.push((Method::GET, all.clone(), page));
    let stranger = app.request(Method::POST, &all).json(&body).send().await;
    answers.push((Method::POST, all, stranger.unwrap()));
    for (method, path, answer) in answers {
        let method = method.as_str().to_lowercase();
        let documented = &document["paths"][&path][method]["responses"][answer.status().as_str()];
        let documented: Vec<String> = documented["headers"]
            .as_object()
            .unwrap()
            .keys()
            .map(|name| name.to_lowercase())
            .collect();
        for name in answer.headers().keys().map(|name| name.as_str()) {
            let is_told = OF_ANY.contains(&name) || documented.iter().any(|told| told == name);
            assert!(is_told, "{path} {}: {name}", answer.status());
        }
    }
    app.finish().await;
}

/// Each by place and name.
fn parameters(operation: &Value) -> Vec<(&str, &str)> {
    let of = operation["parameters"].as_array().into_iter().flatten();
    of.map(|it| (it["in"].as_str().unwrap(), it["name"].as_str().unwrap()))
        .collect()
}

#[test]
fn no_parameter_stands_twice_at_which_generators_of_clients_stop() {
    let document = serde_json::to_value(service().openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    for operation in paths.flat_map(|path| path.as_object().unwrap().values()) {
        let all = parameters(operation);
        let once: BTreeSet<_> = all.iter().collect();
        assert_eq!(once.len(), all.len(), "{operation}");
    }
}

#[test]
fn the_committed_openapi_document_is_the_programs() {
    let printed = command(&Place::new()).arg("openapi").output().unwrap();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed = std::fs::read_to_string(committed).unwrap();
    assert!(
        String::from_utf8(printed.stdout).unwrap() == committed,
        "make openapi writes it anew"
    );
}

/// The rows of README's table of routes: method and path, and whether a token is wanted.
fn routes_of_readme() -> BTreeSet<(String, bool)> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let section = readme.split("\n## The interface\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut routes = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let in_backticks = cells[1].split('`').skip(1).step_by(2);
        for route in in_backticks.filter(|text| text.contains(" /")) {
            let mut words = route.split([' ', '?']);
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            routes.insert((format!("{method} {path}"), cells[2] == "yes"));
        }
    }
    routes
}

#[tokio::test]
async fn the_document_has_the_routes_of_readme_and_says_which_of_them_want_a_token() {
    let app = TestApp::start().await;
    let document: Value = app.get("/openapi.json").await.json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut routes = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let route = format!("{} {path}", method.to_uppercase());
            let security = &operation["security"];
            let wants_token = json!([{ "bearer": [] }]);
            assert!(security.is_null() || *security == wants_token, "{route}");
            routes.insert((route, !security.is_null()));
        }
    }
    // The documents do not describe themselves.
    let documents = [
        "GET /openapi.json",
        "GET /docs",
        "GET /asyncapi.json",
        "GET /docs/events",
    ];
    routes.extend(documents.map(|it| (it.to_owned(), false)));
    assert_eq!(routes_of_readme(), routes);
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    assert_eq!(schemes["cookie"]["name"], "express:sess");
    app.finish().await;
}

#[tokio::test]
async fn every_price_fits_what_the_document_says_of_prices() {
    let app = TestApp::start().await;
    let document: Value = app.get("/openapi.json").await.json().await.unwrap();
    let told = &document["components"]["schemas"]["NewTicket"]["properties"]["price"];
    // By division: 0.07 / 0.01 and 19.99 / 0.01 are no whole numbers to a validator.
    assert_eq!(told["multipleOf"], Value::Null);
    let [least, most] = ["minimum", "maximum"].map(|bound| told[bound].as_f64().unwrap());
    for cents in (1..=100_000_000)
        .step_by(997)
        .chain([7, 1_999, 100_000_000])
    {
        let price: Value = serde_json::to_value(Price::from_cents(cents)).unwrap();
        assert!((least..=most).contains(&price.as_f64().unwrap()), "{price}");
    }
    app.finish().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_use_the_methods_that_the_routes_have() {
    let pages = "https://app.example.com";
    let app = TestApp::start_with(|http| http.cors_origins = vec![pages.parse().unwrap()]).await;
    let asks_first = app.request(Method::OPTIONS, "/api/tickets");
    let asks_first = asks_first.header("origin", pages);
    let asks_first = asks_first.header("access-control-request-method", "DELETE");
    let told = asks_first.send().await.unwrap();
    let methods = &told.headers()["access-control-allow-methods"];
    assert_eq!(methods, "GET,HEAD,POST,PUT");
    app.finish().await;
}

#[tokio::test]
async fn the_type_of_a_problem_is_an_address_that_says_what_it_means() {
    let app = TestApp::start().await;
    let document: Value = app.get("/openapi.json").await.json().await.unwrap();
    let route = &document["paths"]["/problems/{kind}"]["get"];
    let kinds = &route["parameters"][0]["schema"]["enum"];
    let mut told = BTreeSet::new();
    for kind in kinds.as_array().unwrap() {
        let address = format!("/problems/{}", kind.as_str().unwrap());
        let answer = app.get(&address).await;
        assert_eq!(answer.status(), 200, "{address}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["type"], address.as_str());
        assert!(answer["description"].as_str().unwrap().len() > 10);
        told.insert(address);
    }
    assert_eq!(told.len(), 20);
    // Those of every refusal that the document shows, and of those of other layers.
    let mut met = BTreeSet::new();
    let text = document.to_string();
    for found in text.split("\"type\":\"/problems/").skip(1) {
        met.insert(format!("/problems/{}", found.split('"').next().unwrap()));
    }
    let delete = app.request(Method::DELETE, "/api/tickets").send().await;
    for (answer, expected) in [
        (app.get("/nowhere").await, "/problems/not-found"),
        (app.get("/problems/nonsense").await, "/problems/not-found"),
        (
            app.get("/api/tickets?limit=x").await,
            "/problems/invalid-request",
        ),
        (delete.unwrap(), "/problems/method-not-allowed"),
        (
            app.post("alice", json!({})).await,
            "/problems/invalid-request",
        ),
    ] {
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], expected);
        met.insert(expected.to_owned());
    }
    assert!(met.len() > 10, "{met:?}");
    assert!(met.is_subset(&told), "{met:?}");
    app.finish().await;
}
