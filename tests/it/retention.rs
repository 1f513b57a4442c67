//! For how long published events are kept, and who says so.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use messaging::EventOptions;
use testbed::Process;

use crate::{harness::TestApp, process::command, rights::Guarded};

#[tokio::test]
async fn who_may_not_change_how_long_events_are_kept_works_with_what_is_there() {
    let guarded = Guarded::start().await;
    TestApp::start_at(guarded.place.clone()).await.stop().await;
    let kept = async || {
        let events = guarded.admin.client().database(&guarded.place.name);
        let events = events.collection::<Document>("events");
        let indexes: Vec<_> = events
            .list_indexes()
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let options = indexes.into_iter().filter_map(|index| index.options);
        options.filter_map(|it| it.expire_after).next()
    };
    let before = kept().await;
    let shorter = EventOptions {
        event_retention: Duration::from_secs(60),
    };
    let app = TestApp::begin_keeping(guarded.place.clone(), shorter)
        .await
        .ready()
        .await;
    app.create().await;
    assert_eq!(kept().await, before);
    let mut all = guarded.as_operations_tells();
    let resource = doc! { "db": &guarded.place.name, "collection": "events" };
    all.push(doc! { "resource": resource, "actions": ["collMod"] });
    guarded.allow(all).await;
    app.place.drained().await;
    app.stop().await;
    let shorter = EventOptions {
        event_retention: Duration::from_secs(60),
    };
    let app = TestApp::begin_keeping(guarded.place.clone(), shorter)
        .await
        .ready()
        .await;
    assert_eq!(kept().await, Some(Duration::from_secs(60)));
    app.stop().await;
}

#[tokio::test]
async fn the_log_says_whose_retention_is_in_force() {
    let guarded = Guarded::start().await;
    let mut first = Process::logged(&mut command(&guarded.place));
    first.told("the database is ready");
    let mut other = command(&guarded.place);
    let mut second = Process::logged(other.env("EVENT_RETENTION", "60s"));
    second.told("EVENT_RETENTION is not in force: events are kept as before");
    let mut all = guarded.as_operations_tells();
    let events = doc! { "db": &guarded.place.name, "collection": "events" };
    all.push(doc! { "resource": events, "actions": ["collMod"] });
    guarded.allow(all).await;
    let mut other = command(&guarded.place);
    let mut third = Process::logged(other.env("EVENT_RETENTION", "60s"));
    let line = third.told("EVENT_RETENTION was another");
    assert!(line.contains("seconds=60"), "{line}");
    first.told("EVENT_RETENTION is not in force: another instance has another");
    // It was told already, and then had what it wanted.
    assert!(!second.log().contains("another instance has another"));
}
