//! The load: clients create, change and read documents, some of them hot, at a steady rate. What they send is in `domain`, how one
//! attempt is sent in `client`, and which operation does what in `operation`. The same seed makes the same operations.

mod operation;
mod placing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    client::Client,
    clock::Clock,
    domain::{Write, orders},
    floors::Aim,
    history::{Attempt, Outcome, Read},
    orders::Orders,
};
use operation::{Operation, Operations};

/// So many seconds' worth of operations wait for their answer at once, and never more than so many: clients that wait do not ask
/// again. When the servers are back, all of them want the hot documents at the same time.
const IN_FLIGHT_SECONDS: u32 = 2;
const IN_FLIGHT_LIMIT: u32 = 400;
/// The load takes so many times longer than it would without faults, and no more.
const LONGEST: u32 = 2;

/// What clients were told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) attempts: Vec<Attempt>,
    /// At the other service.
    pub(crate) placed: Vec<Attempt>,
    pub(crate) reads: Vec<Read>,
    /// At the other service.
    pub(crate) orders_read: Vec<Read>,
    /// Reads without an answer, or one that says nothing.
    pub(crate) unread: usize,
}

/// The documents that were created so far, by the number of the operation.
type Known = Arc<Mutex<BTreeMap<u64, Created>>>;

struct Created {
    key: String,
    owner: usize,
    /// The newest that a write was told.
    version: i64,
    says: Value,
}

/// What one operation came to.
enum Done {
    Written(Attempt),
    Placed(Attempt),
    Read(Option<Vec<Read>>),
    OrderRead(Option<Read>),
    Ordered,
}

impl Told {
    fn add(&mut self, done: Done) {
        match done {
            Done::Written(attempt) => self.attempts.push(attempt),
            Done::Placed(attempt) => self.placed.push(attempt),
            Done::Read(Some(reads)) => self.reads.extend(reads),
            Done::OrderRead(Some(read)) => self.orders_read.push(read),
            Done::Ordered => {}
            Done::Read(None) | Done::OrderRead(None) => self.unread += 1,
        }
    }
}

/// Begins the operations of `aim` at its rate, and tells `progress` the number of each; what was told, when all have their answer. Without
/// `orders` clients place theirs.
pub(crate) async fn load(
    client: &Client,
    orders: Option<&Orders>,
    aim: &Aim,
    clock: Clock,
    progress: &watch::Sender<u64>,
) -> anyhow::Result<Told> {
    let latest = clock.at(Duration::from_secs(aim.seconds) * LONGEST);
    let most_in_flight = (aim.rate * IN_FLIGHT_SECONDS).min(IN_FLIGHT_LIMIT) as usize;
    let known = Known::default();
    let mut operations = Operations::new(aim.seed, orders.is_none());
    let mut told = Told::default();
    let (mut running, mut ordering) = (JoinSet::new(), JoinSet::new());
    let mut tick = interval(Duration::from_secs(1) / aim.rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1..=aim.operations() {
        tick.tick().await;
        while running.len() >= most_in_flight
            && let Some(done) = running.join_next().await
        {
            told.add(done?);
        }
        while let Some(done) = running.try_join_next() {
            told.add(done?);
        }
        if Instant::now() >= latest {
            break;
        }
        progress.send_replace(number);
        let (operation, rng) = operations.next(number, &known);
        let known = match &operation {
            Operation::Place { .. } => operations.placed(),
            _ => Arc::clone(&known),
        };
        match (operation, orders) {
            (Operation::Order(told), Some(orders)) => {
                // It takes as long as the stream is away, and no client waits.
                let orders = orders.clone();
                ordering.spawn(async move { orders.tell(told, clock).await });
            }
            (operation, _) => {
                running.spawn(run(operation, client.clone(), clock, rng, known));
            }
        }
    }
    while let Some(done) = running.join_next().await {
        told.add(done?);
    }
    while let Some(ordered) = ordering.join_next().await {
        ordered?;
    }
    Ok(told)
}

async fn run(operation: Operation, client: Client, clock: Clock, rng: Rng, known: Known) -> Done {
    match operation {
        Operation::Write { write, of } => {
            Done::Written(attempt(write, of, client, clock, rng, known).await)
        }
        Operation::Place { write, of } => {
            Done::Placed(attempt(write, of, client, clock, rng, known).await)
        }
        Operation::Get(asked) if asked.path == orders::PATH => {
            Done::OrderRead(client.read(asked, clock, rng).await)
        }
        Operation::Get(asked) => {
            let read = client.read(asked, clock, rng).await;
            Done::Read(read.map(|read| vec![read]))
        }
        Operation::List => Done::Read(client.list(clock, rng).await),
        Operation::Order(_) => Done::Ordered,
    }
}

/// `of` is the operation that has created the document.
async fn attempt(
    write: Write,
    of: u64,
    client: Client,
    clock: Clock,
    rng: Rng,
    known: Known,
) -> Attempt {
    let owner = write.user;
    let attempt = client.attempt(write, clock, rng).await;
    if let Outcome::Accepted { key, version } = &attempt.outcome
        && let Some(answer) = attempt.answers.iter().find(|it| it.status < 400)
    {
        let mut known = known.lock().expect("no panic while it is held");
        if *version == 0 {
            known.entry(of).or_insert_with(|| Created {
                key: key.clone(),
                owner,
                version: -1,
                says: Value::Null,
            });
        }
        if let Some(newest) = known.get_mut(&of)
            && *version > newest.version
        {
            newest.version = *version;
            newest.says = answer.body.clone();
        }
    }
    attempt
}
