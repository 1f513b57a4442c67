//! The program's metrics, read as Prometheus reads them.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use bson::doc;
use testbed::{Nats, Process, eventually};

use crate::{
    harness::Place,
    operators::{TOO_LARGE, event, plant},
    process::{command, create},
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
pub(crate) struct Metered {
    process: Process,
    pub(crate) address: String,
    pub(crate) metrics: String,
}

impl Metered {
    pub(crate) fn start(place: &Place) -> Self {
        Self::start_with(place, "CONCURRENCY_LIMIT", "256")
    }

    pub(crate) fn start_with(place: &Place, variable: &str, value: &str) -> Self {
        // Long enough to look at it while it stops.
        let mut process = command(place);
        let mut process = Process::logged(process.env("STOP_DELAY", "5s").env(variable, value));
        let mut value_of = |name: &str| {
            let line = process.told(name);
            let (_, value) = line.split_once(name).unwrap();
            value.trim().trim_matches('"').to_owned()
        };
        let address = format!("http://{}", value_of("address="));
        let metrics = value_of("metrics=");
        Self {
            process,
            address,
            metrics,
        }
    }

    async fn scrape(&self) -> String {
        let answer = testbed::client().get(&self.metrics).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// Waits until every line is among the metrics, each whole.
    pub(crate) async fn tell(&self, lines: &[&str]) {
        for line in lines {
            eventually(line, async || {
                self.scrape().await.lines().any(|told| told == *line)
            })
            .await;
        }
    }

    pub(crate) async fn value_of(&self, name: &str) -> f64 {
        let text = self.scrape().await;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().parse().unwrap()
    }

    pub(crate) async fn create(&self) {
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
        "outbox_publish_failures_total{reason=\"key\"} 0",
        "outbox_publish_failures_total{reason=\"parked\"} 0",
        "mongodb_transaction_retries_total 0",
        "mongodb_pool_checkout_failures_total 0",
        "http_server_requests_refused_total 0",
    ];
    // Before the first of them.
    service.tell(&failures).await;
    let ready = format!("{}/health/ready", service.address);
    eventually("it is ready", async || {
        testbed::client().get(&ready).send().await.unwrap().status() == 200
    })
    .await;
    service.create().await;
    place.drained().await;
    let public = testbed::client()
        .get(format!("{}/metrics", service.address))
        .send()
        .await;
    assert_eq!(public.unwrap().status(), 404);
    let made_up = format!("{}/made/up/{}", service.address, place.name);
    testbed::client().get(made_up).send().await.unwrap();
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
            let name = format!("mongodb_pool_connections{{pool=\"beside\",state=\"{state}\"}}");
            service.value_of(&name).await >= 1.0
        })
        .await;
    }
    let text = service.scrape().await;
    assert!(
        !text.contains(&place.name),
        "a made-up path makes no series"
    );
    for histogram in [
        "http_server_request_duration_seconds",
        "mongodb_transaction_duration_seconds",
        "outbox_commit_to_ack_seconds",
    ] {
        let buckets = format!("# TYPE {histogram} histogram");
        assert!(text.contains(&buckets), "{histogram}");
    }
    promtool_accepts(&text);

    // While the stop is under way.
    service.process.signal("-TERM");
    eventually("it is stopping", async || {
        testbed::client().get(&ready).send().await.unwrap().status() == 503
    })
    .await;
    service.tell(&["outbox_published_total 1"]).await;
    assert!(service.process.ended().await.success());
    place.remove().await;
}

#[tokio::test]
async fn metrics_tell_of_an_outage_of_nats_and_of_its_end() {
    let mut nats = Nats::absent();
    let place = Place::at(&testbed::mongo_uri(), &nats.url());
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
