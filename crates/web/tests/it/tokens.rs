//! Who is calling: which tokens are taken, and where from.

use std::fs;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use web::LEEWAY_SECONDS;

use testbed::{assert_problem, now_seconds};

use crate::toy::{JWT_KEY, Toy, token};

pub(crate) fn signed(header: Algorithm, key: &str, claims: Value) -> String {
    encode(
        &Header::new(header),
        &claims,
        &EncodingKey::from_secret(key.as_bytes()),
    )
    .unwrap()
}

#[tokio::test]
async fn bad_tokens_are_401_and_say_how_to_authenticate() {
    let app = Toy::start().await;
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
            .request(Method::POST, "/api/notes")
            .bearer_auth(&token)
            .json(&json!({}));
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), 401, "{token}");
        let told = refused.headers()["www-authenticate"].to_str().unwrap();
        let told = told.to_owned();
        assert!(told.starts_with("Bearer realm=\"api\""), "{told}");
        let problem = assert_problem(refused, 401).await;
        let message = problem["errors"][0]["message"].as_str().unwrap();
        // With an empty token no token came (RFC 6750 §3).
        let wrong = format!("error=\"invalid_token\", error_description=\"{message}\"");
        assert_eq!(told.ends_with(&wrong), !token.is_empty(), "{told}");
    }
    let without = app
        .request(Method::PUT, "/api/notes/nonsense")
        .body("nonsense")
        .send()
        .await
        .unwrap();
    assert_eq!(
        without.headers()["www-authenticate"],
        "Bearer realm=\"api\""
    );
    assert_problem(without, 401).await;
    app.finish().await;
}

#[tokio::test]
async fn the_clock_of_the_signer_may_be_half_a_minute_apart_from_ours() {
    let app = Toy::start().await;
    let status = async |claims: Value| {
        let token = signed(Algorithm::HS256, JWT_KEY, claims);
        let post = app.request(Method::POST, "/api/notes").bearer_auth(token);
        let post = post.json(&json!({ "text": "concert" })).send();
        post.await.unwrap().status().as_u16()
    };
    let (now, slack) = (now_seconds(), 10);
    let within = LEEWAY_SECONDS - slack;
    let beyond = LEEWAY_SECONDS + slack;
    for (apart, expected) in [(within, 201), (beyond, 401)] {
        let expired = json!({ "sub": "alice", "exp": now - apart });
        assert_eq!(status(expired).await, expected, "{apart} s");
        let early = json!({ "sub": "alice", "exp": now + 600, "nbf": now_seconds() + apart });
        assert_eq!(status(early).await, expected, "{apart} s");
    }
    app.finish().await;
}

#[tokio::test]
async fn where_there_is_an_authorization_header_the_cookie_does_not_count() {
    let app = Toy::start().await;
    let session = STANDARD.encode(json!({ "jwt": token("alice") }).to_string());
    for header in ["Bearer nonsense", "Basic YWxpY2U6", "Bearer", ""] {
        let post = app.request(Method::POST, "/api/notes");
        let post = post.header("authorization", header);
        let post = post.header("cookie", format!("express:sess={session}"));
        let refused = post.json(&json!({ "text": "concert" })).send();
        assert_problem(refused.await.unwrap(), 401).await;
    }
    app.finish().await;
}

#[tokio::test]
async fn reading_asks_for_no_token_and_minds_none_that_is_bad() {
    let app = Toy::start().await;
    let id = app.create().await;
    for path in ["/api/notes".to_owned(), format!("/api/notes/{id}")] {
        assert_eq!(app.get(&path).await.status(), 200);
        let read = app.request(Method::GET, &path).bearer_auth("nonsense");
        assert_eq!(read.send().await.unwrap().status(), 200);
    }
    app.finish().await;
}

