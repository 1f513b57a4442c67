//! What docs/operations.md tells operators about the stream.

use std::time::Duration;

use async_nats::jetstream::{self, stream::Config};
use testbed::stream;

use crate::toy::Toy;

#[tokio::test]
async fn limits_that_an_operator_gives_the_stream_stay() {
    let first = Toy::start().await;
    first.create().await;
    first.place.drained().await;
    let made = stream(&first.place).await.cached_info().config.clone();
    assert_eq!((made.max_age, made.max_bytes), (Duration::ZERO, -1));
    let limits = Config {
        max_age: Duration::from_secs(90 * 24 * 3600),
        max_bytes: 1_000_000,
        ..made
    };
    let nats = async_nats::connect(&first.place.nats_url).await.unwrap();
    jetstream::new(nats).update_stream(&limits).await.unwrap();

    let second = Toy::start_at(first.stop().await).await;
    second.create().await;
    second.place.drained().await;
    assert_eq!(second.place.messages().await.len(), 2);
    let stream = stream(&second.place).await;
    let kept = &stream.cached_info().config;
    assert_eq!(
        (kept.max_age, kept.max_bytes),
        (limits.max_age, limits.max_bytes)
    );
    second.finish().await;
}
