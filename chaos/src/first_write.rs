//! One write before there is any load or fault: it must be accepted, and its event must reach the stream. Where it does
//! not, the harness is broken, or the service is, and a run would prove nothing.

use std::time::Duration;

use anyhow::bail;
use async_nats::jetstream;
use fastrand::Rng;
use testbed::within;

use crate::{
    client::Client,
    clock::Clock,
    domain::{self, TICKETS},
    history::{Attempt, Outcome},
    world::World,
};

const PUBLISH_LIMIT: Duration = Duration::from_secs(15);

pub(crate) async fn first_write(world: &World, client: &Client) -> anyhow::Result<Attempt> {
    let write = domain::creation(0, 0);
    let attempt = client.attempt(write, Clock::start(), Rng::new()).await;
    let Outcome::Accepted { key, .. } = &attempt.outcome else {
        let Attempt {
            status, expected, ..
        } = attempt;
        bail!("the first write, before any fault, was answered {status}, not {expected}");
    };
    let nats = async_nats::connect(world.nats_urls.as_slice()).await?;
    let context = jetstream::new(nats);
    let what = format!(
        "the event of the first write, before any fault, is in stream {}",
        TICKETS.stream
    );
    within(PUBLISH_LIMIT, &what, || async {
        let stream = context.get_stream(TICKETS.stream).await?;
        let subject = format!("{}.{key}", domain::CREATED);
        stream.get_last_raw_message_by_subject(&subject).await?;
        Ok(())
    })
    .await?;
    Ok(attempt)
}
