//! A MongoDB that asks who we are, and what it allows us.

use bson::{Document, doc};
use mongodb::{Client, Database};
use serde_json::json;
use testbed::{Certificates, Mongo, assert_problem, eventually, log::Log, nats_url, start};

use crate::{
    harness::{Place, TestApp},
    process::{command, create},
};

pub(crate) const ROLE: &str = "tickets";

/// A server that knows a root and the service's user, who has a role of its own.
pub(crate) struct Guarded {
    pub(crate) place: Place,
    pub(crate) admin: Database,
    pub(crate) mongo: Mongo,
    _key: Certificates,
}

impl Guarded {
    pub(crate) async fn start() -> Self {
        let key = Certificates::issue();
        let file = key.write("replica-set.key", "bm90IGEgc2VjcmV0IG9mIGFueWJvZHk=");
        let mut mongo = Mongo::absent();
        mongo.args.extend(["--keyFile".into(), file.into()]);
        mongo.start().await;
        // The first user may be made by anybody on this machine.
        let admin = Client::with_uri_str(mongo.uri()).await.unwrap();
        let root = doc! { "createUser": "root", "pwd": "s3cret", "roles": ["root"] };
        admin.database("admin").run_command(root).await.unwrap();
        mongo.options += "&authSource=admin";
        mongo.login = "root:s3cret@".to_owned();
        let root = Client::with_uri_str(mongo.uri()).await.unwrap();
        mongo.login = "service:s3cret@".to_owned();
        let guarded = Self {
            place: Place::at(&mongo.uri(), &nats_url()),
            admin: root.database("admin"),
            mongo,
            _key: key,
        };
        let privileges = guarded.as_operations_tells();
        let role = doc! { "createRole": ROLE, "privileges": privileges, "roles": [] };
        guarded.admin.run_command(role).await.unwrap();
        guarded.make_user().await;
        guarded
    }

    pub(crate) async fn make_user(&self) {
        let user = doc! { "createUser": "service", "pwd": "s3cret", "roles": [ROLE] };
        self.admin.run_command(user).await.unwrap();
    }

    pub(crate) async fn drop_user(&self) {
        let user = doc! { "dropUser": "service" };
        self.admin.run_command(user).await.unwrap();
    }

    /// The privileges of `docs/operations.md`.
    pub(crate) fn as_operations_tells(&self) -> Vec<Document> {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, table) = page.split_once("| collection | privileges |\n").unwrap();
        let rows = table
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        let privileges = rows.map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let named = |cell: &str| -> Vec<String> {
                let parts = cell.split('`').skip(1).step_by(2);
                parts.map(str::to_owned).collect()
            };
            let collection = named(cells[1]).pop().unwrap();
            let resource = doc! { "db": &self.place.name, "collection": collection };
            doc! { "resource": resource, "actions": named(cells[2]) }
        });
        privileges.collect()
    }

    pub(crate) async fn allow(&self, privileges: Vec<Document>) {
        let role = doc! { "updateRole": ROLE, "privileges": privileges };
        self.admin.run_command(role).await.unwrap();
    }

    pub(crate) async fn change_password(&self, password: &str) {
        let user = doc! { "updateUser": "service", "pwd": password };
        self.admin.run_command(user).await.unwrap();
    }
}

/// What readiness says when it is 503 for this.
pub(crate) async fn is_unready(app: &TestApp, why: &str) {
    let message = async || {
        let ready = app.get("/health/ready").await;
        let is_ready = ready.status() == 200;
        let problem: serde_json::Value = ready.json().await.unwrap();
        (!is_ready).then(|| problem["errors"][0]["message"].to_string())
    };
    eventually(&format!("it is not ready: {why}"), async || {
        message().await.is_some_and(|message| message.contains(why))
    })
    .await;
}

