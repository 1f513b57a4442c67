//! The dashboard of deploy/grafana/, asked of a real Prometheus that scrapes the program under load: each panel has something to show.

use std::{collections::BTreeSet, fs, process::Command};

use bson::{doc, oid::ObjectId};
use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Process, eventually, free_port, local};

use crate::{
    documents::{read, root},
    harness::Place,
    metrics::Metered,
    operators::{TOO_LARGE, event, plant},
    orders::{Order, Orders},
    process::create,
};

const JOB: &str = "a-service";

/// What is asked, for what, and the labels that the answer is shown by.
struct Query {
    of: String,
    expression: String,
    labels: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Those that stand in braces, as a legend has them.
fn labels_in(legend: &str) -> Vec<String> {
    let names = legend.split("{{").skip(1);
    names
        .map(|it| it.split("}}").next().unwrap().to_owned())
        .collect()
}

fn queries() -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/service.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(Query {
                of: text(&panel["title"]),
                expression: text(&target["expr"]),
                labels: labels_in(&text(&target["legendFormat"])),
            });
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        queries.push(Query {
            of: text(&annotation["name"]),
            expression: text(&annotation["expr"]),
            labels: labels_in(&text(&annotation["titleFormat"])),
        });
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let definition = variable["definition"].as_str().unwrap_or_default();
        if let Some(of) = definition.strip_prefix("label_values(") {
            let (series, label) = of.trim_end_matches(')').rsplit_once(", ").unwrap();
            queries.push(Query {
                of: text(&variable["name"]),
                expression: series.to_owned(),
                labels: vec![label.to_owned()],
            });
        }
    }
    queries
}

/// Scrapes one service, and knows the alerts.
struct Prometheus {
    _process: Process,
    _folder: TempDir,
    address: String,
}

impl Prometheus {
    fn of(service: &Metered) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = local(free_port()).to_string();
        let target = Url::parse(&service.metrics).unwrap();
        let config = json!({
            "global": { "scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms" },
            "rule_files": [root().join("deploy/alerts.yml")],
            "scrape_configs": [{
                "job_name": JOB,
                "static_configs": [{ "targets": [format!("127.0.0.1:{}", target.port().unwrap())] }],
            }],
        });
        // JSON is YAML.
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new(root().join("scripts/prometheus"));
        command.args([
            format!("--config.file={}", path.display()),
            format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ),
            format!("--web.listen-address={address}"),
        ]);
        Self {
            _process: Process::logged(&mut command),
            _folder: folder,
            address,
        }
    }

    /// The series of an answer that are known, none where it gives no answer.
    async fn answer(&self, expression: &str) -> Vec<Value> {
        let url = format!("http://{}/api/v1/query", self.address);
        let url = Url::parse_with_params(&url, [("query", expression)]).unwrap();
        let Ok(answer) = testbed::client().get(url).send().await else {
            return Vec::new();
        };
        let answer: Value = answer.json().await.unwrap_or_default();
        let mut series = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        series.retain(|it| it["value"][1] != "NaN");
        series
    }
}

/// Creates tickets, and orders each: with a second message of one version, which is a conflict.
async fn load(service: &Metered, orders: &Orders) {
    loop {
        let ticket: Value = create(&service.address)
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let mut order = Order::of(&text(&ticket["id"]));
        let mut again = order.as_if_of(&ObjectId::new().to_hex());
        orders.publish(&mut order, "order.created").await;
        orders.publish(&mut again, "order.created").await;
        orders.publish(&mut order, "order.cancelled").await;
    }
}

#[tokio::test]
async fn each_panel_alert_and_variable_of_the_dashboard_has_data_of_a_service_under_load() {
    let place = Place::new();
    let orders = Orders::at(&place).await;
    let service = Metered::start_with(&place, "RESERVATIONS_STREAM", &place.orders_stream());
    let prometheus = Prometheus::of(&service);
    service.create().await;
    plant(
        &place,
        [event("poison", 0, doc! { "text": "x".repeat(TOO_LARGE) })],
    )
    .await;
    let asked = async {
        for Query {
            of,
            expression,
            labels,
        } in queries()
        {
            let expression = expression
                .replace("$job", JOB)
                .replace("$instance", ".*")
                .replace("$__rate_interval", "2s");
            eventually(&format!("{of}: {expression} by {labels:?}"), async || {
                let answer = prometheus.answer(&expression).await;
                let has = |label: &String| answer.iter().any(|it| it["metric"][label].is_string());
                !answer.is_empty() && labels.iter().all(has)
            })
            .await;
        }
    };
    tokio::select! {
        () = asked => {}
        () = load(&service, &orders) => {}
    }
    eventually("the parked event is counted", async || {
        !prometheus
            .answer("outbox_parked_events == 1")
            .await
            .is_empty()
    })
    .await;
    drop((service, prometheus));
    orders.remove(&place).await;
    place.remove().await;
}

/// Every name in `text` that is one of our metrics by its beginning.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let names = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let ours = [
        "outbox_",
        "inbox_",
        "http_server_",
        "mongodb_",
        "nats_",
        "log_lines_",
    ];
    let is_ours = |name: &&str| ours.iter().any(|it| name.starts_with(it));
    let names = names.filter(is_ours);
    let without = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let end = ends.iter().find_map(|end| name.strip_suffix(end));
        end.unwrap_or(name).to_owned()
    };
    names.map(without).collect()
}

#[test]
fn the_dashboard_shows_each_metric_of_ours_and_names_no_other() {
    let sources = [
        "db/src/metrics",
        "messaging/src/metrics",
        "web/src/observe",
        "service/src/log",
    ];
    let mut ours = BTreeSet::new();
    for source in sources {
        let source = read(&format!("crates/{source}.rs"));
        let constants = source
            .lines()
            .filter_map(|line| line.split(": &str = \"").nth(1));
        ours.extend(constants.flat_map(metrics_in));
    }
    let shown: BTreeSet<_> = queries()
        .iter()
        .flat_map(|query| metrics_in(&query.expression))
        .collect();
    assert_eq!(shown, ours);
    assert!(ours.len() > 30, "{ours:?}");
}
