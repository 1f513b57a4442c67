//! The base of a key whose beginning the stream has lost: nothing that is put aside may be overtaken by it.

use async_nats::jetstream::stream;
use serde_json::json;
use testbed::eventually;

use crate::{
    sent::{
        acknowledged, applied, are_applied, are_aside, durable, jetstream, number, numbers, send,
        then,
    },
    tally::{CONSUMER, Tally},
    toy::Place,
};

/// The streams that lose their beginning: by a limit, or because what is acknowledged goes.
async fn forgetful() -> [Place; 3] {
    let places = [Place::new(), Place::new(), Place::new()];
    let [limited, interest, work] = &places;
    let config = numbers(limited).await;
    let limit = stream::Config {
        max_messages: 1,
        ..config
    };
    jetstream(limited).await.update_stream(limit).await.unwrap();
    for (place, retention) in [
        (interest, stream::RetentionPolicy::Interest),
        (work, stream::RetentionPolicy::WorkQueue),
    ] {
        let config = stream::Config {
            name: place.stream.clone(),
            subjects: vec![format!("{}.number.>", place.name)],
            retention,
            ..Default::default()
        };
        jetstream(place).await.create_stream(config).await.unwrap();
    }
    places
}

#[tokio::test]
async fn no_base_overtakes_what_is_put_aside_and_gone_from_the_stream() {
    for place in forgetful().await {
        let tally = Tally::start_at(place).await;
        eventually("it consumes", async || {
            durable(&tally.place).await.is_some()
        })
        .await;
        send(&tally.place, [then("a", 0, json!("refuse"))]).await;
        are_aside(&tally.place, "a", &[(0, "dead")]).await;
        acknowledged(&tally.place).await;
        // On the limited stream it drives out what went before.
        send(&tally.place, [number("b", 0), number("a", 1)]).await;
        acknowledged(&tally.place).await;
        assert_eq!(applied(&tally.place, "a").await, [0; 0]);
        are_aside(&tally.place, "a", &[(0, "dead"), (1, "waiting")]).await;
        tally.inbox.skip(CONSUMER, "a", "x").await.unwrap().unwrap();
        are_applied(&tally.place, "a", [1]).await;
        tally.finish().await;
    }
}
