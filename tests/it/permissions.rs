//! What the service has to be allowed to in NATS: what `docs/operations.md` tells, to the letter.

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use testbed::{Nats, free_port, log::Log, mongo_uri};

use crate::{
    harness::{Place, TestApp},
    process::command,
};

/// A NATS of its own, where we are allowed to just so much.
pub(crate) struct Strict {
    pub(crate) place: Place,
    nats: Nats,
    folder: TempDir,
}

/// The configuration that the page shows first, or after it.
pub(crate) fn documented(number: usize) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let block = page.split("```conf\n").nth(number + 1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// What stands in quotation marks at the beginning of lines.
pub(crate) fn permissions(config: &str) -> Vec<String> {
    let quoted = |line: &str| {
        let (permission, _) = line.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(permission.to_owned())
    };
    config.lines().filter_map(quoted).collect()
}

impl Strict {
    fn new() -> Self {
        Self::of(Place::at(&mongo_uri(), ""))
    }

    /// Beside the database of `place`.
    pub(crate) fn of(mut place: Place) -> Self {
        let nats = Nats::absent();
        place.nats_url = nats.url().replace("//", "//tickets:s3cret@");
        place.timing.outbox.ack_timeout = Duration::from_secs(1);
        Self {
            place,
            nats,
            folder: TempDir::new().unwrap(),
        }
    }

    /// With the test's own names.
    pub(crate) fn named(&self, config: &str) -> String {
        let name = &self.place.name;
        config
            .replace("TICKETS", name)
            .replace("ORDERS", &self.place.orders_stream())
            .replace(
                "tickets-reservations",
                &format!("{name}-tickets-reservations"),
            )
            .replace(".order.>", &format!(".{name}.order.>"))
            .replace("\"ticket.>", &format!("\"{name}.ticket.>"))
    }

    pub(crate) async fn start(&mut self, config: &str) {
        let config = self.named(config).replace('…', "s3cret");
        let path = self.folder.path().join("nats.conf");
        fs::write(&path, config).unwrap();
        self.nats.args = vec!["--config".into(), path.into()];
        self.nats.start().await;
    }

    /// As somebody without a name.
    pub(crate) fn place_of_others(&self) -> Place {
        let mut place = self.place.clone();
        place.nats_url = self.nats.url();
        place
    }
}

/// Creates a ticket, and changes it after a restart: the publisher asks the stream then.
async fn create_and_change(place: Place) -> TestApp {
    let app = TestApp::start_at(place).await;
    let id = app.create().await;
    app.place.drained().await;
    let app = TestApp::start_at(app.stop().await).await;
    let changed = json!({ "title": "concert", "price": 30 });
    assert_eq!(app.put("alice", &id, changed).await.status(), 200);
    app
}

#[tokio::test]
async fn the_permissions_that_operations_tells_are_enough() {
    let mut strict = Strict::new();
    strict.start(&documented(0)).await;
    let app = create_and_change(strict.place.clone()).await;
    app.place.drained().await;
    let mut replay = command(&app.place);
    replay.args(["outbox", "replay", "--since", "1h", "--dry-run"]);
    let told = String::from_utf8(replay.output().unwrap().stdout).unwrap();
    assert!(
        told.contains("2 events were looked at, 0 were lost"),
        "{told}"
    );
    app.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn they_are_enough_with_an_inbox_of_our_own_and_a_stream_in_another_domain() {
    let leaf_port = free_port();
    let mut hub = Strict::new();
    hub.start(&format!(
        "jetstream {{ domain: hub }}\nleafnodes {{ listen: \"127.0.0.1:{leaf_port}\" }}\n"
    ))
    .await;
    let mut leaf = Strict::new();
    let config = documented(0).replace("$JS.API.", "$JS.hub.API.");
    let config = config.replace("_INBOX", "answers.tickets");
    leaf.start(&format!("{config}jetstream {{ domain: leaf }}\nleafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{leaf_port}\" }} ] }}\n")).await;
    let access = &mut leaf.place.access;
    access.nats_jetstream_domain = Some("hub".to_owned());
    access.nats_inbox_prefix = "answers.tickets".to_owned();
    let app = create_and_change(leaf.place.clone()).await;
    app.place.drained().await;
    let mut replay = command(&app.place);
    replay.env("NATS_JETSTREAM_DOMAIN", "hub");
    replay.env("NATS_INBOX_PREFIX", "answers.tickets");
    replay.args(["outbox", "replay", "--since", "1h", "--dry-run"]);
    let told = String::from_utf8(replay.output().unwrap().stdout).unwrap();
    assert!(
        told.contains("2 events were looked at, 0 were lost"),
        "{told}"
    );
    let mut of_hub = hub.place.clone();
    of_hub.name.clone_from(&app.place.name);
    assert_eq!(of_hub.messages().await.len(), 2);
    app.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn each_permission_that_is_missing_is_named_by_the_log() {
    let config = documented(0);
    let permissions = permissions(&config);
    assert_eq!(permissions.len(), 5, "{permissions:?}");
    for missing in permissions {
        let mut strict = Strict::new();
        strict.start(&config.replace(&missing, "nothing")).await;
        let (log, _guard) = Log::capture();
        let app = if missing.contains("MSG.GET") {
            create_and_change(strict.place.clone()).await
        } else {
            let app = TestApp::start_at(strict.place.clone()).await;
            app.create().await;
            app
        };
        let line = log.told("NATS does not let us").await;
        let named = strict.named(missing.trim_end_matches('>'));
        assert!(line.contains(&named), "{line} does not name {missing}");
        app.stop().await.database().await.drop().await.unwrap();
    }
}