pub(crate) async fn is_ready(app: &TestApp) {
    eventually("it is ready", async || {
        app.get("/health/ready").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn the_privileges_that_operations_tells_are_enough_and_readiness_names_each_that_is_missing()
{
    let guarded = Guarded::start().await;
    let app = TestApp::start_at(guarded.place.clone()).await;
    let keyed = |key: &str| {
        let request = app.request(reqwest::Method::POST, "/api/tickets");
        let request = request.bearer_auth(crate::harness::token("alice"));
        request.header("idempotency-key", key)
    };
    let ticket = json!({ "title": "concert", "price": 1 });
    let created = keyed("a").json(&ticket).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let id = app.create().await;
    let changed = app.put("alice", &id, json!({ "title": "theatre", "price": 2 }));
    assert_eq!(changed.await.status(), 200);
    app.place.drained().await;

    let all = guarded.as_operations_tells();
    // Those that are needed again and again; indexes are there.
    let lasting = ["find", "insert", "update", "remove", "changeStream"];
    for (i, privilege) in all.iter().enumerate() {
        let resource = privilege.get_document("resource").unwrap();
        let collection = resource.get_str("collection").unwrap();
        let actions = privilege.get_array("actions").unwrap();
        for action in actions {
            let action = action.as_str().unwrap();
            if !lasting.contains(&action) {
                continue;
            }
            let mut fewer = all.clone();
            let rest = actions.iter().filter(|it| it.as_str() != Some(action));
            fewer[i].insert("actions", rest.cloned().collect::<Vec<_>>());
            guarded.allow(fewer).await;
            let lacks = format!(
                "lacks the privilege {action} on {}.{collection}",
                guarded.place.name
            );
            is_unready(&app, &lacks).await;
        }
    }
    guarded.allow(all).await;
    is_ready(&app).await;
    app.create().await;
    app.place.drained().await;
    app.stop().await;
}

#[tokio::test]
async fn who_does_not_publish_needs_no_right_on_parked_events_but_to_count_them() {
    let guarded = Guarded::start().await;
    let mut fewer = guarded.as_operations_tells();
    for privilege in &mut fewer {
        let resource = privilege.get_document("resource").unwrap();
        let needed = match resource.get_str("collection").unwrap() {
            "events" => vec!["find", "insert", "createIndex"],
            "parked" => vec!["find"],
            _ => continue,
        };
        privilege.insert("actions", needed);
    }
    guarded.allow(fewer).await;
    let mut serve = command(&guarded.place);
    let (process, address) = start(serve.args(["serve", "--no-publisher"])).await;
    assert_eq!(create(&address).await.unwrap().status(), 201);
    let ready = testbed::client().get(format!("{address}/health/ready"));
    assert_eq!(ready.send().await.unwrap().status(), 200);
    assert!(!process.log().contains("WARN"), "{}", process.log());
    drop(process);
}

#[tokio::test]
async fn a_role_that_is_taken_away_makes_503_of_what_needs_it_until_it_is_given_back() {
    let guarded = Guarded::start().await;
    guarded.allow(Vec::new()).await;
    let app = TestApp::begin_at(guarded.place.clone()).await;
    is_unready(&app, "lacks the privilege").await;
    guarded.allow(guarded.as_operations_tells()).await;
    let app = app.ready().await;
    let id = app.create().await;

    guarded.allow(Vec::new()).await;
    let refused = app.post("alice", json!({ "title": "concert", "price": 1 }));
    assert_problem(refused.await, 503).await;
    assert_problem(app.get("/api/tickets").await, 503).await;
    let mut without_update = guarded.as_operations_tells();
    without_update[0].insert("actions", vec!["find", "insert"]);
    guarded.allow(without_update).await;
    let (log, _guard) = Log::capture();
    let refused = app.put(
        "alice",
        &id,
        json!({ "title": "a secret place", "price": 1 }),
    );
    assert_problem(refused.await, 503).await;
    let line = log.told("request failed").await;
    assert!(line.contains("execute command update on"), "{line}");
    assert!(log.lines_with("secret place").is_empty());
    is_unready(&app, "lacks the privilege").await;
    guarded.allow(guarded.as_operations_tells()).await;
    is_ready(&app).await;
    app.create().await;
    app.place.drained().await;
    app.stop().await;
}

#[tokio::test]
async fn what_fails_again_and_again_for_one_reason_is_logged_once() {
    let guarded = Guarded::start().await;
    let (mut process, _) = start(command(&guarded.place).env("RUST_LOG", "debug")).await;
    guarded.allow(Vec::new()).await;
    process.told("cannot ask for the publisher's lease");
    let lines = |of: &str| {
        process
            .log()
            .lines()
            .filter(|line| line.contains(of))
            .count()
    };
    let before = lines("WARN");
    let so_often = lines("cannot ask for the publisher's lease, again") + 3;
    eventually("the lease is asked for in vain", async || {
        lines("cannot ask for the publisher's lease, again") >= so_often
    })
    .await;
    assert!(lines("WARN") <= before + 1, "{}", process.log());
    drop(process);
}