#[tokio::test]
async fn a_token_comes_by_header_or_by_cookie_and_names_its_user_by_sub_or_id() {
    let app = Toy::start().await;
    let post = || {
        app.request(Method::POST, "/api/notes")
            .json(&json!({ "text": "concert", "userId": "mallory" }))
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
    let app = Toy::start_with(|http| http.jwt_require_exp = false).await;
    let token = signed(Algorithm::HS256, JWT_KEY, json!({ "sub": "alice" }));
    let request = app
        .request(Method::POST, "/api/notes")
        .bearer_auth(&token)
        .json(&json!({}));
    assert_eq!(request.send().await.unwrap().status(), 400);
    let expired = signed(
        Algorithm::HS256,
        JWT_KEY,
        json!({ "sub": "alice", "exp": now_seconds() - 60 }),
    );
    let request = app
        .request(Method::POST, "/api/notes")
        .bearer_auth(&expired)
        .json(&json!({}));
    assert_eq!(request.send().await.unwrap().status(), 401);
    app.finish().await;
}

#[tokio::test]
async fn tokens_are_checked_with_a_public_key_of_each_kind() {
    let folder = TempDir::new().unwrap();
    let public = folder.path().join("public.pem");
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048);
    let keys = [
        (Algorithm::RS256, rsa),
        (
            Algorithm::ES256,
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        ),
        (Algorithm::EdDSA, KeyPair::generate_for(&PKCS_ED25519)),
    ];
    for (algorithm, pair) in keys {
        let pair = pair.unwrap();
        let private = pair.serialize_pem();
        fs::write(&public, pair.public_key_pem()).unwrap();
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(private.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(private.as_bytes()),
            _ => EncodingKey::from_ed_pem(private.as_bytes()),
        };
        let claims = json!({ "sub": "alice", "exp": now_seconds() + 60 });
        let signed = encode(&Header::new(algorithm), &claims, &key.unwrap()).unwrap();
        let public_text = fs::read(&public).unwrap();
        let app = Toy::start_with(|http| http.jwt.jwt_public_key_file = Some(public.clone())).await;
        let post = |token: String| {
            let post = app.request(Method::POST, "/api/notes").bearer_auth(token);
            post.json(&json!({ "text": "concert" })).send()
        };
        assert_eq!(post(signed).await.unwrap().status(), 201, "{algorithm:?}");
        // Neither the secret nor the public key taken for one signs a token any more.
        assert_problem(post(token("alice")).await.unwrap(), 401).await;
        let confused = EncodingKey::from_secret(&public_text);
        let confused = encode(&Header::new(Algorithm::HS256), &claims, &confused).unwrap();
        assert_problem(post(confused).await.unwrap(), 401).await;
        app.finish().await;
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_or_for_another_application_is_refused() {
    let app = Toy::start_with(|http| {
        http.jwt.jwt_issuer = Some("https://id.example.com".to_owned());
        http.jwt.jwt_audience = Some("tickets".to_owned());
    })
    .await;
    let status = async |claims: Value| {
        let mut all = json!({ "sub": "alice", "exp": now_seconds() + 60 });
        all.as_object_mut()
            .unwrap()
            .extend(claims.as_object().unwrap().clone());
        let key = EncodingKey::from_secret(JWT_KEY.as_bytes());
        let token = encode(&Header::default(), &all, &key).unwrap();
        let post = app.request(Method::POST, "/api/notes").bearer_auth(token);
        let post = post.json(&json!({ "text": "concert" })).send();
        post.await.unwrap().status().as_u16()
    };
    let issuer = "https://id.example.com";
    let both = json!({ "iss": issuer, "aud": ["other", "tickets"] });
    assert_eq!(
        status(json!({ "iss": issuer, "aud": "tickets" })).await,
        201
    );
    assert_eq!(status(both).await, 201);
    for refused in [
        json!({ "iss": issuer, "aud": "other" }),
        json!({ "iss": "https://evil.example", "aud": "tickets" }),
        json!({ "iss": issuer }),
        json!({ "aud": "tickets" }),
    ] {
        assert_eq!(status(refused.clone()).await, 401, "{refused}");
    }
    app.finish().await;
}
