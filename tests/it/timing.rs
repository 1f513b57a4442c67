//! The times that the service keeps to are those that docs/guarantees.md tells.

use std::collections::BTreeSet;

use service::Timing;

/// One line of the pretty debug output of [`Timing`] a time, with the name of the part that it belongs to.
fn defaults() -> BTreeSet<String> {
    let mut part = String::new();
    let mut times = BTreeSet::new();
    for line in format!("{:#?}", Timing::default()).lines() {
        let Some((name, value)) = line.trim().trim_end_matches(',').split_once(": ") else {
            part.clear();
            continue;
        };
        if value.ends_with('{') {
            part = format!("{name}.");
        } else {
            times.insert(format!("`{part}{name}` | {value}"));
        }
    }
    times
}

#[test]
fn every_default_time_is_documented_and_every_documented_time_is_the_default() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guarantees.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## Times\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let (name, time) = (cells.next().unwrap(), cells.next().unwrap());
            format!("`{name} | {time}")
        })
        .collect();
    assert_eq!(documented, defaults());
}
