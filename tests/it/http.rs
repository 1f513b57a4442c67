//! What every route shares: errors of every layer, request ids, health, authentication.

use std::time::Duration;

use axum::{Router, routing::get};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use service::http::{Timeouts, with_bounded_work, with_middleware};
use tokio::net::TcpListener;

use crate::harness::{JWT_KEY, Place, TestApp, assert_problem, now_seconds, token};

#[tokio::test]
async fn errors_of_every_layer_are_problem_json() {
    let app = TestApp::start().await;
    let post = || {
        app.request(Method::POST, "/api/tickets")
            .bearer_auth(token("alice"))
    };
    let json = "application/json";

    assert_problem(app.get("/nowhere").await, 404).await;
    let wrong_method = app
        .request(Method::DELETE, "/api/tickets")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong_method.headers()["allow"], "GET,HEAD,POST");
    assert_problem(wrong_method, 405).await;
    assert_problem(
        post()
            .header("content-type", "text/plain")
            .body("{}")
            .send()
            .await
            .unwrap(),
        415,
    )
    .await;
    assert_problem(post().body("{}").send().await.unwrap(), 415).await;
    for malformed in [
        "",
        "{",
        "{\"title\":\"a\",}",
        "\u{0}",
        "{\"title\":\"\\ud800\",\"price\":1}",
    ] {
        assert_problem(
            post()
                .header("content-type", json)
                .body(malformed)
                .send()
                .await
                .unwrap(),
            400,
        )
        .await;
    }
    for no_object in ["null", "[]", "[\"concert\",20]", "\"text\"", "7", "true"] {
        let problem = assert_problem(
            post()
                .header("content-type", json)
                .body(no_object)
                .send()
                .await
                .unwrap(),
            400,
        )
        .await;
        assert_eq!(
            problem["errors"][0]["message"],
            "the body must be a JSON object"
        );
    }
    let large = format!("{{\"title\":\"{}\"}}", "a".repeat(64 * 1024));
    assert_problem(
        post()
            .header("content-type", json)
            .body(large)
            .send()
            .await
            .unwrap(),
        413,
    )
    .await;
    app.finish().await;
}

#[tokio::test]
async fn every_header_of_an_answer_is_in_the_openapi_document() {
    // Of HTTP itself, and of what browsers are told.
    const OF_ANY: [&str; 9] = [
        "allow",
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
    let asked = [
        (
            Method::POST,
            &all,
            "idempotency-key",
            "a",
            body.clone(),
            201,
        ),
        (
            Method::POST,
            &all,
            "idempotency-key",
            "a",
            body.clone(),
            201,
        ),
        (
            Method::POST,
            &all,
            "idempotency-key",
            "a",
            json!({ "title": "b", "price": 1 }),
            422,
        ),
        (Method::POST, &all, "x-none", "", json!({}), 400),
        (Method::PUT, &one, "idempotency-key", "b", body.clone(), 200),
        (Method::PUT, &one, "if-match", "\"7\"", body.clone(), 412),
        (Method::GET, &one, "if-none-match", "\"1\"", json!({}), 304),
        (Method::GET, &one, "x-none", "", json!({}), 200),
    ];
    let mut answers = Vec::new();
    for (method, path, header, value, body, status) in asked {
        let request = app
            .request(method.clone(), path)
            .bearer_auth(token("alice"));
        let answer = request.header(header, value).json(&body).send().await;
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

#[tokio::test]
async fn a_panic_is_a_500_that_says_nothing_and_a_slow_handler_a_503() {
    let routes = Router::new()
        .route("/panic", get(async || -> () { panic!("a secret") }))
        .route("/slow", get(std::future::pending::<()>));
    let timeouts = Timeouts {
        work: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(
            listener,
            with_middleware(with_bounded_work(routes, 8, timeouts), &[]),
        )
        .await
    });

    let problem = assert_problem(
        reqwest::get(format!("http://{address}/panic"))
            .await
            .unwrap(),
        500,
    )
    .await;
    assert!(!problem.to_string().contains("secret"));
    let slow = reqwest::get(format!("http://{address}/slow"))
        .await
        .unwrap();
    assert!(slow.headers().contains_key("retry-after"));
    assert_problem(slow, 503).await;
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_another_is_replaced() {
    let app = TestApp::start().await;
    let answer = async |id: &str| {
        let response = app
            .request(Method::GET, "/health/live")
            .header("x-request-id", id)
            .send()
            .await
            .unwrap();
        response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(answer("abc-123_X.y:z").await, "abc-123_X.y:z");
    for insane in ["", "two words", "<script>", &"a".repeat(129)] {
        assert_eq!(answer(insane).await.len(), 36, "{insane}");
    }
    app.finish().await;
}

#[tokio::test]
async fn health_tells_of_both_servers() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/health/live").await.status(), 200);
    let ready: Value = app.get("/health/ready").await.json().await.unwrap();
    assert_eq!(ready["mongodb"], "up");
    assert!(ready["nats"].is_string());
    app.finish().await;
}

fn signed(header: Algorithm, key: &str, claims: Value) -> String {
    encode(
        &Header::new(header),
        &claims,
        &EncodingKey::from_secret(key.as_bytes()),
    )
    .unwrap()
}

#[tokio::test]
async fn bad_tokens_are_401_and_say_how_to_authenticate() {
    let app = TestApp::start().await;
    let later = now_seconds() + 600;
    let fine = json!({ "sub": "alice", "exp": later });
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(fine.to_string())
    );
    let bad = [
        String::new(),
        "nonsense".to_owned(),
        none,
        signed(Algorithm::HS512, JWT_KEY, fine.clone()),
        signed(Algorithm::HS256, "another key of more than 32 bytes", fine),
        signed(
            Algorithm::HS256,
            JWT_KEY,
            json!({ "sub": "alice", "exp": now_seconds() - 60 }),
        ),
        signed(
            Algorithm::HS256,
            JWT_KEY,
            json!({ "sub": "alice", "exp": later, "nbf": now_seconds() + 60 }),
        ),
        signed(Algorithm::HS256, JWT_KEY, json!({ "sub": "alice" })),
        signed(Algorithm::HS256, JWT_KEY, json!({ "exp": later })),
        signed(
            Algorithm::HS256,
            JWT_KEY,
            json!({ "sub": "", "exp": later }),
        ),
        signed(Algorithm::HS256, JWT_KEY, json!({ "sub": 7, "exp": later })),
    ];
    for token in bad {
        let request = app
            .request(Method::POST, "/api/tickets")
            .bearer_auth(&token)
            .json(&json!({}));
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), 401, "{token}");
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        assert_problem(refused, 401).await;
    }
    let without = app
        .request(Method::PUT, "/api/tickets/nonsense")
        .body("nonsense")
        .send()
        .await
        .unwrap();
    assert_problem(without, 401).await;
    app.finish().await;
}

