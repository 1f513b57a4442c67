//! Who we are at NATS, where files say it.

use std::{fs, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::DateTime;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Certificates, mongo_uri};

use crate::{
    log::Log,
    rights::Configured,
    toy::{Place, Toy},
};

/// Signs who may use a NATS of its own.
pub(crate) struct Operator {
    operator: KeyPair,
    account: KeyPair,
    /// JetStream needs one.
    system: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// The server's configuration.
    pub(crate) fn config(&self) -> String {
        let no_jetstream = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 });
        let mut everything = no_jetstream.clone();
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            everything[limit] = json!(-1);
        }
        let operator = json!({ "type": "operator", "version": 2 });
        let account = |limits: &Value| json!({ "type": "account", "version": 2, "limits": limits });
        format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n",
            self.jwt(&self.operator, &operator),
            self.system.public_key(),
            self.account.public_key(),
            self.jwt(&self.account, &account(&everything)),
            self.system.public_key(),
            self.jwt(&self.system, &account(&no_jetstream)),
        )
    }

    /// A new user's file, which is good for so long.
    pub(crate) fn credentials(&self, good_for: Option<Duration>) -> String {
        let user = KeyPair::new_user();
        let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let jwt = jwt(&self.account, &user, good_for, &claims);
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap(),
        )
    }

    fn jwt(&self, subject: &KeyPair, claims: &Value) -> String {
        jwt(&self.operator, subject, None, claims)
    }
}

/// A NATS JWT: `claims` about `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, good_for: Option<Duration>, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let now = u64::try_from(DateTime::now().timestamp_millis() / 1000).unwrap();
    let mut claims = json!({
        "jti": subject.public_key(), "iat": now, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "test", "nats": claims,
    });
    if let Some(good_for) = good_for {
        claims["exp"] = json!(now + good_for.as_secs());
    }
    let text = format!("{head}.{}", part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

#[tokio::test]
async fn credentials_that_are_renewed_before_they_expire_count_without_a_restart() {
    let operator = Operator::new();
    let nats = Configured::start(&operator.config()).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("user.creds");
    fs::write(&file, operator.credentials(Some(Duration::from_secs(3)))).unwrap();
    let mut place = Place::at(&mongo_uri(), &nats.nats.url());
    place.access.nats_creds_file = Some(file.clone());
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    fs::write(&file, operator.credentials(None)).unwrap();
    // The server ends the connection when the first expire.
    log.told("not connected to NATS").await;
    toy.create().await;
    toy.place.drained().await;
    toy.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn a_nats_that_knows_us_by_an_nkey_is_published_to() {
    let key = KeyPair::new_user();
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        key.public_key()
    );
    let nats = Configured::start(&config).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("seed");
    fs::write(&file, key.seed().unwrap()).unwrap();
    let mut place = Place::at(&mongo_uri(), &nats.nats.url());
    place.access.nats_nkey_file = Some(file);
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    toy.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_renewed_counts_without_a_restart() {
    let [ours, stranger] = [(); 2].map(|()| Certificates::issue());
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        ours.path("cert.pem"),
        ours.path("key.pem")
    );
    let nats = Configured::start(&config).await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ca.pem");
    fs::copy(stranger.path("ca.pem"), &file).unwrap();
    let mut place = Place::at(&mongo_uri(), &nats.nats.url());
    place.access.nats_tls_ca_file = Some(file.clone());
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    log.told("cannot connect to NATS").await;
    fs::copy(ours.path("ca.pem"), &file).unwrap();
    toy.create().await;
    toy.place.drained().await;
    toy.stop().await.database().await.drop().await.unwrap();
}
