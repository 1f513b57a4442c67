//! What the log never holds.

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bson::{DateTime, Document, doc};
use futures_util::future::join_all;
use reqwest::header::COOKIE;
use serde_json::{Value, json};
use testbed::{Process, eventually, free_port, local, nats_url, now_seconds, start, text};
use web::sign;

use crate::{
    collector::{Traced, collector},
    harness::{JWT_KEY, Place, jwt, token},
    process::{command, create},
};

/// The program, whose log tells everything that is told at all.
struct Logged {
    process: Process,
    address: String,
}

impl Logged {
    fn start(command: &mut Command) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let command = command.env("RUST_LOG", "trace").env("STOP_DELAY", "0s");
        let process = Process::logged(command.env("LISTEN_ADDR", &address));
        Self { process, address }
    }

    /// Sends tokens and cookies, good ones and bad ones; what must not be logged of them.
    async fn ask(&self) -> Vec<String> {
        let bad = sign(&jwt(JWT_KEY), "alice", None, now_seconds() - 1_200, 600).unwrap();
        let mut secrets = Vec::new();
        for token in [token("alice"), bad] {
            let cookie = STANDARD.encode(json!({ "jwt": token }).to_string());
            let post = || {
                let post = testbed::client().post(format!("http://{}/api/tickets", self.address));
                post.json(&json!({ "title": "concert", "price": 1 }))
            };
            post().bearer_auth(&token).send().await.unwrap();
            let by_cookie = post().header(COOKIE, format!("express:sess={cookie}"));
            by_cookie.send().await.unwrap();
            // The head of a token is the same for all: its signature is what gives it away.
            let signature = token.rsplit('.').next().unwrap().to_owned();
            secrets.extend([signature, cookie]);
        }
        secrets
    }
}

