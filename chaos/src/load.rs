//! The clients: they create and update tickets, some of them hot, at a steady rate, and write down every attempt.
//! Each attempt's title is of no other, so what is found of it later tells whose it was. What has no clear answer is sent
//! again with its `Idempotency-Key`, to any instance.

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
/// How often an attempt is sent at most, and after which pause again.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_secs(1);

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
        let request = request(&mut rng, &known, number);
        let token = tokens[request.user].clone();
        // Whom each try is sent to.
        let addresses: [String; TRIES] =
            std::array::from_fn(|_| world.addresses[rng.usize(..world.addresses.len())].clone());
        let (client, known) = (client.clone(), Arc::clone(&known));
        running.spawn(attempt(request, client, token, addresses, known, began));
    }
    while let Some(attempt) = running.join_next().await {
        attempts.push(attempt?);
    }
    Ok(attempts)
}

struct Request {
    title: String,
    user: usize,
    /// The ticket that is changed; none where one is created.
    ticket: Option<String>,
    price: f64,
    if_match: Option<&'static str>,
}

fn request(rng: &mut Rng, known: &Known, number: u64) -> Request {
    let known = known.lock().expect("no panic while it is held");
    let most = if rng.bool() {
        HOT_TICKETS.min(known.len())
    } else {
        known.len()
    };
    let mut request = Request {
        title: format!("attempt {number}"),
        user: rng.usize(..USERS),
        ticket: None,
        price: 20.5,
        if_match: None,
    };
    let dice = rng.u8(..100);
    if dice < 60 && most > 0 {
        let (id, owner) = &known[rng.usize(..most)];
        request.ticket = Some(id.clone());
        request.user = *owner;
        request.price = 2.5;
        // What must be refused: a bad price, another user's ticket, a version that is not there.
        match dice {
            0..2 => request.price = 0.0,
            2..4 => request.user = (owner + 1) % USERS,
            4..6 => request.if_match = Some("\"1000000\""),
            _ => {}
        }
    }
    request
}

async fn attempt(
    request: Request,
    client: Client,
    token: String,
    addresses: [String; TRIES],
    known: Known,
    began: Instant,
) -> Attempt {
    let ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let began_ms = ms();
    let (mut status, mut outcome) = (0, Outcome::Rejected);
    for (number, address) in addresses.iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let tried;
        (status, tried) = send(&request, &client, &token, address).await;
        outcome = match (tried, outcome) {
            // A try before this one may have been saved.
            (Try::NotSent, Outcome::Unknown) | (Try::NoAnswer, _) => Outcome::Unknown,
            (Try::NotSent, other) => other,
            (Try::Answered(outcome), _) => outcome,
        };
        if matches!(outcome, Outcome::Ok { .. }) || (400..500).contains(&status) && status != 409 {
            break;
        }
    }
    if let (Outcome::Ok { ticket, .. }, None) = (&outcome, &request.ticket) {
        let mut known = known.lock().expect("no panic while it is held");
        known.push((ticket.clone(), request.user));
    }
    Attempt {
        title: request.title,
        outcome,
        status,
        began_ms,
        ended_ms: ms(),
    }
}

enum Try {
    NotSent,
    /// Or one that claims nothing.
    NoAnswer,
    Answered(Outcome),
}

/// One try: the status of its answer, and what that means.
async fn send(request: &Request, client: &Client, token: &str, address: &str) -> (u16, Try) {
    let mut http = match &request.ticket {
        Some(id) => client.put(format!("{address}/api/tickets/{id}")),
        None => client.post(format!("{address}/api/tickets")),
    };
    if let Some(version) = request.if_match {
        http = http.header("if-match", version);
    }
    let http = http
        .bearer_auth(token)
        .header("idempotency-key", request.title.replace(' ', "-"))
        .json(&json!({ "title": request.title, "price": request.price }));
    let answer = match http.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return (0, Try::NotSent),
        Err(_) => return (0, Try::NoAnswer),
    };
    let status = answer.status();
    let tried = match status {
        // The same request is under way: this says nothing of how it ends.
        StatusCode::CONFLICT => Try::NoAnswer,
        status if status.is_client_error() => Try::Answered(Outcome::Rejected),
        status if !status.is_success() => Try::NoAnswer,
        _ => match answer.json::<Value>().await.as_ref().map(saved) {
            Ok(Some((ticket, version))) => Try::Answered(Outcome::Ok { ticket, version }),
            // The head says that it is saved, but not as what.
            _ => Try::NoAnswer,
        },
    };
    (status.as_u16(), tried)
}

fn saved(body: &Value) -> Option<(String, i64)> {
    Some((body["id"].as_str()?.to_owned(), body["version"].as_i64()?))
}
