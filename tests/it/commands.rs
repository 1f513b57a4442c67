//! The command line: configuration, tokens, the health check, help.

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use reqwest::header::COOKIE;
use serde_json::{Value, json};
use testbed::{Mongo, Process, eventually, free_port, program, start};

use crate::{
    harness::{JWT_KEY, Place},
    process::command,
};

/// Of 1024 bits, which no generator here makes any more.
const WEAK_RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCJ50lZnO412ASN2TvSqU7jTxe
CUwS2em7f28DLE+dQrQ5gNTdwXvEHfBcurwPPeV1qzf5u9B/IHGop1HH5K8a/B56
bTDDvwNn/1Ps0KZB0aM8Rr7dJeqXDya55UqDWzA3N3a3WHiGeAX7UDI4uB1A/Rbe
EnNCgRfk8j9Ggj/FfwIDAQAB
-----END PUBLIC KEY-----
";

#[test]
fn what_is_set_to_nothing_is_not_set() {
    let mut command = command(&Place::new());
    for name in [
        "JWT_PUBLIC_KEY_FILE",
        "JWT_ISSUER",
        "CORS_ORIGINS",
        "NATS_CREDS_FILE",
        "NATS_TLS_CA_FILE",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ] {
        command.env(name, "");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    command.env("LISTEN_ADDR", taken.local_addr().unwrap().to_string());
    let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(told.contains("cannot listen on"), "{told}");
}

#[test]
fn a_mongodb_that_is_no_replica_set_is_told_by_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let mut mongod = Command::new(program("mongod"));
    let mongod = mongod.args(["--bind_ip", "127.0.0.1", "--port", &port, "--nounixsocket"]);
    let mongod = mongod.arg("--dbpath").arg(folder.path());
    let _mongod = Process::logged(mongod);
    let mut service = command(&Place::new());
    service.env("MONGO_URI", format!("mongodb://127.0.0.1:{port}/tickets"));
    let mut service = Process::logged(&mut service);
    service.told("has to run as a replica set");
}

#[test]
fn a_bad_value_is_one_line_that_names_the_variable_and_exit_code_2() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let private_key = write("private.pem", &ed25519.serialize_pem());
    let p384 = write("p384.pem", &p384.public_key_pem());
    let weak_rsa = write("rsa1024.pem", WEAK_RSA_KEY);
    let bad = [
        ("MONGO_URI", "localhost:27017"),
        ("MONGO_URI", ""),
        (
            "MONGO_URI",
            "mongodb://127.0.0.1/?tls=true&tlsCAFile=/there/is/no/such/file",
        ),
        ("NATS_URL", ""),
        ("JWT_KEY", "hunter2hunter2"),
        ("JWT_REQUIRE_EXP", "perhaps"),
        ("SESSION_COOKIE", "a b"),
        ("LISTEN_ADDR", "3000"),
        ("NATS_STREAM", "a.b"),
        ("NATS_REPLICAS", "2"),
        ("NATS_DUPLICATE_WINDOW", "1ms"),
        ("NATS_SUBJECT_PREFIX", "a..b"),
        ("EVENT_RETENTION", "0s"),
        ("JWT_KEY", ""),
        ("JWT_PUBLIC_KEY_FILE", "/there/is/no/such/file"),
        ("JWT_PUBLIC_KEY_FILE", "/etc/hostname"),
        ("JWT_PUBLIC_KEY_FILE", &private_key),
        ("JWT_PUBLIC_KEY_FILE", &p384),
        ("JWT_PUBLIC_KEY_FILE", &weak_rsa),
        ("NATS_CREDS_FILE", "/etc/hostname"),
        ("NATS_TLS_CA_FILE", "/etc/hostname"),
        ("NATS_TLS_CERT_FILE", "/etc/hostname"),
        ("NATS_TLS_KEY_FILE", "/etc/hostname"),
        ("ADMIN_ADDR", "9090"),
        ("ADMIN_TOKEN", "hunter2"),
        ("ADMIN_HOSTS", "tickets.internal:9090"),
        ("ADMIN_HOSTS", "http://tickets.internal"),
        ("RATE_LIMIT", "many"),
        ("WRITE_RATE_LIMIT", "-1"),
        ("CONCURRENCY_LIMIT", "0"),
        ("JWKS_URL", "id.example.com"),
        ("JWKS_URL", "https://me:hunter2@id.example.com/jwks"),
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("CORS_ORIGINS", "example.com"),
        ("CORS_ORIGINS", "https://App.example.com"),
        ("CORS_ORIGINS", "https://example.com/"),
        ("CORS_ORIGINS", "https://example.com:443"),
        ("CORS_ORIGINS", "https://me@example.com"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "file://"),
        ("CORS_ORIGINS", "capacitor://localhost/"),
        ("STOP_DELAY", "1h"),
        ("NATS_CREDS_FILE", "/there/is/no/such/file"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318"),
        ("RUST_LOG", "info,=,="),
        ("LOG_FORMAT", "xml"),
    ];
    for (name, value) in bad {
        let Output {
            status,
            stdout,
            stderr,
        } = command(&place)
            .env("RUST_LOG", "off")
            .env(name, value)
            .output()
            .unwrap();
        let told = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{name}: {told}");
        assert!(
            stdout.is_empty()
                && [" wants ", " cannot be used: "]
                    .iter()
                    .any(|says| told.starts_with(&format!("{name}{says}"))),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(!told.contains("hunter2"));
    }
}

#[tokio::test]
async fn a_printed_token_is_accepted_in_the_header_and_in_the_cookie_of_the_chosen_name() {
    let place = Place::new();
    let printed = command(&place)
        .args([
            "token", "--user", "alice", "--email", "a@b.c", "--ttl", "5m",
        ])
        .output()
        .unwrap();
    let token = String::from_utf8(printed.stdout).unwrap().trim().to_owned();
    let (process, address) = start(command(&place).env("SESSION_COOKIE", "session")).await;
    let post = || {
        let post = testbed::client().post(format!("{address}/api/tickets"));
        post.json(&json!({ "title": "concert", "price": 1 }))
    };
    let by_header = post().bearer_auth(&token).send().await.unwrap();
    assert_eq!(by_header.status(), 201);
    assert_eq!(by_header.json::<Value>().await.unwrap()["userId"], "alice");
    let session = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        json!({ "jwt": token }).to_string(),
    );
    for (name, status) in [("session", 201), ("express:sess", 401)] {
        let by_cookie = post()
            .header(COOKIE, format!("{name}={session}"))
            .send()
            .await;
        assert_eq!(by_cookie.unwrap().status(), status);
    }
    drop(process);
    place.remove().await;
}