#[tokio::test]
async fn tokens_cookies_keys_and_passwords_are_never_logged_not_even_by_the_lowest_level() {
    let place = Place::new();
    let mut with_nats_password = command(&place);
    let nats = nats_url().replace("nats://", "nats://user:s3cret@");
    with_nats_password.env("NATS_URL", nats);
    let mut service = Logged::start(&mut with_nats_password);
    let ready = format!("http://{}/health/ready", service.address);
    eventually("it is ready", async || {
        let ready = testbed::client().get(&ready).send().await;
        ready.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let mut secrets = service.ask().await;
    place.drained().await;
    service.process.signal("-TERM");
    assert!(service.process.ended().await.success());

    let mut with_mongo_password = command(&place);
    let mongo = place
        .mongo_uri
        .replace("mongodb://", "mongodb://user:s3cret@");
    with_mongo_password.env("MONGO_URI", &mongo);
    let refused = Logged::start(&mut with_mongo_password);
    eventually("MongoDB knows no such user", async || {
        refused.process.log().contains("waiting for the database")
    })
    .await;
    secrets.extend(refused.ask().await);
    let mut with_issuer = command(&place);
    let issuer = format!("http://127.0.0.1:{}/jwks?key=s3cret", free_port());
    let with_issuer = Logged::start(with_issuer.env("JWKS_URL", issuer));
    eventually("it is ready", async || {
        let ready = format!("http://{}/health/ready", with_issuer.address);
        let ready = testbed::client().get(&ready).send().await;
        ready.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    secrets.extend(with_issuer.ask().await);
    assert!(
        with_issuer
            .process
            .log()
            .contains("the issuer gives no keys")
    );
    secrets.extend([JWT_KEY.to_owned(), "s3cret".to_owned(), mongo]);
    for process in [service.process, refused.process, with_issuer.process] {
        let log = process.log();
        assert!(log.contains("TRACE"), "{log}");
        for secret in &secrets {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
    place.remove().await;
}

#[tokio::test]
async fn log_lines_metrics_and_traces_name_tickets_and_no_people() {
    let (collector, received) = collector().await;
    let (place, admin) = (Place::new(), format!("127.0.0.1:{}", free_port()));
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("ADMIN_ADDR", &admin),
    ];
    let service = Traced::start(&place, &variables).await;
    assert_eq!(service.post(None).await, 201);
    place.drained().await;
    let id = place.events().await[0].get_str("key").unwrap().to_owned();
    let change = testbed::client().put(format!("http://{}/api/tickets/{id}", service.address));
    let change = change.json(&json!({ "title": "concert", "price": 2 }));
    let refused = change.bearer_auth(token("bob")).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let metrics = testbed::client()
        .get(format!("http://{admin}/metrics"))
        .send()
        .await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let log = format!("{:?}", service.stop().await);
    let traces = format!("{:?}", received.lock().unwrap().spans);
    assert!(log.contains(&id) && traces.contains("publish ticket.created"));
    assert!(metrics.contains("status=\"403\""), "{metrics}");
    for told in [log, metrics, traces] {
        for person in ["alice", "bob", "concert"] {
            assert!(!told.contains(person), "{person}: {told}");
        }
    }
    place.remove().await;
}

#[tokio::test]
async fn log_lines_that_nobody_reads_are_dropped_and_counted_and_hold_nobody_up() {
    let (place, [address, admin]) = (Place::new(), [(); 2].map(|()| local(free_port())));
    let mut command = command(&place);
    command
        .env("LISTEN_ADDR", address.to_string())
        .env("ADMIN_ADDR", admin.to_string());
    let mut service = Process::unread(command.env("RUST_LOG", "trace").env("STOP_DELAY", "0s"));
    let address = format!("http://{address}");
    let ask = async |url: &str| {
        testbed::client()
            .get(url)
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()
    };
    let metrics = format!("http://{admin}/metrics");
    eventually("lines are dropped", async || {
        join_all((0..100).map(|_| create(&address))).await;
        let metrics = ask(&metrics).await.unwrap_or_default();
        let dropped = metrics
            .lines()
            .find_map(|line| line.strip_prefix("log_lines_dropped_total "));
        dropped.is_some_and(|lines| lines != "0")
    })
    .await;
    assert_eq!(create(&address).await.unwrap().status(), 201);
    service.signal("-TERM");
    assert!(service.ended().await.success());
    place.remove().await;
}

#[tokio::test]
async fn a_process_that_is_refused_ends_although_nobody_reads_why() {
    const SOON: Duration = Duration::from_secs(4);
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32);
    let cases: [Case<'_>; 5] = [
        (&["serve"], &[("JWT_KEY", "short")], 2),
        (&["serve"], &[("MONGO_URI", "nowhere")], 2),
        (&["serve", "--no-such-flag"], &[], 2),
        (&["serve"], &[("JWT_KEY_FILE", "/none")], 2),
        (&["serve"], &[("LISTEN_ADDR", &taken)], 1),
    ];
    for (arguments, variables, code) in cases {
        let mut command = command(&place);
        command.args(arguments).env("RUST_LOG", "trace");
        let mut process = Process::unread(command.envs(variables.iter().copied()));
        let began = Instant::now();
        assert_eq!(process.ended().await.code(), Some(code), "{variables:?}");
        assert!(
            began.elapsed() < SOON,
            "{variables:?}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn a_write_is_logged_where_it_changes_something() {
    let place = Place::new();
    let (mut service, address) = start(&mut command(&place)).await;
    let create = async || {
        let post = testbed::client().post(format!("{address}/api/tickets"));
        let post = post.bearer_auth(token("alice"));
        let post = post.header("idempotency-key", "a");
        let post = post.json(&json!({ "title": "concert", "price": 1 }));
        post.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let ticket = create().await;
    assert_eq!(create().await, ticket);
    let ticket = format!("{address}/api/tickets/{}", text(&ticket["id"]));
    for _ in 0..2 {
        let put = testbed::client().put(&ticket).bearer_auth(token("alice"));
        let put = put.json(&json!({ "title": "concert", "price": 2 }));
        assert_eq!(put.send().await.unwrap().status(), 200);
    }
    service.signal("-TERM");
    assert!(service.ended().await.success());
    for change in ["ticket created", "ticket updated"] {
        assert_eq!(service.log().matches(change).count(), 1, "{change}");
    }
    place.remove().await;
}

#[tokio::test]
async fn what_others_wrote_makes_no_line_of_its_own_in_log_or_table_and_no_terminal_obeys_it() {
    let place = Place::new();
    let (mut service, _) = start(&mut command(&place)).await;
    let forged = "0\u{1b}[2J\n2026-11-27T00:00:00Z ERROR all is lost";
    let events = place.database().await.collection::<Document>("events");
    let event = doc! {
        "_id": forged, "key": forged, "version": 0_i64, "type": forged, "subject": forged,
        "sent": "NO", "data": {}, "createdAt": DateTime::now(),
    };
    events.insert_one(event).await.unwrap();
    service.told("it is parked");
    let letters = place.database().await.collection::<Document>("deadLetters");
    let letter = doc! {
        "_id": { "consumer": "reservations", "key": forged, "version": 0_i64 }, "state": "dead",
        "type": forged, "reason": forged,
    };
    letters.insert_one(letter).await.unwrap();
    let listed = |of: &str| {
        let list = command(&place).args([of, "list"]).output().unwrap();
        let table = String::from_utf8(list.stdout).unwrap();
        assert!(table.contains("all is lost"), "{of}: {table}");
        table
    };
    for text in [service.log(), listed("outbox"), listed("inbox")] {
        let is_forged = |line: &str| line.starts_with("2026-11-27T00:00:00Z ERROR");
        assert!(!text.lines().any(is_forged), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    drop(service);
    place.remove().await;
}
