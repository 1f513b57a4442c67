//! The contract of the service, asked of the program: on real servers, with a database and a stream of each test's own.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]

use std::process::Command;

use db::setting;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use testbed::{Place, Process, assert_problem, check_message, now_seconds, start, text};
use web::{JwtOptions, sign};

const PROGRAM: &str = env!("CARGO_BIN_EXE_notes");
const JWT_KEY: &str = "a key of thirty-two bytes or more";

/// The service, running.
struct App {
    place: Place,
    address: String,
    _process: Process,
}

impl App {
    async fn start() -> Self {
        let place = Place::shared();
        let (process, address) = start(&mut place.command(PROGRAM, JWT_KEY)).await;
        Self {
            place,
            address,
            _process: process,
        }
    }

    async fn ask(&self, user: &str, method: Method, path: &str, body: Value) -> Response {
        let jwt: JwtOptions = setting::options([format!("--jwt-key={JWT_KEY}")]).unwrap();
        let token = sign(&jwt, user, None, now_seconds(), 600).unwrap();
        let request = testbed::client().request(method, format!("{}{path}", self.address));
        let request = request.bearer_auth(token).json(&body);
        request.send().await.unwrap()
    }

    /// Every test's last step: nothing is left unsent, and the data goes.
    async fn finish(self) {
        self.place.drained().await;
        self.place.remove().await;
    }
}

#[tokio::test]
async fn a_note_is_created_read_listed_and_changed_and_each_version_is_told() {
    let app = App::start().await;
    let new = json!({ "text": "call back" });
    let created = app.ask("alice", Method::POST, "/api/notes", new).await;
    assert_eq!(created.status(), 201);
    let address = created.headers()["location"].to_str().unwrap().to_owned();
    let first: Value = created.json().await.unwrap();
    let id = text(&first["id"]);
    let expected = json!({ "id": id, "text": "call back", "userId": "alice", "version": 0 });
    assert_eq!(first, expected);
    let read = app.ask("bob", Method::GET, &address, json!({})).await;
    assert_eq!(read.headers()["etag"], "\"0\"");
    assert_eq!(read.json::<Value>().await.unwrap(), first);
    let new = json!({ "text": "write back" });
    let changed = app.ask("alice", Method::PUT, &address, new.clone()).await;
    assert_eq!(changed.status(), 200);
    let second: Value = changed.json().await.unwrap();
    let expected = json!({ "id": id, "text": "write back", "userId": "alice", "version": 1 });
    assert_eq!(second, expected);
    let same = app.ask("alice", Method::PUT, &address, new).await;
    assert_eq!(same.headers()["etag"], "\"1\"");
    let listed = app.ask("bob", Method::GET, "/api/notes", json!({})).await;
    assert_eq!(listed.json::<Value>().await.unwrap(), json!([second]));

    app.place.drained().await;
    let messages = app.place.messages().await;
    let told = messages.iter().map(|message| {
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        (message.subject.to_string(), payload)
    });
    let subject = |kind: &str| format!("{}.note.{kind}.{id}", app.place.name);
    let expected = [(subject("created"), first), (subject("updated"), second)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let document = app
        .ask("bob", Method::GET, "/asyncapi.json", json!({}))
        .await;
    let document = document.json().await.unwrap();
    for message in &messages {
        check_message(&document, "send", &app.place.name, message);
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_not_valid_not_there_or_of_somebody_else_is_a_problem_and_changes_nothing() {
    let app = App::start().await;
    let new = json!({ "text": "mine" });
    let created = app
        .ask("alice", Method::POST, "/api/notes", new.clone())
        .await;
    let address = created.headers()["location"].to_str().unwrap().to_owned();
    let nowhere = "/api/notes/65f0a1b2c3d4e5f60718293a";
    let (empty, long) = (json!({ "text": "" }), json!({ "text": "x".repeat(1_001) }));
    for (user, method, path, body, status) in [
        ("alice", Method::POST, "/api/notes", empty, 400),
        ("alice", Method::POST, "/api/notes", long, 400),
        ("alice", Method::PUT, nowhere, new.clone(), 404),
        ("alice", Method::GET, nowhere, json!({}), 404),
        ("bob", Method::PUT, &address, new, 403),
    ] {
        assert_problem(app.ask(user, method, path, body).await, status).await;
    }
    assert_eq!(app.place.events().await.len(), 1);
    app.finish().await;
}

#[test]
fn the_committed_documents_are_the_programs() {
    for name in ["openapi", "asyncapi"] {
        let mut program = Command::new(PROGRAM);
        // No settings of whoever runs the tests, and no file `.env`.
        let program = program.arg(name).env_clear().current_dir("/");
        let printed = program.output().unwrap();
        let committed = format!("{}/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let committed = std::fs::read(committed).unwrap_or_default();
        assert!(printed.stdout == committed, "make {name} writes it anew");
    }
}
