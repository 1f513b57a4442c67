//! The figures of the outbox, as the program tells them.

use testbed::{Mongo, nats_url};

use crate::{harness::Place, metrics::Metered};

#[tokio::test]
async fn figures_that_cannot_be_read_are_not_told_until_they_can() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    // So that what can't be read is found out soon.
    place.mongo_uri += "&serverSelectionTimeoutMS=300";
    let service = Metered::start(&place);
    service.tell(&["outbox_unsent_events 0"]).await;
    mongo.kill();
    service
        .tell(&["outbox_has_publisher NaN", "outbox_unsent_events NaN"])
        .await;
    mongo.start().await;
    service
        .tell(&["outbox_has_publisher 1", "outbox_unsent_events 0"])
        .await;
    assert!(
        service
            .value_of("outbox_status_read_timestamp_seconds")
            .await
            > 0.0
    );
}
