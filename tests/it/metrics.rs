//! The program's metrics, read as Prometheus reads them.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

use bson::{Document, doc};
use db::{Db, Timing};
use futures_util::TryStreamExt;
use messaging::Outbox;

use crate::{
    harness::{Place, eventually, nats_url},
    idempotency::{at_the_next, is_held},
    operators::{TOO_LARGE, event, plant},
    process::{command, create},
    servers::{Mongo, Nats, Process},
};

/// Prometheus's own linter: names, units and help.
fn promtool_accepts(text: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/promtool");
    let mut promtool = Command::new(script)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = promtool.wait_with_output().unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    assert!(status.success(), "{told}\n{text}");
}

/// The program, and where it listens.
struct Metered {
    process: Process,
    address: String,
    metrics: String,
}

impl Metered {
    fn start(place: &Place) -> Self {
        // Long enough to look at it while it stops.
        let mut process = command(place);
        let mut process = Process::spawn(process.env("STOP_DELAY", "5s").stderr(Stdio::piped()));
        let mut lines = BufReader::new(process.child().stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut value_of = |name: &str| {
            let value = |line: String| {
                let (_, value) = line.split_once(name)?;
                Some(value.trim().trim_matches('"').to_owned())
            };
            lines.by_ref().find_map(value).unwrap()
        };
        let address = format!("http://{}", value_of("address="));
        let metrics = value_of("metrics=");
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            address,
            metrics,
        }
    }

    async fn scrape(&self) -> String {
        let answer = reqwest::get(&self.metrics).await.unwrap();
        answer.text().await.unwrap()
    }

    /// Waits until every line is among the metrics, each whole.
    async fn tell(&self, lines: &[&str]) {
        for line in lines {
            eventually(line, async || {
                self.scrape().await.lines().any(|told| told == *line)
            })
            .await;
        }
    }

    async fn value_of(&self, name: &str) -> f64 {
        let text = self.scrape().await;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().parse().unwrap()
    }

    async fn create(&self) {
        eventually("a ticket is created", async || {
            create(&self.address).await.unwrap().status() == 201
        })
        .await;
    }
}

