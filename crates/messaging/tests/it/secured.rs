//! A NATS that speaks TLS only and asks who we are.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::DateTime;
use nkeys::KeyPair;
use serde_json::{Value, json};
use testbed::{Certificates, Nats, eventually, mongo_uri};

use crate::{
    log::Log,
    rights::Configured,
    toy::{NatsFiles, Place, Toy},
};

/// A NATS JWT: `claims` about `subject`, signed by `issuer`.
fn nats_jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": name, "iat": DateTime::now().timestamp_millis() / 1000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": claims,
    }));
    let text = format!("{head}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

#[tokio::test]
async fn user_and_password_of_the_url_are_percent_decoded() {
    let config = "authorization { users: [ { user: \"a b\", password: \"p@ss:w/rd%\" } ] }";
    let nats = Configured::start(config).await;
    let url = nats.nats.url().replace("//", "//a%20b:p%40ss%3Aw%2Frd%25@");
    let toy = Toy::begin_at(Place::at(&mongo_uri(), &url)).await;
    eventually("it is connected", async || toy.is_connected_to_nats()).await;
    toy.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn events_are_published_to_a_nats_that_wants_tls_a_certificate_and_credentials() {
    let certificates = Certificates::issue();
    let (operator, account, user) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_user(),
    );
    let everything = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let no_jetstream = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 });
    let operator_jwt = nats_jwt(
        &operator,
        &operator,
        "operator",
        &json!({ "type": "operator", "version": 2 }),
    );
    let account_jwt = nats_jwt(
        &operator,
        &account,
        "account",
        &json!({ "type": "account", "version": 2, "limits": everything }),
    );
    // JetStream needs one.
    let system = KeyPair::new_account();
    let system_jwt = nats_jwt(
        &operator,
        &system,
        "SYS",
        &json!({ "type": "account", "version": 2, "limits": no_jetstream }),
    );
    let user_jwt = nats_jwt(
        &account,
        &user,
        "user",
        &json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }),
    );
    let config = certificates.write("nats.conf", &format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\noperator: {operator_jwt}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_jwt}, {}: {system_jwt} }}\n",
        certificates.path("cert.pem"), certificates.path("key.pem"), certificates.path("ca.pem"), system.public_key(), account.public_key(), system.public_key()));
    let credentials = certificates.write(
        "user.creds",
        &format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap(),
        ),
    );
    let mut nats = Nats::absent();
    nats.args = vec!["--config".into(), config.into()];
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    let all = NatsFiles {
        creds: Some(credentials),
        ca: Some(certificates.path("ca.pem")),
        cert: Some(certificates.path("cert.pem")),
        key: Some(certificates.path("key.pem")),
    };
    // Each of them is asked for: without it nobody can connect.
    let without_creds = NatsFiles {
        creds: None,
        ..all.clone()
    };
    let without_ca = NatsFiles {
        ca: None,
        ..all.clone()
    };
    let without_cert = NatsFiles {
        cert: None,
        key: None,
        ..all.clone()
    };
    for files in [without_creds, without_ca, without_cert] {
        place.nats_files = files;
        let (log, _guard) = Log::capture();
        let _stranger = place.jetstream().await;
        log.told("cannot connect to NATS").await;
    }
    place.nats_files = all;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    assert!(toy.is_connected_to_nats());
    let place = toy.stop().await;
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn a_nats_without_tls_is_not_talked_to_where_files_for_tls_are_given() {
    let certificates = Certificates::issue();
    let with_ca = NatsFiles {
        ca: Some(certificates.path("ca.pem")),
        ..NatsFiles::default()
    };
    let with_cert = NatsFiles {
        cert: Some(certificates.path("cert.pem")),
        key: Some(certificates.path("key.pem")),
        ..NatsFiles::default()
    };
    for files in [with_ca, with_cert] {
        let mut place = Place::new();
        place.nats_files = files;
        let (log, _guard) = Log::capture();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        let told = log.told("connect").await;
        assert!(told.contains("cannot connect to NATS"), "{told}");
        assert!(!toy.is_connected_to_nats());
        let place = toy.stop().await;
        assert_eq!(place.events().await[0].get_str("sent").unwrap(), "NO");
        assert!(place.messages().await.is_empty());
        place.remove().await;
    }
}
