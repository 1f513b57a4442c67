//! The alert rules of deploy/, whose figures they see, and the page that says what to do about each.

use std::collections::{BTreeMap, BTreeSet};

use crate::documents::read;

/// Each rule's name, and where it says that its row is.
fn runbooks() -> BTreeMap<String, String> {
    let rules = read("deploy/alerts.yml");
    let rules = rules.split("- alert: ").skip(1).map(|rule| {
        let name = rule.lines().next().unwrap().to_owned();
        let url = rule
            .lines()
            .find_map(|line| line.trim().strip_prefix("runbook_url: "));
        (name, url.unwrap_or_default().to_owned())
    });
    rules.collect()
}

/// The alerts that the page explains, each row of a table, and the anchor in that row.
fn rows() -> BTreeMap<String, String> {
    let page = read("docs/operations.md");
    let rows = page.lines().filter_map(|line| {
        let (name, row) = line.strip_prefix("| `")?.split_once('`')?;
        let is_alert = ["Outbox", "Inbox"].iter().any(|of| name.starts_with(of));
        let anchor = row
            .split("<a id=\"")
            .nth(1)
            .and_then(|it| it.split('"').next());
        is_alert.then(|| (name.to_owned(), anchor.unwrap_or_default().to_owned()))
    });
    rows.collect()
}

#[test]
fn prometheus_asks_each_service_of_the_compose_file_at_its_admin_port() {
    let compose = read("docker-compose.yml");
    let (_, services) = compose.split_once("\nservices:\n").unwrap();
    let services = services.split("\n\n").filter_map(|entry| {
        let name = entry.trim_start().split_once(':')?.0;
        let (_, port) = entry.split_once("ADMIN_ADDR: 0.0.0.0:")?;
        let port = port.split_whitespace().next()?;
        Some(format!("names: [{name}], type: A, port: {port},"))
    });
    let services: Vec<_> = services.collect();
    let jobs = read("deploy/prometheus.yml");
    for service in &services {
        assert!(jobs.contains(service), "{service} {jobs}");
    }
    assert_eq!(jobs.matches("job_name: ").count(), services.len());
    assert!(services.len() >= 3, "{services:?}");
}

#[test]
fn operations_explains_each_alert_of_the_rules_in_the_row_that_its_runbook_names() {
    let rows = rows().into_iter();
    let rows: BTreeMap<_, _> = rows
        .map(|(name, anchor)| (name, format!("docs/operations.md#{anchor}")))
        .collect();
    assert_eq!(rows, runbooks());
    let distinct: BTreeSet<_> = rows.values().collect();
    assert_eq!(distinct.len(), rows.len());
    assert!(rows.len() > 10, "{rows:?}");
}
