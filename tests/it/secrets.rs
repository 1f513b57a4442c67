//! Secrets come from the environment or from files, never from flags.

use std::fs;

use serde_json::json;
use testbed::{eventually, now_seconds, start};
use web::sign;

use crate::{
    harness::{JWT_KEY, Place, jwt},
    process::{command, create},
};

#[tokio::test]
async fn a_secret_is_taken_from_a_file_without_the_line_break_at_its_end() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let mut service = command(&place);
    let secrets = [
        ("MONGO_URI", place.mongo_uri.as_str()),
        ("NATS_URL", &place.nats_url),
        ("JWT_KEY", JWT_KEY),
        ("ADMIN_TOKEN", JWT_KEY),
    ];
    for (variable, secret) in secrets {
        let file = folder.path().join(variable);
        fs::write(&file, format!("{secret}\r\n")).unwrap();
        service.env_remove(variable);
        service.env(format!("{variable}_FILE"), file);
    }
    // It takes a token that is signed with the key as it is, and finds both servers.
    let (_process, address) = start(&mut service).await;
    assert_eq!(create(&address).await.unwrap().status(), 201);
}

#[tokio::test]
async fn the_file_of_the_key_is_read_again_when_it_changes_and_one_that_is_broken_changes_nothing()
{
    const NEW: &str = "another key of thirty-two bytes or more";
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, JWT_KEY).unwrap();
    let mut service = command(&place);
    service.env_remove("JWT_KEY").env("JWT_KEY_FILE", &file);
    let (mut process, address) = start(&mut service).await;
    let status = async |key: &str| {
        let token = sign(&jwt(key), "alice", None, now_seconds(), 600).unwrap();
        let post = testbed::client().post(format!("{address}/api/tickets"));
        let post = post
            .bearer_auth(token)
            .json(&json!({ "title": "concert", "price": 1 }));
        post.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(JWT_KEY).await, status(NEW).await), (201, 401));
    fs::write(&file, format!("{NEW}\n")).unwrap();
    eventually("the new key counts", async || status(NEW).await == 201).await;
    assert_eq!(status(JWT_KEY).await, 401);
    fs::write(&file, "too short").unwrap();
    eventually("it is told", async || {
        assert_eq!(status(NEW).await, 201);
        let told = "cannot be used: the keys of before still count";
        process.log().contains(told)
    })
    .await;
    for secret in [NEW, "too short"] {
        assert!(!process.log().contains(secret));
    }
    process.terminate().await.unwrap();
}

#[tokio::test]
async fn a_key_of_before_is_taken_away_with_its_file_or_with_what_it_holds() {
    const BEFORE: &str = "the key of before of 32 bytes or more";
    const NEW: &str = "another key of thirty-two bytes or more";
    let folder = tempfile::tempdir().unwrap();
    let (file, previous) = (folder.path().join("key"), folder.path().join("previous"));
    fs::write(&file, JWT_KEY).unwrap();
    let place = Place::new();
    let serving = || {
        let mut service = command(&place);
        service.env_remove("JWT_KEY").env("JWT_KEY_FILE", &file);
        service.env("JWT_KEY_PREVIOUS_FILE", &previous);
        service
    };
    fs::write(&previous, BEFORE).unwrap();
    let (process, address) = start(&mut serving()).await;
    let status = async |address: &str, key: &str| {
        let token = sign(&jwt(key), "alice", None, now_seconds(), 600).unwrap();
        let list = testbed::client().put(format!("{address}/api/tickets/none"));
        let list = list
            .bearer_auth(token)
            .json(&json!({ "title": "a", "price": 1 }));
        list.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&address, BEFORE).await, 404);
    // As an editor leaves it, or `echo`.
    fs::write(&previous, "\n").unwrap();
    eventually("it counts no more", async || {
        status(&address, BEFORE).await == 401
    })
    .await;
    // Nor does a file that is gone keep a new key out.
    fs::remove_file(&previous).unwrap();
    fs::write(&file, NEW).unwrap();
    eventually("the new key counts", async || {
        status(&address, NEW).await == 404
    })
    .await;
    assert_eq!(status(&address, JWT_KEY).await, 401);
    drop(process);
    fs::write(&previous, "\n").unwrap();
    let (_process, address) = start(&mut serving()).await;
    assert_eq!(status(&address, NEW).await, 404);
}

#[test]
fn a_secret_in_a_variable_and_in_a_file_is_refused_with_both_names() {
    for variable in ["MONGO_URI", "NATS_URL", "JWT_KEY"] {
        let file = format!("{variable}_FILE");
        let mut service = command(&Place::new());
        let output = service.env(&file, "/dev/null").output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            told,
            format!("{variable} and {file} are both set: keep one\n")
        );
    }
}

#[test]
fn a_command_wants_no_secret_that_it_does_not_take() {
    let run = |variable: &str, command_line: &str| {
        let mut program = command(&Place::new());
        program.env_remove(variable);
        program.env(format!("{variable}_FILE"), "/there/is/no/such/file");
        // Nobody listens there.
        program.env("LISTEN_ADDR", "127.0.0.1:1");
        let output = program.args(command_line.split(' ')).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), told.contains("_FILE"))
    };
    for secret in ["MONGO_URI", "NATS_URL", "JWT_KEY", "ADMIN_TOKEN"] {
        assert_eq!(run(secret, "healthcheck"), (1, false), "{secret}");
        assert_eq!(run(secret, "openapi"), (0, false), "{secret}");
    }
    assert_eq!(run("JWT_KEY", "outbox status"), (0, false));
    assert_eq!(run("MONGO_URI", "outbox status"), (2, true));
    assert_eq!(run("JWT_KEY", "token --user alice"), (2, true));
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_shown() {
    let place = Place::new();
    for (flag, value, command_line) in [
        ("--jwt-key", JWT_KEY, "token --user alice"),
        ("--jwt-key", JWT_KEY, "serve"),
        ("--mongo-uri", &place.mongo_uri, "outbox status"),
        ("--nats-url", &place.nats_url, "publish"),
        ("--admin-token", JWT_KEY, "serve"),
    ] {
        let mut program = command(&place);
        let program = program.args(command_line.split(' ')).args([flag, value]);
        let output = program.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.starts_with(&format!("{flag} is not taken: ")),
            "{told}"
        );
        assert!(!told.contains(value), "{told}");
    }
}

#[test]
fn a_file_that_holds_no_secret_is_told_by_its_variable() {
    for path in ["/there/is/no/such/file", "/dev/null"] {
        let mut service = command(&Place::new());
        service.env_remove("JWT_KEY").env("JWT_KEY_FILE", path);
        let told = service.output().unwrap().stderr;
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("JWT_KEY_FILE cannot be used: "), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
