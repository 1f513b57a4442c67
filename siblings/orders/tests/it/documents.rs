//! What the README of this service and its OpenAPI document say is so.

use std::{collections::BTreeSet, net::TcpListener, path::Path, process::Command};

use serde_json::{Value, json};
use testbed::Place;

use crate::harness::command;

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
fn the_committed_asyncapi_document_is_the_programs() {
    let committed = std::fs::read_to_string(root().join("asyncapi.json")).unwrap();
    assert!(
        told(&["asyncapi"]) == committed,
        "make asyncapi writes it anew"
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

#[test]
fn max_active_orders_is_from_1_to_1000_and_another_number_is_refused_in_one_line() {
    // Where nothing is wrong with its settings, it finds its port taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::shared();
    let says = |number: &str| {
        let mut serve = command(&place);
        serve.env("LISTEN_ADDR", &address).env("RUST_LOG", "off");
        let ended = serve.env("MAX_ACTIVE_ORDERS", number).output();
        String::from_utf8(ended.unwrap().stderr).unwrap()
    };
    for number in ["1", "1000"] {
        let told = says(number);
        assert!(told.starts_with("cannot listen on "), "{number}: {told}");
    }
    for number in ["0", "1001"] {
        let wants = "MAX_ACTIVE_ORDERS wants a whole number from 1 to 1000\n";
        assert_eq!(says(number), wants, "{number}");
    }
}
