//! Settings that would weaken the promise: told at the start, in one line that names them.

use testbed::{Process, mongo_uri, nats_url};

use crate::{documents::read, harness::Place, process::command};

/// The one line that a service ends with, which begins with the variable; its exit code is 2.
#[track_caller]
fn refused(variable: &str, value: &str) -> String {
    let mut service = command(&Place::new());
    let output = service.env(variable, value).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{variable}={value}: {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with(variable), "{told}");
    told
}

#[test]
fn an_option_of_mongo_uri_that_would_weaken_the_promise_is_told_by_its_name_and_value() {
    for (option, wanted) in [
        ("readPreference=secondary", "readPreference=primary"),
        ("w=1", "w=majority"),
        ("journal=false", "journal=true"),
        ("maxPoolSize=1", "maxPoolSize from 10"),
        ("directConnection=true", "directConnection=false"),
        ("readConcernLevel=local", "readConcernLevel=majority"),
        ("retryWrites=false", "retryWrites=true"),
        ("tlsCAFile=/etc/hostname", "tlsCAFile /etc/hostname"),
        ("noSuchOption=1", "noSuchOption"),
    ] {
        let told = refused(
            "MONGO_URI",
            &format!("mongodb://user:s3cret@127.0.0.1/?{option}"),
        );
        assert!(told.contains(wanted), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn a_setting_of_nats_that_cannot_be_used_is_told_by_its_variable() {
    let told = refused("NATS_URL", "ws://user:s3cret@127.0.0.1:80");
    assert!(
        told.contains("WebSockets") && !told.contains("s3cret"),
        "{told}"
    );
    for (variable, value) in [
        ("NATS_URL", "nats://127.0.0.1,wss://127.0.0.1"),
        ("NATS_URL", "nats://one@127.0.0.1,nats://other@127.0.0.1"),
        ("NATS_NKEY_FILE", "/etc/hostname"),
        ("NATS_NKEY_FILE", "/there/is/no/such/file"),
        ("NATS_TLS_FIRST", "perhaps"),
        ("NATS_INBOX_PREFIX", "a.>"),
        ("NATS_JETSTREAM_DOMAIN", "a.b"),
    ] {
        refused(variable, value);
    }
}

#[test]
fn a_service_that_waits_for_a_server_says_which_and_why() {
    let wrong = mongo_uri().replace("replicaSet=rs0", "replicaSet=other");
    let mut place = Place::at(&wrong, &nats_url());
    place.nats_url = "nats://127.0.0.1:1".to_owned();
    // More of another part is asked for, and not of the client.
    let mut service = command(&place);
    let mut service = Process::logged(service.env("RUST_LOG", "info,messaging=debug"));
    let line = service.told("waiting for the database");
    let is_told = line.contains("is of the replica set rs0, and MONGO_URI says replicaSet=other");
    assert!(is_told, "{line}");
    let line = service.told("cannot connect to NATS");
    assert!(line.contains("nats://127.0.0.1:1: "), "{line}");
    assert!(
        !service.log().contains("async_nats"),
        "it says so itself, each time"
    );
}

#[test]
fn a_key_that_is_soon_guessed_is_refused_with_the_reason() {
    for (key, reason) in [
        (" ".repeat(32), "blanks"),
        ("a".repeat(64), "repeats itself"),
        ("0123456789".repeat(4), "repeats itself"),
        ("changeme".repeat(4), "placeholder"),
        (
            "please-change-me-0f3c9a7be15d84e2".to_owned(),
            "placeholder",
        ),
    ] {
        for variable in ["JWT_KEY", "ADMIN_TOKEN"] {
            let told = refused(variable, &key);
            assert!(told.contains(reason) && !told.contains(&key), "{told}");
        }
    }
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    let key = "0f3c9a7be15d84e26b0d7c58a91e4f23";
    for token in [
        format!("{key} "),
        format!("{key}é"),
        format!("{key}\t{key}"),
    ] {
        let told = refused("ADMIN_TOKEN", &token);
        assert!(
            told.contains("sent in a header") && !told.contains(key),
            "{told}"
        );
    }
}

#[test]
fn what_a_setting_opens_is_told_at_the_start() {
    let place = Place::new();
    let any = "&tls=true&tlsAllowInvalidCertificates=true";
    let mut service = command(&place);
    service.env("MONGO_URI", format!("{}{any}", place.mongo_uri));
    Process::logged(&mut service).told("MONGO_URI takes any certificate");

    let mut service = command(&place);
    service.env("ADMIN_ADDR", "0.0.0.0:0");
    Process::logged(&mut service).told("ADMIN_ADDR is open on all interfaces");
}

#[test]
fn stores_are_open_to_nobody_else_and_git_takes_no_secret() {
    let compose = read("docker-compose.yml");
    for published in [
        "${BIND_ADDRESS:-127.0.0.1}:${TICKETS_PORT:-3000}:3000",
        "${STORES_BIND_ADDRESS:-127.0.0.1}:${MONGO_PORT:-27017}:27017",
        "${STORES_BIND_ADDRESS:-127.0.0.1}:${NATS_PORT:-4222}:4222",
        "127.0.0.1:${ADMIN_PORT:-9090}:9090",
    ] {
        assert!(
            compose.contains(&format!("- \"{published}\"")),
            "{published}"
        );
    }
    // By those, whoever reaches MongoDB could reconfigure it.
    assert!(!read("scripts/services").contains("enableTestCommands"));
    let ignored = read(".gitignore");
    assert!(ignored.contains("\n.env*\n!.env.example\n"), "{ignored}");
}

#[test]
fn every_service_of_compose_takes_a_token_for_its_live_page() {
    let compose = read("docker-compose.yml");
    let (common, services) = compose.split_once("\nservices:\n").unwrap();
    assert!(common.contains("\n  ADMIN_TOKEN:"));
    let admins = services.matches("ADMIN_ADDR: 0.0.0.0:").count();
    assert_eq!(services.matches("<<: *environment").count(), admins);
    assert!(admins > 2, "{admins}");
}
