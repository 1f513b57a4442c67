//! What database and stream hold when all is over: `database` and `messages` read it.

mod database;
mod messages;

use std::{collections::HashSet, time::Duration};

use mongodb::Database;
use tokio::time::{Instant, sleep};

use crate::{
    clock::Clock,
    domain::Service,
    history::{Attempt, Observed, Read},
    live::Consumer,
    world::World,
};

/// Waits until nothing moves: no event is unsent but those that are parked or behind one, or `limit` is over.
pub(crate) async fn settled(database: &Database, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    let mut before = u64::MAX;
    loop {
        let waiting = database::waiting(database).await;
        if matches!(waiting, Ok(0)) || Instant::now() >= deadline {
            return waiting.map(drop);
        }
        if let Ok(waiting) = waiting
            && waiting != before
        {
            eprintln!("chaos: {waiting} events are unsent");
            before = waiting;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// The server that leads the stream, where it is one of a cluster.
pub(crate) async fn leader(world: &World) -> anyhow::Result<Option<String>> {
    messages::leader(world).await
}

/// What the clients of a service were told, and what the servers hold of it.
pub(crate) async fn all(
    world: &World,
    (service, database): (Service, &Database),
    clock: Clock,
    told: (Vec<Attempt>, Vec<Read>),
    planted: Vec<String>,
    consumer: Consumer,
) -> anyhow::Result<Observed> {
    let (attempts, reads) = told;
    let is_planted: HashSet<&str> = planted.iter().map(String::as_str).collect();
    let events = database::events(database, clock, &is_planted).await?;
    let messages = messages::of_leader(world, service.stream, clock).await?;
    let last = messages.last().map_or(0, |message| message.sequence);
    Ok(Observed {
        documents: database::documents(database, service).await?,
        answers: database::answers(database).await?,
        replicas: messages::of_each_server(world, service.stream).await?,
        seen: consumer.seen(last).await,
        attempts,
        reads,
        planted,
        events,
        messages,
        ..Observed::default()
    })
}