#[tokio::test]
async fn metrics_tell_of_requests_transactions_and_the_outbox_until_the_very_end() {
    let place = Place::new();
    let mut service = Metered::start(&place);
    let failures = [
        "outbox_publish_failures_total{reason=\"broker\"} 0",
        "outbox_publish_failures_total{reason=\"event\"} 0",
        "outbox_publish_failures_total{reason=\"parked\"} 0",
        "mongodb_transaction_retries_total 0",
        "mongodb_pool_checkout_failures_total 0",
        "http_server_requests_refused_total 0",
    ];
    // Before the first of them.
    service.tell(&failures).await;
    let ready = format!("{}/health/ready", service.address);
    eventually("it is ready", async || {
        reqwest::get(&ready).await.unwrap().status() == 200
    })
    .await;
    service.create().await;
    place.drained().await;
    let public = reqwest::get(format!("{}/metrics", service.address)).await;
    assert_eq!(public.unwrap().status(), 404);
    let made_up = format!("{}/made/up/{}", service.address, place.name);
    reqwest::get(made_up).await.unwrap();
    service
        .tell(&[
            "http_server_request_duration_seconds_count{method=\"POST\",route=\"/api/tickets\",status=\"201\"} 1",
            "mongodb_transaction_duration_seconds_count{outcome=\"committed\"} 1",
            "nats_connected 1",
            "outbox_published_total 1",
            "outbox_commit_to_ack_seconds_count 1",
            "outbox_sweep_size_events_count 1",
            "outbox_mark_size_events_count 1",
            "outbox_unsent_events 0",
            "outbox_parked_events 0",
            "outbox_oldest_unsent_age_seconds 0",
            "outbox_has_publisher 1",
            "outbox_is_publisher 1",
            "outbox_lease_changes_total 1",
            concat!("build_info{service=\"", env!("CARGO_PKG_NAME"), "\",version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ])
        .await;
    // The change stream has one to itself.
    for state in ["open", "in_use"] {
        eventually(state, async || {
            let name = format!("mongodb_pool_connections{{state=\"{state}\"}}");
            service.value_of(&name).await >= 1.0
        })
        .await;
    }
    let text = service.scrape().await;
    assert!(
        !text.contains(&place.name),
        "a made-up path makes no series"
    );
    promtool_accepts(&text);

    // While the stop is under way.
    service.process.signal("-TERM");
    eventually("it is stopping", async || {
        reqwest::get(&ready).await.unwrap().status() == 503
    })
    .await;
    service.tell(&["outbox_published_total 1"]).await;
    let process = service.process.child();
    assert!(process.wait().unwrap().success());
    place.remove().await;
}

#[tokio::test]
async fn metrics_tell_of_an_outage_of_nats_and_of_its_end() {
    let mut nats = Nats::absent();
    let place = Place::at(&crate::harness::mongo_uri(), &nats.url());
    let service = Metered::start(&place);
    service.create().await;
    service
        .tell(&[
            "nats_connected 0",
            "outbox_unsent_events 1",
            "outbox_has_publisher 0",
            "outbox_is_publisher 0",
            "outbox_published_total 0",
        ])
        .await;
    assert!(service.value_of("outbox_oldest_unsent_age_seconds").await > 0.0);
    nats.start().await;
    service
        .tell(&[
            "nats_connected 1",
            "outbox_unsent_events 0",
            "outbox_oldest_unsent_age_seconds 0",
            "outbox_is_publisher 1",
        ])
        .await;
    drop(service);
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn what_waits_behind_a_parked_event_is_parked_too_and_alarms_nobody_else() {
    let place = Place::new();
    let service = Metered::start(&place);
    service.create().await;
    let too_large = event("poison", 0, doc! { "text": "x".repeat(TOO_LARGE) });
    let behind = event("poison", 1, doc! { "fine": true });
    plant(&place, [too_large, behind]).await;
    service
        .tell(&[
            "outbox_parked_events 1",
            "outbox_unsent_events 2",
            "outbox_oldest_unsent_age_seconds 0",
            "outbox_publish_failures_total{reason=\"parked\"} 1",
        ])
        .await;
    drop(service);
    place.remove().await;
}

#[tokio::test]
async fn figures_that_cannot_be_read_are_not_told_until_they_can() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let service = Metered::start(&Place::at(&mongo.uri(), &nats_url()));
    service.create().await;
    service.tell(&["outbox_has_publisher 1"]).await;
    mongo.kill();
    service
        .tell(&["outbox_has_publisher NaN", "outbox_unsent_events NaN"])
        .await;
    mongo.start().await;
    service
        .tell(&["outbox_has_publisher 1", "outbox_unsent_events 0"])
        .await;
    assert!(
        service
            .value_of("outbox_status_read_timestamp_seconds")
            .await
            > 0.0
    );
}

#[tokio::test]
async fn a_request_whose_client_hangs_up_is_counted_as_aborted() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let service = Metered::start(&place);
    service.create().await;
    let hold = doc! { "blockConnection": true, "blockTimeMS": 3000 };
    at_the_next(&place, "commitTransaction", hold).await;
    let address = service.address.clone();
    let hung_up = tokio::spawn(async move { create(&address).await });
    is_held(&place, "commitTransaction").await;
    hung_up.abort();
    service
        .tell(&["http_server_request_duration_seconds_count{method=\"POST\",route=\"/api/tickets\",status=\"aborted\"} 1"])
        .await;
    drop(service);
}

#[tokio::test]
async fn the_figures_cost_the_backlog_and_never_the_history() {
    let place = Place::new();
    let database = place.database().await;
    let db = Db::connect(&place.mongo(), "test", Timing::default())
        .await
        .unwrap();
    Outbox::new(&db)
        .prepare(place.event_retention)
        .await
        .unwrap();
    let sent = (0..3_000).map(|number| {
        let mut event = event(&format!("key-{number}"), 0, doc! {});
        event.insert("sent", "YES");
        event
    });
    plant(&place, sent).await;
    plant(
        &place,
        (1..=5).map(|version| event("key-7", version, doc! {})),
    )
    .await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let status = Outbox::new(&db).sampled_status().await.unwrap();
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    assert_eq!(status.unsent, 5);
    let profile = database.collection::<Document>("system.profile");
    let events = format!("{}.events", place.name);
    let asked: Vec<Document> = profile
        .find(doc! { "ns": events })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    for examined in ["keysExamined", "docsExamined"] {
        assert!(asked[0].get_i32(examined).unwrap() <= 6, "{asked:?}");
    }
    place.remove().await;
}
