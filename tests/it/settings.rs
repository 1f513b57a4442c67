//! Settings that would weaken the promise: told at the start, in one line that names them.

use testbed::{Process, mongo_uri, nats_url};

use crate::{harness::Place, process::command};

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
    let mut service = Process::logged(&mut command(&place));
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
