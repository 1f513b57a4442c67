//! docs/tickets.http: every request that there is, sent as an editor would send it.

use std::collections::{BTreeMap, BTreeSet};

use bson::oid::ObjectId;
use reqwest::{Method, Response, Url};
use serde_json::Value;

use crate::harness::{TestApp, token};

const FILE: &str = include_str!("../../docs/tickets.http");
const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// One request of the file, before anything is put in place of its variables.
struct Request<'a> {
    title: &'a str,
    /// How the others call its answer.
    name: Option<&'a str>,
    answers: u16,
    method: &'a str,
    url: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

/// A block between two `###`.
fn request(block: &str) -> Request<'_> {
    let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
    let (title, head) = head.split_once('\n').unwrap();
    let comments = head.lines().filter_map(|it| it.strip_prefix("# "));
    let told = |what| comments.clone().find_map(|it| it.strip_prefix(what));
    let mut lines = head.lines().filter(|it| !it.starts_with('#'));
    let (method, url) = lines.next().unwrap().split_once(' ').unwrap();
    Request {
        title,
        name: told("@name "),
        answers: told("answers ").unwrap().parse().unwrap(),
        method,
        url,
        headers: lines.map(|it| it.split_once(": ").unwrap()).collect(),
        body: body.trim(),
    }
}

fn requests() -> Vec<Request<'static>> {
    let blocks = FILE.split("\n### ").skip(1);
    blocks.map(|block| request(block.trim_end())).collect()
}

/// `text` with a value in place of each `{{variable}}`.
fn filled(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_owned();
    while let Some((before, rest)) = filled.clone().split_once("{{") {
        let (name, after) = rest.split_once("}}").unwrap();
        let value = match name {
            "$guid" => ObjectId::new().to_hex(),
            name => variables
                .get(name)
                .unwrap_or_else(|| panic!("{name} is not known"))
                .clone(),
        };
        filled = format!("{before}{value}{after}");
    }
    filled
}

/// Remembers what later requests may ask of an answer: its headers, and the members of its body.
async fn remember(variables: &mut BTreeMap<String, String>, name: &str, answer: Response) {
    for (header, value) in answer.headers() {
        // As the file spells it.
        let header = if header == "etag" {
            "ETag"
        } else {
            header.as_str()
        };
        let value = value.to_str().unwrap().to_owned();
        variables.insert(format!("{name}.response.headers.{header}"), value);
    }
    let body: Value = answer.json().await.unwrap();
    for (member, value) in body.as_object().unwrap() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        variables.insert(format!("{name}.response.body.$.{member}"), value);
    }
}

#[tokio::test]
async fn every_request_of_the_file_is_answered_as_it_says() {
    let app = TestApp::start().await;
    let mut variables = BTreeMap::from([
        ("host".to_owned(), app.address.clone()),
        ("token".to_owned(), token("alice")),
    ]);
    for request in requests() {
        let url = Url::parse(&filled(request.url, &variables)).unwrap();
        let method = Method::from_bytes(request.method.as_bytes()).unwrap();
        let mut sent = testbed::client().request(method, url);
        for (header, value) in request.headers {
            sent = sent.header(header, filled(value, &variables));
        }
        let answer = sent.body(request.body).send().await.unwrap();
        assert_eq!(answer.status(), request.answers, "{}", request.title);
        if let Some(name) = request.name {
            remember(&mut variables, name, answer).await;
        }
    }
    app.finish().await;
}

#[test]
fn the_file_has_every_route_of_the_interface() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let pattern = path.replace("{id}", "").replace("{kind}", "");
        for method in methods.as_object().unwrap().keys() {
            routes.insert((method.to_uppercase(), pattern.clone()));
        }
    }
    for (method, path) in routes {
        let is_it = |it: &Request<'_>| {
            let url = it.url.trim_start_matches("{{host}}");
            let url = url.split('?').next().unwrap();
            let is_one = url.len() > path.len() && !url[path.len()..].contains('/');
            it.method == method
                && (url == path || path.ends_with('/') && url.starts_with(&path) && is_one)
        };
        assert!(requests().iter().any(is_it), "{method} {path}");
    }
}
