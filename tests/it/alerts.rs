//! The alert rules of deploy/ and the page that says what to do about each.

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
