//! The load: clients create and change documents, some of them hot, at a steady rate. What they send is in `domain`, how one
//! attempt is sent in `client`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    client::Client,
    clock::Clock,
    domain::{self, Write},
    floors::Aim,
    history::{Attempt, Outcome},
};

/// The first documents get most of the changes.
const HOT_DOCUMENTS: usize = 10;
/// So many seconds' worth of writes wait for their answer at once, and never more than so many: clients that wait do not ask
/// again. When the servers are back, all of them want the hot documents at the same time.
const IN_FLIGHT_SECONDS: u32 = 2;
const IN_FLIGHT_LIMIT: u32 = 400;
/// Of a hundred writes, so many change a document, where there is one.
const CHANGES: u8 = 60;
/// Of a hundred writes, so many are changes that must be refused.
const REFUSED: u8 = 6;

/// The documents that were created so far.
type Known = Arc<Mutex<Vec<Created>>>;

struct Created {
    key: String,
    owner: usize,
}

/// Begins attempts at the rate and for the time of `aim`; what was tried, when all have their answer.
pub(crate) async fn load(client: &Client, aim: &Aim, clock: Clock) -> anyhow::Result<Vec<Attempt>> {
    let until = clock.at(Duration::from_secs(aim.seconds));
    let most_in_flight = (aim.rate * IN_FLIGHT_SECONDS).min(IN_FLIGHT_LIMIT) as usize;
    let known = Known::default();
    let mut rng = Rng::with_seed(aim.seed);
    let mut attempts = Vec::new();
    let mut running = JoinSet::new();
    let mut tick = interval(Duration::from_secs(1) / aim.rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1_u64.. {
        tick.tick().await;
        if Instant::now() >= until {
            break;
        }
        while let Some(attempt) = running.try_join_next() {
            attempts.push(attempt?);
        }
        if running.len() >= most_in_flight {
            continue;
        }
        let write = write(&mut rng, &known, number);
        let (client, rng, known) = (client.clone(), rng.fork(), Arc::clone(&known));
        running.spawn(attempt(write, client, clock, rng, known));
    }
    while let Some(attempt) = running.join_next().await {
        attempts.push(attempt?);
    }
    Ok(attempts)
}

async fn attempt(write: Write, client: Client, clock: Clock, rng: Rng, known: Known) -> Attempt {
    let owner = write.user;
    let attempt = client.attempt(write, clock, rng).await;
    if let Outcome::Accepted { key, version: 0 } = &attempt.outcome {
        let key = key.clone();
        let mut known = known.lock().expect("no panic while it is held");
        known.push(Created { key, owner });
    }
    attempt
}

/// A creation or, more often, a change; of ten changes one must be refused.
fn write(rng: &mut Rng, known: &Known, number: u64) -> Write {
    let known = known.lock().expect("no panic while it is held");
    let most = if rng.bool() {
        HOT_DOCUMENTS.min(known.len())
    } else {
        known.len()
    };
    let user = rng.usize(..domain::USERS);
    let dice = rng.u8(..100);
    if dice >= CHANGES || most == 0 {
        return domain::creation(number, user);
    }
    let Created { key, owner } = &known[rng.usize(..most)];
    if dice >= REFUSED {
        return domain::change(number, key, *owner);
    }
    let refused = domain::refused_changes(number, key, *owner);
    let which = usize::from(dice) % refused.len();
    refused.into_iter().nth(which).expect("it is one of them")
}