#[tokio::test]
async fn the_health_check_says_whether_the_service_is_ready() {
    let mut mongo = Mongo::absent();
    let place = Place::at(&mongo.uri(), &testbed::nats_url());
    let address = format!("127.0.0.1:{}", free_port());
    let healthcheck = || {
        let mut healthcheck = command(&place);
        healthcheck
            // A proxy is not for what is asked on this machine.
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env("LISTEN_ADDR", &address)
            .arg("healthcheck")
            .stderr(Stdio::piped());
        healthcheck.output().unwrap()
    };
    let refused = healthcheck();
    assert_eq!(refused.status.code(), Some(1));
    let mut serve = command(&place);
    serve.env("LISTEN_ADDR", &address);
    let process = Process::logged(serve.env("RUST_LOG", "info,service=debug"));
    for delay in ["250ms", "500ms"] {
        eventually(
            "it waits for MongoDB, ever longer, and says so",
            async || {
                let log = process.log();
                let mut lines = log.lines();
                lines.any(|line| {
                    let again_in = format!("again_in={delay}");
                    line.contains("waiting for the database") && line.contains(&again_in)
                })
            },
        )
        .await;
    }
    let unready = healthcheck();
    assert_eq!(unready.status.code(), Some(1));
    assert!(
        String::from_utf8(unready.stderr)
            .unwrap()
            .contains("not ready: 503")
    );
    mongo.start().await;
    eventually("ready", async || healthcheck().status.success()).await;
    drop(process);
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = command(&Place::new())
        .env("LISTEN_ADDR", &address)
        .env("RUST_LOG", "off")
        .output();
    let Output { status, stderr, .. } = refused.unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(told.starts_with(&format!(
        "cannot listen on {address}; LISTEN_ADDR chooses another"
    )));
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn help_is_the_reference() {
    let help = command(&Place::new()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for told in [
        "MONGO_URI",
        "NATS_URL",
        "JWT_KEY",
        "EVENT_RETENTION",
        "LOG_FORMAT",
        "healthcheck",
        "--no-publisher",
        "outbox",
    ] {
        assert!(help.contains(told), "{told}");
    }
    assert!(!help.contains(JWT_KEY));
}
