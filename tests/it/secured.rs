//! Servers that speak TLS only and ask who we are.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bson::{Bson, doc};
use mongodb::Client;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Mongo, Nats, Process, mongo_uri, nats_url};

use crate::{
    harness::{NatsFiles, Place, TestApp, assert_problem, now_seconds},
    process::command,
};

/// An authority, and a certificate of its for 127.0.0.1.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, TlsKey::generate().unwrap()).unwrap();
        let key = TlsKey::generate().unwrap();
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&key, &authority).unwrap();
        let this = Self {
            folder: TempDir::new().unwrap(),
        };
        this.write("ca.pem", &authority.pem());
        this.write("cert.pem", &server.pem());
        this.write("key.pem", &key.serialize_pem());
        this.write(
            "both.pem",
            &format!("{}{}", server.pem(), key.serialize_pem()),
        );
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// A NATS JWT: `claims` about `subject`, signed by `issuer`.
fn nats_jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": name, "iat": now_seconds(), "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": claims,
    }));
    let text = format!("{head}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

#[tokio::test]
async fn events_are_published_to_a_nats_that_wants_tls_a_certificate_and_credentials() {
    let certificates = Certificates::new();
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
    let nats_state = async |app: &TestApp| {
        app.get("/health/ready")
            .await
            .json::<Value>()
            .await
            .unwrap()["nats"]
            .clone()
    };

    // Each of them is asked for: without it the program says that it cannot connect.
    let place = Place::at(&mongo_uri(), &nats.url());
    let files = [
        ("NATS_CREDS_FILE", credentials),
        ("NATS_TLS_CA_FILE", certificates.path("ca.pem")),
        ("NATS_TLS_CERT_FILE", certificates.path("cert.pem")),
        ("NATS_TLS_KEY_FILE", certificates.path("key.pem")),
    ];
    for missing in [
        &["NATS_CREDS_FILE"][..],
        &["NATS_TLS_CA_FILE"],
        &["NATS_TLS_CERT_FILE", "NATS_TLS_KEY_FILE"],
    ] {
        let mut stranger = command(&place);
        for (name, path) in files.iter().filter(|(name, _)| !missing.contains(name)) {
            stranger.env(name, path);
        }
        let mut stranger = Process::logged(&mut stranger);
        stranger.told("cannot connect to NATS");
    }
    let [creds, ca, cert, key] = files.map(|(_, path)| Some(path));
    let mut place = place;
    place.nats_files = NatsFiles {
        creds,
        ca,
        cert,
        key,
    };
    let app = TestApp::start_at(place).await;
    app.create().await;
    app.place.drained().await;
    assert_eq!(nats_state(&app).await, "up");
    let place = app.stop().await;
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn a_mongodb_that_wants_tls_and_a_password_is_served_with_rights_on_one_database_only() {
    let certificates = Certificates::new();
    let key_file = certificates.write("replica-set.key", "bm90IGEgc2VjcmV0IG9mIGFueWJvZHk=");
    let mut mongo = Mongo::absent();
    mongo.args.extend([
        "--tlsMode".into(),
        "requireTLS".into(),
        "--tlsCertificateKeyFile".into(),
        certificates.path("both.pem").into(),
        "--tlsCAFile".into(),
        certificates.path("ca.pem").into(),
        "--tlsAllowConnectionsWithoutCertificates".into(),
        "--keyFile".into(),
        key_file.into(),
    ]);
    mongo.options = format!(
        "&tls=true&tlsCAFile={}",
        certificates.path("ca.pem").display()
    );
    mongo.start().await;
    let admin = Client::with_uri_str(mongo.uri())
        .await
        .unwrap()
        .database("admin");
    // The first user may be made by anybody on this machine; the service's may do nothing outside of its database.
    let user =
        |name: &str, roles: Vec<Bson>| doc! { "createUser": name, "pwd": "s3cret", "roles": roles };
    admin
        .run_command(user("root", vec!["root".into()]))
        .await
        .unwrap();

    let stranger = TestApp::begin_at(Place::at(&mongo.uri(), &nats_url())).await;
    let refused = stranger
        .post("alice", json!({ "title": "concert", "price": 1 }))
        .await;
    assert_problem(refused, 503).await;
    stranger.stop().await;

    mongo.options += "&authSource=admin";
    mongo.login = "root:s3cret@".to_owned();
    let root = Client::with_uri_str(mongo.uri()).await.unwrap();
    mongo.login = "service:s3cret@".to_owned();
    let place = Place::at(&mongo.uri(), &nats_url());
    let roles =
        ["readWrite", "dbAdmin"].map(|role| doc! { "role": role, "db": &place.name }.into());
    let admin = root.database("admin");
    admin
        .run_command(user("service", roles.to_vec()))
        .await
        .unwrap();
    let app = TestApp::start_at(place).await;
    app.create().await;
    app.place.drained().await;
    app.stop().await;
}
