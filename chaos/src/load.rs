//! The clients: they create and update tickets, some of them hot, at a steady rate, and write down every attempt.
//! Each attempt's title is of no other, so what is found of it later tells whose it was.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fastrand::Rng;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    history::{Attempt, Outcome},
    world::World,
};

const USERS: usize = 5;
/// The first tickets get most of the updates.
const HOT_TICKETS: usize = 10;
/// More are not begun: clients that wait for an answer do not ask again.
const IN_FLIGHT: usize = 400;
/// A little longer than the service takes at most.
const PATIENCE: Duration = Duration::from_secs(12);

/// A ticket and the number of its owner.
type Known = Arc<Mutex<Vec<(String, usize)>>>;

/// Asks until `until`; what was tried, when all have their answer.
pub(crate) async fn load(
    world: &World,
    rate: u32,
    seed: u64,
    began: Instant,
    until: Duration,
) -> anyhow::Result<Vec<Attempt>> {
    let mut tokens = Vec::new();
    for user in 0..USERS {
        tokens.push(world.token(&format!("user-{user}")).await?);
    }
    let client = Client::builder()
        .connect_timeout(Duration::from_secs(1))
        .timeout(PATIENCE)
        .build()?;
    let known = Known::default();
    let mut rng = Rng::with_seed(seed);
    let mut attempts = Vec::new();
    let mut running = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        tick.tick().await;
        if began.elapsed() >= until {
            break;
        }
        while let Some(attempt) = running.try_join_next() {
            attempts.push(attempt?);
        }
        if running.len() >= IN_FLIGHT {
            continue;
        }
        let request = request(&mut rng, world, &client, &tokens, &known, number);
        running.spawn(attempt(request, Arc::clone(&known), began));
    }
    while let Some(attempt) = running.join_next().await {
        attempts.push(attempt?);
    }
    Ok(attempts)
}

struct Request {
    title: String,
    user: usize,
    http: reqwest::RequestBuilder,
}

fn request(
    rng: &mut Rng,
    world: &World,
    client: &Client,
    tokens: &[String],
    known: &Known,
    number: u64,
) -> Request {
    let address = &world.addresses[rng.usize(..world.addresses.len())];
    let title = format!("attempt {number}");
    let body = |price: f64| json!({ "title": title, "price": price });
    let known = known.lock().expect("no panic while it is held");
    let most = if rng.bool() {
        HOT_TICKETS.min(known.len())
    } else {
        known.len()
    };
    let (user, http) = match rng.u8(..100) {
        // What must be refused: a bad price, another user's ticket, a version that is not there.
        dice @ 0..6 if most > 0 => {
            let (id, owner) = &known[rng.usize(..most)];
            let put = client.put(format!("{address}/api/tickets/{id}"));
            match dice {
                0..2 => (*owner, put.json(&body(0.0))),
                2..4 => ((owner + 1) % USERS, put.json(&body(1.0))),
                _ => (
                    *owner,
                    put.header("if-match", "\"1000000\"").json(&body(1.0)),
                ),
            }
        }
        6..60 if most > 0 => {
            let (id, owner) = &known[rng.usize(..most)];
            let put = client.put(format!("{address}/api/tickets/{id}"));
            (*owner, put.json(&body(2.5)))
        }
        _ => {
            let post = client.post(format!("{address}/api/tickets"));
            (rng.usize(..USERS), post.json(&body(20.5)))
        }
    };
    Request {
        http: http.bearer_auth(&tokens[user]),
        title,
        user,
    }
}

async fn attempt(request: Request, known: Known, began: Instant) -> Attempt {
    let ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let began_ms = ms();
    let answer = request.http.send().await;
    let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
    let outcome = match answer {
        // Nothing was sent.
        Err(error) if error.is_connect() => Outcome::Rejected,
        Err(_) => Outcome::Unknown,
        Ok(answer) if answer.status().is_client_error() => Outcome::Rejected,
        Ok(answer) if !answer.status().is_success() => Outcome::Unknown,
        Ok(answer) => {
            let is_new = answer.status() == StatusCode::CREATED;
            match answer.json::<Value>().await.as_ref().map(saved) {
                Ok(Some((ticket, version))) => {
                    if is_new {
                        let mut known = known.lock().expect("no panic while it is held");
                        known.push((ticket.clone(), request.user));
                    }
                    Outcome::Ok { ticket, version }
                }
                // The head says that it is saved, but not as what.
                _ => Outcome::Unknown,
            }
        }
    };
    Attempt {
        title: request.title,
        outcome,
        status,
        began_ms,
        ended_ms: ms(),
    }
}

fn saved(body: &Value) -> Option<(String, i64)> {
    Some((body["id"].as_str()?.to_owned(), body["version"].as_i64()?))
}
