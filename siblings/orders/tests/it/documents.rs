//! What the README of this service and its OpenAPI document say is so.

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

fn told(args: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_orders"));
    // No settings of whoever runs the tests, and no file `.env`.
    let told = program
        .args(args)
        .env_clear()
        .current_dir(std::env::temp_dir());
    let told = told.output().unwrap();
    assert!(told.status.success());
    String::from_utf8(told.stdout).unwrap()
}

/// The cells of the rows that begin with a backtick, of the table under this heading.
fn table(heading: &str) -> Vec<Vec<String>> {
    let readme = readme();
    let section = readme.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

#[test]
fn the_committed_openapi_document_is_the_programs() {
    let committed = std::fs::read_to_string(root().join("openapi.json")).unwrap();
    assert!(
        told(&["openapi"]) == committed,
        "make openapi writes it anew"
    );
}

#[test]
fn the_document_has_the_routes_of_the_readme_and_all_of_them_want_a_token() {
    let document: Value = serde_json::from_str(&told(&["openapi"])).unwrap();
    let mut routes = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let is_ours = path.starts_with("/api/");
        for (method, operation) in operations.as_object().unwrap().iter().filter(|_| is_ours) {
            assert_eq!(operation["security"], json!([{ "bearer": [] }]), "{path}");
            routes.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let rows = table("The interface");
    let route = |row: &Vec<String>| {
        let route = row[1].split('`').nth(1).unwrap();
        let mut words = route.split([' ', '?']);
        format!("{} {}", words.next().unwrap(), words.next().unwrap())
    };
    assert_eq!(rows.iter().map(route).collect::<BTreeSet<_>>(), routes);
}

#[test]
fn the_defaults_in_the_readme_are_those_of_help() {
    let help = told(&["serve", "--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = table("Settings");
    assert!(rows.len() > 4, "{rows:?}");
    for row in rows {
        let (variable, default) = (row[1].trim_matches('`'), row[2].trim_matches('`'));
        let option = help.split(&format!("[env: {variable}=]")).nth(1).unwrap();
        assert!(
            option
                .trim_start()
                .starts_with(&format!("[default: {default}]")),
            "{variable}"
        );
    }
}
