//! What stands in a token: its header's extensions, and claims of another type than they should have.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use reqwest::Method;
use serde_json::{Value, json};
use web::{LONGEST_TOKEN, LONGEST_USER_ID};

use crate::toy::{JWT_KEY, Toy, token};
use testbed::now_seconds;

/// Signed, whatever header and claims are.
fn signed(header: &Value, claims: &str) -> String {
    let [header, claims] = [&header.to_string(), claims].map(|it| URL_SAFE_NO_PAD.encode(it));
    let message = format!("{header}.{claims}");
    let key = EncodingKey::from_secret(JWT_KEY.as_bytes());
    let signature = sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// Status, and what is wrong where something is.
async fn post(app: &Toy, tokens: &[String]) -> (u16, String) {
    let mut post = app.request(Method::POST, "/api/notes");
    for token in tokens {
        post = post.header("authorization", format!("Bearer {token}"));
    }
    let answer = post
        .json(&json!({ "text": "concert" }))
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let told: Value = answer.json().await.unwrap();
    let wrong = told["errors"][0]["message"].as_str();
    (status, wrong.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_token_with_critical_extensions_is_refused_whatever_they_are() {
    let app = Toy::start().await;
    let claims = json!({ "sub": "alice", "exp": now_seconds() + 60 }).to_string();
    let plain = json!({ "alg": "HS256" });
    assert_eq!(post(&app, &[signed(&plain, &claims)]).await.0, 201);
    for crit in [
        json!(["exp-policy"]),
        json!(["b64"]),
        json!([]),
        json!(null),
        json!("exp"),
        json!({}),
    ] {
        let header = json!({ "alg": "HS256", "crit": crit, "exp-policy": 1 });
        let (status, wrong) = post(&app, &[signed(&header, &claims)]).await;
        assert_eq!(status, 401, "{crit}");
        assert!(wrong.contains("crit"), "{wrong}");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_told() {
    let app = Toy::start_with(|http| http.jwt.jwt_issuer = Some("right".to_owned())).await;
    let (later, before) = (now_seconds() + 60, now_seconds() - 60);
    let fine: BTreeMap<&str, Value> = [
        ("sub", json!("alice")),
        ("iss", json!("right")),
        ("exp", json!(later)),
    ]
    .into();
    let header = json!({ "alg": "HS256" });
    let pretends = json!({ "$serde_json::private::RawValue": "\"alice\"" });
    for (claim, value, told) in [
        ("sub", json!(7), "sub of the token has to be a string"),
        ("sub", json!(["alice"]), "a claim of it has a wrong type"),
        ("sub", pretends.clone(), "a claim of it has a wrong type"),
        ("sub", json!(""), "names no user"),
        (
            "sub",
            json!("a".repeat(LONGEST_USER_ID + 1)),
            "more than 255 bytes",
        ),
        (
            "iss",
            json!(["right", "other"]),
            "iss of the token has to be a string",
        ),
        (
            "iss",
            json!(["right"]),
            "iss of the token has to be a string",
        ),
        ("iss", json!("other"), "another issuer"),
        ("iss", json!(7), "no iss that is a string"),
        ("exp", json!("never"), "no exp that is a number"),
        ("exp", json!(before), "has expired"),
        ("nbf", json!("now"), "is no number"),
        ("nbf", json!(later), "not valid yet"),
    ] {
        let mut claims = fine.clone();
        claims.insert(claim, value.clone());
        let token = signed(&header, &json!(claims).to_string());
        let (status, wrong) = post(&app, &[token]).await;
        assert_eq!(status, 401, "{claim}: {value}");
        assert!(wrong.contains(told), "{claim}: {value}: {wrong}");
    }
    for (id, told) in [
        (json!(7), "id of the token has to be a string"),
        (pretends, "id of the token has to be a string"),
        (json!(null), "neither sub nor id"),
    ] {
        let claims = json!({ "id": id, "iss": "right", "exp": later }).to_string();
        let (status, wrong) = post(&app, &[signed(&header, &claims)]).await;
        assert_eq!(status, 401, "{id}");
        assert!(wrong.contains(told), "{id}: {wrong}");
    }
    let twice = format!("{{\"sub\":\"alice\",\"sub\":\"bob\",\"iss\":\"right\",\"exp\":{later}}}");
    assert_eq!(post(&app, &[signed(&header, &twice)]).await.0, 401);
    let longest = json!({ "sub": "a".repeat(LONGEST_USER_ID), "iss": "right", "exp": later });
    assert_eq!(
        post(&app, &[signed(&header, &longest.to_string())]).await.0,
        201
    );
    app.finish().await;
}

#[tokio::test]
async fn a_token_of_more_than_8_kb_and_a_second_authorization_header_are_refused() {
    let app = Toy::start().await;
    let of_length = |length: usize| {
        let claims = |pad: usize| {
            json!({ "sub": "alice", "exp": now_seconds() + 60, "pad": "a".repeat(pad) }).to_string()
        };
        let mut pads = 0..;
        pads.find_map(|pad| {
            let token = signed(&json!({ "alg": "HS256" }), &claims(pad));
            (token.len() >= length).then_some(token)
        })
        .unwrap()
    };
    let longest = of_length(LONGEST_TOKEN);
    assert_eq!(longest.len(), LONGEST_TOKEN);
    assert_eq!(post(&app, &[longest]).await.0, 201);
    let (status, wrong) = post(&app, &[of_length(LONGEST_TOKEN + 1)]).await;
    assert_eq!(
        (status, wrong.as_str()),
        (401, "the token is longer than 8 KB")
    );
    for two in [["alice", "bob"], ["alice", "alice"]] {
        let (status, wrong) = post(&app, &two.map(token)).await;
        assert_eq!(status, 401);
        assert_eq!(wrong, "there is more than one Authorization header");
    }
    app.finish().await;
}
