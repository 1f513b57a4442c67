//! Keys that rotate: several at once, chosen by name, read again when their file changes.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{DEADLINE, eventually, now_seconds};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    tokens::signed,
    toy::{JWT_KEY, Toy},
};

/// A pair of keys with a name.
struct Named {
    id: &'static str,
    algorithm: Algorithm,
    pair: KeyPair,
}

impl Named {
    fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::RS256 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Algorithm::ES256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            _ => KeyPair::generate_for(&PKCS_ED25519),
        };
        let pair = pair.unwrap();
        Self {
            id,
            algorithm,
            pair,
        }
    }

    fn private(&self) -> EncodingKey {
        let pem = self.pair.serialize_pem();
        let key = match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        key.unwrap()
    }

    fn token(&self, kid: Option<&str>) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        let claims = json!({ "sub": "alice", "exp": now_seconds() + 60 });
        encode(&header, &claims, &self.private()).unwrap()
    }

    fn jwk(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            let x = URL_SAFE_NO_PAD.encode(self.pair.public_key_raw());
            return json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id });
        }
        let mut jwk = Jwk::from_encoding_key(&self.private(), self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }
}

async fn status(app: &Toy, token: &str) -> u16 {
    let post = app.request(Method::POST, "/api/notes").bearer_auth(token);
    let post = post.json(&json!({ "text": "concert" })).send();
    post.await.unwrap().status().as_u16()
}

async fn with_file(path: &Path) -> Toy {
    let path = path.to_owned();
    Toy::start_with(|http| http.jwt.jwt_public_key_file = Some(path)).await
}

#[tokio::test]
async fn every_key_of_a_pem_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.pem");
    let algorithms = [Algorithm::ES256, Algorithm::ES256, Algorithm::EdDSA];
    let keys = algorithms.map(|algorithm| Named::new("none", algorithm));
    let stranger = Named::new("none", Algorithm::ES256);
    let pem: String = keys
        .iter()
        .map(|key| format!("# one\n{}", key.pair.public_key_pem()))
        .collect();
    fs::write(&path, pem).unwrap();
    let app = with_file(&path).await;
    for key in &keys {
        assert_eq!(status(&app, &key.token(None)).await, 201);
        // PEM has no names: whatever the token calls its key.
        assert_eq!(status(&app, &key.token(Some("any"))).await, 201);
    }
    assert_eq!(status(&app, &stranger.token(None)).await, 401);
    app.finish().await;
}

#[tokio::test]
async fn a_key_of_a_set_is_chosen_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let keys = [
        ("r", Algorithm::RS256),
        ("e", Algorithm::ES256),
        ("e2", Algorithm::ES256),
        ("d", Algorithm::EdDSA),
    ];
    let keys = keys.map(|(id, algorithm)| Named::new(id, algorithm));
    let mut set: Vec<Value> = keys.iter().map(Named::jwk).collect();
    // What a set holds besides: for encryption, of kinds that we don't know, secrets.
    let mut encrypts = Named::new("enc", Algorithm::RS256).jwk();
    encrypts["use"] = json!("enc");
    set.extend([
        encrypts,
        json!({ "kty": "new" }),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "a", "y": "b" }),
        json!(7),
    ]);
    set.push(json!({ "kty": "oct", "k": "YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyBvciBtb3Jl", "alg": "HS256" }));
    fs::write(&path, json!({ "keys": set }).to_string()).unwrap();
    let app = with_file(&path).await;
    for key in &keys {
        assert_eq!(
            status(&app, &key.token(Some(key.id))).await,
            201,
            "{}",
            key.id
        );
        assert_eq!(status(&app, &key.token(None)).await, 201, "{}", key.id);
        assert_eq!(
            status(&app, &key.token(Some("other"))).await,
            401,
            "{}",
            key.id
        );
    }
    assert_eq!(status(&app, &keys[1].token(Some("e2"))).await, 401);
    let claims = json!({ "sub": "alice", "exp": now_seconds() + 60 });
    let by_secret = signed(Algorithm::HS256, JWT_KEY, claims);
    assert_eq!(status(&app, &by_secret).await, 401);
    app.finish().await;
}

#[tokio::test]
async fn a_file_of_keys_that_changes_is_read_again_and_one_that_is_broken_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let [old, new] = ["old", "new"].map(|id| Named::new(id, Algorithm::EdDSA));
    let write = |keys: &[&Named]| {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        fs::write(
            folder.path().join("next"),
            json!({ "keys": keys }).to_string(),
        )
        .unwrap();
        fs::rename(folder.path().join("next"), &path).unwrap();
    };
    write(&[&old]);
    let app = with_file(&path).await;
    let [by_old, by_new] = [&old, &new].map(|key| key.token(Some(key.id)));
    assert_eq!(status(&app, &by_old).await, 201);
    assert_eq!(status(&app, &by_new).await, 401);
    write(&[&old, &new]);
    eventually("the new key counts", async || {
        status(&app, &by_new).await == 201
    })
    .await;
    assert_eq!(status(&app, &by_old).await, 201);
    fs::write(&path, "nonsense").unwrap();
    // For longer than the file is left alone.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(status(&app, &by_new).await, 201);
    }
    write(&[&new]);
    eventually("the old key counts no more", async || {
        status(&app, &by_old).await == 401
    })
    .await;
    assert_eq!(status(&app, &by_new).await, 201);
    app.finish().await;
}

#[tokio::test]
async fn the_secret_of_before_is_taken_beside_the_new_one() {
    let before = "the key of before, of 32 bytes or more";
    let app = Toy::start_with(|http| http.jwt.jwt_key_previous = before.into()).await;
    for (key, expected) in [
        (JWT_KEY, 201),
        (before, 201),
        ("another key of more than 32 bytes", 401),
    ] {
        let claims = json!({ "sub": "alice", "exp": now_seconds() + 60 });
        let token = signed(Algorithm::HS256, key, claims);
        assert_eq!(status(&app, &token).await, expected, "{key}");
    }
    app.finish().await;
}

#[tokio::test]
async fn tokens_are_checked_with_the_keys_of_an_issuers_address() {
    let key = Named::new("a", Algorithm::ES256);
    let set = json!({ "keys": [key.jwk()] }).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let routes = Router::new().route("/jwks", get(async move || set));
    let issuer = tokio::spawn(async move { axum::serve(listener, routes).await });
    let app = Toy::start_with(|http| http.jwt.jwks_url = Some(url)).await;
    assert_eq!(status(&app, &key.token(Some("a"))).await, 201);
    assert_eq!(status(&app, &key.token(Some("b"))).await, 401);
    issuer.abort();
    assert_eq!(status(&app, &key.token(Some("a"))).await, 201);
    app.finish().await;
}

#[tokio::test]
async fn while_an_issuer_never_answered_a_token_is_503_and_reading_goes_on() {
    // The one is not there; the other takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    for issuer in ["127.0.0.1:1", &silent_address] {
        let url = format!("http://{issuer}/jwks");
        let app = Toy::start_with(|http| http.jwt.jwks_url = Some(url)).await;
        let token = Named::new("a", Algorithm::ES256).token(Some("a"));
        let refused = timeout(DEADLINE, status(&app, &token)).await;
        assert_eq!(refused.unwrap(), 503, "{issuer}");
        let read = app
            .request(Method::GET, "/api/notes")
            .bearer_auth(&token)
            .send();
        assert_eq!(read.await.unwrap().status(), 200);
        app.finish().await;
    }
}