#[tokio::test]
async fn a_token_comes_by_header_or_by_cookie_and_names_its_user_by_sub_or_id() {
    let app = TestApp::start().await;
    let post = || {
        app.request(Method::POST, "/api/tickets")
            .json(&json!({ "title": "concert", "price": 1, "userId": "mallory" }))
    };
    let later = now_seconds() + 600;
    for claims in [
        json!({ "sub": "alice", "id": "bob", "exp": later }),
        json!({ "id": "alice", "email": "a@b.c", "exp": later }),
    ] {
        let token = signed(Algorithm::HS256, JWT_KEY, claims);
        let session = json!({ "jwt": token }).to_string();
        let padded = format!("express:sess={}; other=1", STANDARD.encode(&session));
        let bare = format!("express:sess={}", STANDARD_NO_PAD.encode(&session));
        for request in [
            post().bearer_auth(&token),
            post().header("cookie", padded),
            post().header("cookie", bare),
        ] {
            let created = request.send().await.unwrap();
            assert_eq!(created.status(), 201);
            assert_eq!(created.json::<Value>().await.unwrap()["userId"], "alice");
        }
    }
    for cookie in [
        "express:sess=%%%",
        "express:sess=bm90IGpzb24=",
        "express:sess=e30=",
    ] {
        assert_eq!(
            post()
                .header("cookie", cookie)
                .send()
                .await
                .unwrap()
                .status(),
            401
        );
    }
    app.finish().await;
}

#[tokio::test]
async fn a_token_without_exp_is_taken_where_that_is_configured() {
    let app = TestApp::begin_with(Place::new(), |http| http.jwt_require_exp = false).await;
    let token = signed(Algorithm::HS256, JWT_KEY, json!({ "sub": "alice" }));
    let request = app
        .request(Method::POST, "/api/tickets")
        .bearer_auth(&token)
        .json(&json!({}));
    assert_eq!(request.send().await.unwrap().status(), 400);
    let expired = signed(
        Algorithm::HS256,
        JWT_KEY,
        json!({ "sub": "alice", "exp": now_seconds() - 60 }),
    );
    let request = app
        .request(Method::POST, "/api/tickets")
        .bearer_auth(&expired)
        .json(&json!({}));
    assert_eq!(request.send().await.unwrap().status(), 401);
    crate::harness::eventually("ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
    app.finish().await;
}
