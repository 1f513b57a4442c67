//! Whom a request is counted for, where the rate of each caller is limited, and what is worked on at once.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::Request,
    routing::{get, put},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode};
use serde_json::json;
use testbed::{eventually, now_seconds};
use tokio::sync::{Semaphore, mpsc};
use tower::ServiceExt;
use web::{CHANGES_AT_ONCE, Timing, User};

use crate::{
    tokens::signed,
    toy::{Toy, options, stack_of, stacked, token},
};

/// Routes that take so many requests a second of each caller, and twice as many at once.
fn limited(rate_limit: u32) -> Router {
    let mut options = options();
    options.rate_limit = rate_limit;
    let routes = Router::new().route("/", get(async || "fine"));
    web::stack(routes, Router::new(), stack_of(&options, Timing::default()))
}

/// The statuses of three requests from this address.
async fn three(routes: &Router, from: &str) -> [u16; 3] {
    let mut statuses = [0; 3];
    for status in &mut statuses {
        let request = Request::get("/").header("host", "x");
        let mut request = request.body(Body::empty()).unwrap();
        let peer = SocketAddr::new(from.parse().unwrap(), 1);
        request.extensions_mut().insert(ConnectInfo(peer));
        *status = routes
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16();
    }
    statuses
}

#[tokio::test]
async fn a_network_of_64_bits_is_one_caller_and_an_ipv4_address_is_one_on_any_socket() {
    let routes = limited(1);
    assert_eq!(three(&routes, "2001:db8:0:1::1").await, [200, 200, 429]);
    assert_eq!(three(&routes, "2001:db8:0:1:ffff::2").await, [429; 3]);
    assert_eq!(three(&routes, "2001:db8:0:2::1").await, [200, 200, 429]);
    assert_eq!(three(&routes, "192.0.2.1").await, [200, 200, 429]);
    assert_eq!(three(&routes, "::ffff:192.0.2.1").await, [429; 3]);
    assert_eq!(three(&routes, "::ffff:192.0.2.2").await, [200, 200, 429]);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_limit_of_its_own_and_cannot_forge_anothers() {
    let app = Toy::start_with(|http| {
        http.rate_limit = 1;
        http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let three = async |told: &'static str| {
        let ask = || {
            app.request(Method::GET, "/api/notes")
                .header("x-forwarded-for", told)
        };
        let mut statuses = BTreeSet::new();
        for _ in 0..4 {
            statuses.insert(ask().send().await.unwrap().status().as_u16());
        }
        statuses
    };
    let limited = BTreeSet::from([200, 429]);
    assert_eq!(three("203.0.113.1").await, limited);
    assert_eq!(three("203.0.113.2").await, limited);
    assert!(three("198.51.100.1, 203.0.113.2").await.contains(&429));
    assert_eq!(three("203.0.113.2, 203.0.113.3").await, limited);
    app.finish().await;
}

#[tokio::test]
async fn a_limit_of_0_is_none() {
    let routes = limited(0);
    for _ in 0..100 {
        assert_eq!(three(&routes, "192.0.2.1").await, [200; 3]);
    }
}

#[tokio::test]
async fn a_token_that_is_not_valid_counts_for_its_address_whatever_user_it_names() {
    let app = Toy::start_with(|http| http.rate_limit = 1).await;
    let list = async |token: &str| {
        let list = app.request(Method::GET, "/api/notes").bearer_auth(token);
        list.send().await.unwrap().status()
    };
    let list_by_cookie = async |token: &str| {
        let session = STANDARD.encode(json!({ "jwt": token }).to_string());
        let list = app.request(Method::GET, "/api/notes");
        let list = list.header("cookie", format!("express:sess={session}"));
        list.send().await.unwrap().status()
    };
    let forged = |user: usize| {
        let claims = json!({ "sub": format!("user-{user}"), "exp": now_seconds() + 600 });
        signed(
            jsonwebtoken::Algorithm::HS256,
            "another key of more than 32 bytes",
            claims,
        )
    };
    let mut user = 0;
    while list(&forged(user)).await != StatusCode::TOO_MANY_REQUESTS {
        user += 1;
        assert!(user < 100, "every forged user has a limit of its own");
    }
    // Now nothing from there is looked at until the address has its next turn; then a user's own limit counts.
    let alice = token("alice");
    assert_eq!(list(&alice).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(list_by_cookie(&alice).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(app.get("/api/notes").await.status(), 429);
    eventually("tokens are looked at again", async || {
        list(&alice).await == StatusCode::OK
    })
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_users_writes_have_a_limit_of_their_own_and_headers_tell_of_both() {
    let app = Toy::start_with(|http| {
        http.rate_limit = 100;
        http.write_rate_limit = 1;
    })
    .await;
    let write = async |user: &str| {
        let write = app.request(Method::POST, "/api/notes");
        let write = write.bearer_auth(token(user)).json(&json!({ "text": "a" }));
        write.send().await.unwrap()
    };
    let first = write("alice").await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let told =
        |answer: &reqwest::Response, header| answer.headers()[header].to_str().unwrap().to_owned();
    assert_eq!(
        told(&first, "ratelimit-policy"),
        "\"caller\";q=200;w=2, \"writes\";q=2;w=2"
    );
    assert!(told(&first, "ratelimit").contains(", \"writes\";r=1;t=1"));
    let mut refused = write("alice").await;
    while refused.status() == StatusCode::CREATED {
        refused = write("alice").await;
    }
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(told(&refused, "retry-after"), "1");
    assert!(told(&refused, "ratelimit").ends_with("\"writes\";r=0;t=2"));
    // Others write, and she reads.
    assert_eq!(write("bob").await.status(), StatusCode::CREATED);
    let read = app.request(Method::GET, "/api/notes");
    let read = read.bearer_auth(token("alice")).send().await.unwrap();
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!(told(&read, "ratelimit-policy"), "\"caller\";q=200;w=2");
    app.finish().await;
}

#[tokio::test]
async fn one_users_changes_of_a_thing_keep_nobody_else_from_changing_it() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let end = Arc::new(Semaphore::new(0));
    let change = {
        let end = Arc::clone(&end);
        async move |user: User| {
            if user.id == "mallory" {
                begun.send(()).unwrap();
                drop(end.acquire().await);
            }
        }
    };
    let routes = Router::new().route("/{id}", put(change));
    let routes = stacked(routes, 256, Timing::default());
    let change = |user: &str| {
        let request = Request::put("/1").header("host", "x");
        let request = request.header("authorization", format!("Bearer {}", token(user)));
        let request = request.body(Body::empty()).unwrap();
        routes.clone().oneshot(request)
    };
    let mallorys = (0..CHANGES_AT_ONCE).map(|_| tokio::spawn(change("mallory")));
    let mallorys: Vec<_> = mallorys.collect();
    for _ in &mallorys {
        begins.recv().await.unwrap();
    }
    // One more of hers has no room; one of somebody else has.
    assert_eq!(change("mallory").await.unwrap().status(), 503);
    assert_eq!(change("alice").await.unwrap().status(), 200);
    end.add_permits(CHANGES_AT_ONCE);
    for change in mallorys {
        assert_eq!(change.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_refused_cross_site_write_counts_for_its_caller() {
    let app = Toy::start_with(|http| http.rate_limit = 1).await;
    let session = json!({ "jwt": token("alice") }).to_string();
    let session = STANDARD.encode(session);
    let mut statuses = BTreeSet::new();
    for _ in 0..8 {
        let post = app.request(Method::POST, "/api/notes");
        let post = post.header("cookie", format!("express:sess={session}"));
        let post = post.header("sec-fetch-site", "cross-site").send();
        let answer = post.await.unwrap();
        assert!(answer.headers().contains_key("ratelimit"));
        statuses.insert(answer.status().as_u16());
    }
    assert_eq!(statuses, BTreeSet::from([403, 429]));
    app.finish().await;
}
