//! The load: clients create and update tickets, some of them hot, at a steady rate. Each attempt's title is of no other,
//! so what is found of it later tells whose it was. How one attempt is sent is in `client`.

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
    client::{Client, Request},
    clock::Clock,
    floors::Aim,
    history::{Attempt, Outcome},
};

/// The first tickets get most of the updates.
const HOT_TICKETS: usize = 10;
/// So many seconds' worth of writes wait for their answer at once, and never more than so many: clients that wait do not ask
/// again. When the servers are back, all of them want the hot tickets at the same time.
const IN_FLIGHT_SECONDS: u32 = 2;
const IN_FLIGHT_LIMIT: u32 = 400;
const PRICE_AT_FIRST: f64 = 20.5;
const PRICE_LATER: f64 = 2.5;

/// A ticket and the number of its owner.
type Known = Arc<Mutex<Vec<(String, usize)>>>;

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
        let request = request(&mut rng, &known, number, client.users());
        let (client, rng, known) = (client.clone(), rng.fork(), Arc::clone(&known));
        running.spawn(attempt(request, client, clock, rng, known));
    }
    while let Some(attempt) = running.join_next().await {
        attempts.push(attempt?);
    }
    Ok(attempts)
}

async fn attempt(
    request: Request,
    client: Client,
    clock: Clock,
    rng: Rng,
    known: Known,
) -> Attempt {
    let (user, is_new) = (request.user, request.ticket.is_none());
    let attempt = client.attempt(request, clock, rng).await;
    if let (Outcome::Accepted { ticket, .. }, true) = (&attempt.outcome, is_new) {
        let mut known = known.lock().expect("no panic while it is held");
        known.push((ticket.clone(), user));
    }
    attempt
}

/// A ticket that is created or, more often, one that is updated; of twenty updates two must be refused.
fn request(rng: &mut Rng, known: &Known, number: u64, users: usize) -> Request {
    let known = known.lock().expect("no panic while it is held");
    let most = if rng.bool() {
        HOT_TICKETS.min(known.len())
    } else {
        known.len()
    };
    let mut request = new_ticket(number, rng.usize(..users));
    let dice = rng.u8(..100);
    if dice < 60 && most > 0 {
        let (id, owner) = &known[rng.usize(..most)];
        request.ticket = Some(id.clone());
        request.user = *owner;
        request.price = PRICE_LATER;
        request.expected = 200;
        match dice {
            0..2 => {
                request.price = 0.0;
                request.expected = 400;
            }
            2..4 => {
                request.user = (owner + 1) % users;
                request.expected = 403;
            }
            4..6 => {
                request.if_match = Some("\"1000000\"");
                request.expected = 412;
            }
            _ => {}
        }
    }
    request
}

/// The attempt of this number creates a ticket of `user`.
pub(crate) fn new_ticket(number: u64, user: usize) -> Request {
    Request {
        title: format!("attempt {number}"),
        user,
        ticket: None,
        price: PRICE_AT_FIRST,
        if_match: None,
        expected: 201,
    }
}
