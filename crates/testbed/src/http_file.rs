//! A file of requests in the form of editors' REST clients (`.http`), sent as an editor would send it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, Response, Url};
use serde_json::Value;

use crate::client;

/// One request of the file, before anything is put in place of its variables.
struct Request<'a> {
    title: &'a str,
    /// How the others call its answer.
    name: Option<&'a str>,
    answers: u16,
    /// The name of the request whose answer this one has too.
    same_as: Option<&'a str>,
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
        same_as: told("same as "),
        method,
        url,
        headers: lines.map(|it| it.split_once(": ").unwrap()).collect(),
        body: body.trim(),
    }
}

fn requests(file: &str) -> impl Iterator<Item = Request<'_>> {
    let blocks = file.split("\n### ").skip(1);
    blocks.map(|block| request(block.trim_end()))
}

/// `text` with a value in place of each `{{variable}}`.
fn filled(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_owned();
    while let Some((before, rest)) = filled.split_once("{{") {
        let (name, after) = rest.split_once("}}").unwrap();
        let unknown = || panic!("{name} is not known");
        let value = variables.get(name).cloned().unwrap_or_else(unknown);
        filled = format!("{before}{value}{after}");
    }
    filled
}

/// Remembers what later requests may ask of an answer: its headers, and the members of its body.
async fn remember(variables: &mut BTreeMap<String, String>, name: &str, answer: Response) {
    for (header, value) in answer.headers() {
        // As the files spell it.
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

/// The file's own values of its variables.
fn variables_of(file: &str) -> BTreeMap<String, String> {
    let lines = file.lines().filter_map(|line| line.strip_prefix('@'));
    let values = lines.map(|line| line.split_once(" = ").unwrap());
    values.map(owned).collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Sends every request of the file, of whose variables some have these values in place of the file's own.
///
/// # Panics
/// When one is not answered as its comments `answers` and `same as` say.
pub async fn send_all<const N: usize>(file: &str, values: [(&str, &str); N]) {
    let mut variables = variables_of(file);
    variables.extend(values.map(owned));
    for request in requests(file) {
        let url = Url::parse(&filled(request.url, &variables)).unwrap();
        let method = Method::from_bytes(request.method.as_bytes()).unwrap();
        let mut sent = client().request(method, url);
        for (header, value) in request.headers {
            sent = sent.header(header, filled(value, &variables));
        }
        let answer = sent.body(filled(request.body, &variables)).send();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), request.answers, "{}", request.title);
        if let Some(name) = request.name {
            remember(&mut variables, name, answer).await;
        } else if let Some(first) = request.same_as {
            let answer: Value = answer.json().await.unwrap();
            let id = variables.get(&format!("{first}.response.body.$.id"));
            assert_eq!(
                answer["id"].as_str(),
                id.map(String::as_str),
                "{}",
                request.title
            );
        }
    }
}

/// The operations of an OpenAPI document, such as `PUT /api/counters/{id}`, that no request of the file asks for.
pub fn not_asked_for(file: &str, openapi: &Value) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for (path, operations) in openapi["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let is_it = |it: Request<'_>| it.method == method && is_at(it.url, path);
            if !requests(file).any(is_it) {
                missing.insert(format!("{method} {path}"));
            }
        }
    }
    missing
}

/// Whether an address of the file is one of this path, whose last segment may be a parameter.
fn is_at(url: &str, path: &str) -> bool {
    let url = url.trim_start_matches("{{host}}");
    let url = url.split('?').next().unwrap();
    match path.split_once('{') {
        None => url == path,
        Some((before, _)) => url.strip_prefix(before).is_some_and(|it| !it.contains('/')),
    }
}
