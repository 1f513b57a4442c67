//! A stream that is there already, as an operator or another program has made it: what the promise can be kept with is used, what it
//! can't be kept with is refused, and the log says why.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use serde_json::{Value, json};
use testbed::{eventually, nats_url};

use crate::{
    log::Log,
    toy::{Place, Toy, published, unsent},
};

const HOUR_NS: i64 = 3_600_000_000_000;

async fn jetstream() -> Context {
    jetstream::new(async_nats::connect(nats_url()).await.unwrap())
}

/// Makes a stream as the server's own interface takes it.
async fn create(config: Value) {
    let name = config["name"].as_str().unwrap().to_owned();
    let jetstream = jetstream().await;
    let created = jetstream.request(format!("STREAM.CREATE.{name}"), &config);
    let created: Value = created.await.unwrap();
    assert!(created.get("error").is_none(), "{created}");
}

fn with(place: &Place, members: Value) -> Value {
    let mut config = json!({
        "name": place.name, "subjects": [format!("{}.counter.>", place.name)], "storage": "file", "retention": "limits",
        "num_replicas": 1,
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    config
}

#[tokio::test]
async fn a_stream_that_the_promise_cannot_be_kept_with_is_refused_until_it_is_mended() {
    type Members = fn(&Place) -> Value;
    let refused: [(Members, &str); 7] = [
        (|_| json!({ "no_ack": true }), "acknowledges nothing"),
        (|_| json!({ "sealed": true }), "is sealed"),
        (
            |place| json!({ "subjects": null, "mirror": { "name": format!("{}-origin", place.name) } }),
            "is a mirror",
        ),
        (
            |place| json!({ "subjects": [format!("{}.counter.created.*", place.name)] }),
            "counter.updated.*",
        ),
        (
            |place| json!({ "subject_transform": { "src": format!("{}.counter.>", place.name), "dest": format!("{}.moved.>", place.name) } }),
            "stores messages under other subjects",
        ),
        (
            |_| json!({ "allow_msg_counter": true }),
            "takes counters only",
        ),
        (
            |_| json!({ "subject_delete_marker_ttl": HOUR_NS, "allow_msg_ttl": true, "allow_rollup_hdrs": true }),
            "puts messages of its own under our subjects",
        ),
    ];
    for (members, told) in refused {
        let place = Place::new();
        let mut config = with(&place, members(&place));
        let is_sealed = config.as_object_mut().unwrap().remove("sealed").is_some();
        create(config.clone()).await;
        if is_sealed {
            config["sealed"] = json!(true);
            let sealed = jetstream().await;
            let _: Value = sealed
                .request(format!("STREAM.UPDATE.{}", place.name), &config)
                .await
                .unwrap();
        }
        let (log, _guard) = Log::capture();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        let line = log.told("the stream cannot be used").await;
        assert!(line.contains(told), "{line} does not say: {told}");
        jetstream()
            .await
            .delete_stream(&toy.place.name)
            .await
            .unwrap();
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_stream_that_takes_our_subjects_by_another_pattern_is_used() {
    for pattern in ["counter.*.*", "counter.*.>", ">"] {
        let place = Place::new();
        let pattern = format!("{}.{pattern}", place.name);
        create(with(&place, json!({ "subjects": [pattern] }))).await;
        let toy = Toy::start_at(place).await;
        let key = toy.create().await;
        toy.update(&key).await;
        toy.place.drained().await;
        assert_eq!(published(&toy.place, &key).await, [0, 1]);
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_stream_that_forgets_is_used_and_the_log_says_by_which_limits() {
    for (limits, told) in [
        (
            json!({ "max_age": 3_600_000_000_000_i64, "max_msgs": 1_000_000 }),
            "max_age, max_msgs",
        ),
        (json!({ "retention": "workqueue" }), "retention"),
        (json!({ "retention": "interest" }), "retention"),
    ] {
        let place = Place::new();
        create(with(&place, limits)).await;
        let (log, _guard) = Log::capture();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        let line = log.told("forgets messages").await;
        assert!(line.contains(told), "{line}");
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_stream_that_can_lose_what_it_acknowledged_is_used_and_the_log_says_why() {
    for (settings, told) in [
        (json!({ "storage": "memory" }), "storage: memory"),
        (json!({ "persist_mode": "async" }), "persist_mode: async"),
    ] {
        let place = Place::new();
        create(with(&place, settings)).await;
        let (log, _guard) = Log::capture();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        let line = log.told("can lose what it has acknowledged").await;
        assert!(line.contains("WARN") && line.contains(told), "{line}");
        toy.finish().await;
    }
}

#[tokio::test]
async fn what_a_stream_may_be_besides_changes_nothing_and_is_no_warning() {
    let settings: [fn(&Place) -> Value; 4] = [
        |_| json!({ "allow_atomic": true, "allow_msg_schedules": true, "allow_msg_ttl": true }),
        |_| json!({ "deny_delete": true, "deny_purge": true, "allow_direct": true }),
        |_| json!({ "discard": "new", "max_msgs": 1_000, "max_bytes": 1_000_000 }),
        |place| json!({ "republish": { "src": ">", "dest": format!("{}.seen.>", place.name) } }),
    ];
    for settings in settings {
        let place = Place::new();
        create(with(&place, settings(&place))).await;
        let (log, _guard) = Log::capture();
        let toy = Toy::start_at(place).await;
        let key = toy.create().await;
        toy.update(&key).await;
        toy.place.drained().await;
        assert_eq!(published(&toy.place, &key).await, [0, 1]);
        let warnings = log.lines_with("the stream");
        assert!(warnings.is_empty(), "{warnings:?}");
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_stream_that_is_altered_while_it_is_used_is_told_and_nothing_is_published_until_it_is_mended()
 {
    type Members = fn(&Place) -> Value;
    let alterations: [(Members, &str); 2] = [
        (
            |place| json!({ "subject_transform": { "src": format!("{}.counter.>", place.name), "dest": format!("{}.moved.>", place.name) } }),
            "stores messages under other subjects",
        ),
        (|_| json!({ "no_ack": true }), "acknowledges nothing"),
    ];
    for (members, told) in alterations {
        let mut place = Place::new();
        place.timing.stream_look = Duration::from_millis(100);
        let (log, _guard) = Log::capture();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        toy.place.drained().await;
        let update = format!("STREAM.UPDATE.{}", toy.place.name);
        let mended = with(&toy.place, json!({}));
        let altered = with(&toy.place, members(&toy.place));
        let jetstream = jetstream().await;
        let answer: Value = jetstream.request(update.clone(), &altered).await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        // Nothing is published meanwhile: only a look tells.
        let line = log.told("the stream cannot be used; events wait").await;
        assert!(line.contains(told), "{line} does not say: {told}");
        let key = toy.create().await;
        unsent(&toy, 1).await;
        assert_eq!(toy.place.messages().await.len(), 1);
        let answer: Value = jetstream.request(update, &mended).await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        toy.place.drained().await;
        assert_eq!(published(&toy.place, &key).await, [0]);
        let told = log.lines_with("WARN");
        let told = told.iter().filter(|it| it.contains("cannot be used"));
        assert_eq!(told.count(), 1);
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_limit_that_a_stream_is_given_while_it_is_used_is_told() {
    let mut place = Place::new();
    place.timing.stream_look = Duration::from_millis(100);
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    for (limits, told) in [
        (json!({ "max_age": HOUR_NS }), "max_age"),
        (json!({ "max_age": HOUR_NS, "max_msgs": 1_000 }), "max_msgs"),
    ] {
        let update = format!("STREAM.UPDATE.{}", toy.place.name);
        let altered = with(&toy.place, limits);
        let answer: Value = jetstream().await.request(update, &altered).await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        log.told(told).await;
    }
    assert_eq!(log.lines_with("forgets messages").len(), 2);
    toy.finish().await;
}

#[tokio::test]
async fn an_acknowledgement_of_another_stream_does_not_count() {
    let (log, _guard) = Log::capture();
    let toy = Toy::start().await;
    toy.create().await;
    toy.place.drained().await;
    let jetstream = jetstream().await;
    jetstream.delete_stream(&toy.place.name).await.unwrap();
    let other = format!("{}-other", toy.place.name);
    create(with(&toy.place, json!({ "name": other }))).await;
    let key = toy.create().await;
    let line = log.told("the stream cannot be used").await;
    assert!(line.contains("overlap"), "{line}");
    let mut stream = jetstream.get_stream(&other).await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 0);
    jetstream.delete_stream(&other).await.unwrap();
    toy.place.drained().await;
    assert_eq!(published(&toy.place, &key).await, [0]);
    toy.finish().await;
}

#[tokio::test]
async fn a_stream_that_is_made_anew_is_told_as_an_error_and_one_that_is_made_first_is_not() {
    const MADE_ANEW: &str = "the stream was gone and has been made anew";
    let (log, _guard) = Log::capture();
    let toy = Toy::start().await;
    toy.create().await;
    toy.place.drained().await;
    assert!(log.lines_with(MADE_ANEW).is_empty());
    jetstream()
        .await
        .delete_stream(&toy.place.name)
        .await
        .unwrap();
    toy.create().await;
    let line = log.told(MADE_ANEW).await;
    assert!(
        line.contains("ERROR") && line.contains("outbox replay"),
        "{line}"
    );
    eventually("the new one is published", async || {
        toy.place.messages().await.len() == 1
    })
    .await;
    toy.finish().await;
}
