//! A client: it sends a write, and sends it again with its `Idempotency-Key`, to any instance, until the answer is clear
//! or its patience ends. It writes down what the answer was, and what it had to be. `answer` reads one.

mod answer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    clock::Clock,
    domain::{self, Write},
    history::{Answer, Attempt, Intent, Outcome, Read, tracestate},
    world::World,
};
use answer::{Means, Try};

/// A little longer than the service takes at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
/// A write is not sent again later than this after it was sent first: longer than the longest fault, and an election.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause before the next try, where the answer names none; up to half of it is added, so that clients spread.
const PAUSE: Duration = Duration::from_secs(1);

/// Every user's client; clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    addresses: Arc<[String]>,
    /// Where orders are placed.
    of_orders: Arc<[String]>,
    tokens: Arc<[String]>,
}

/// A document that is read.
pub(crate) struct Asked {
    /// Where those of its kind are.
    pub(crate) path: &'static str,
    pub(crate) key: String,
    /// Whose it is, where it is shown to nobody else.
    pub(crate) user: Option<usize>,
    /// The version that the client has already.
    pub(crate) known: Option<i64>,
}

impl Client {
    pub(crate) async fn new(world: &World) -> anyhow::Result<Self> {
        let mut tokens = Vec::new();
        for user in 0..domain::USERS {
            tokens.push(world.token(&domain::user_name(user)).await?);
        }
        let sibling = world.sibling.as_ref();
        let of_orders = sibling.map_or_else(Vec::new, |it| it.addresses.clone());
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(1))
            .timeout(ANSWER_LIMIT)
            .build()?;
        Ok(Self {
            http,
            addresses: world.addresses.clone().into(),
            of_orders: of_orders.into(),
            tokens: tokens.into(),
        })
    }

    /// Sends `write`, each time to an instance that `rng` chooses, until the answer is clear; dated by `clock`.
    pub(crate) async fn attempt(&self, write: Write, clock: Clock, mut rng: Rng) -> Attempt {
        let trace = format!("{:032x}", rng.u128(1..));
        let addresses = self.addresses_for(&write.path);
        let began = Instant::now();
        let (mut tries, mut status, mut outcome) = (0, 0, Outcome::NotSent);
        let (mut answers, mut is_under_way) = (Vec::new(), false);
        loop {
            let sent = (0..write.at_once(tries)).map(|_| {
                tries += 1;
                let address = &addresses[rng.usize(..addresses.len())];
                self.send(&write, address, &trace, tries)
            });
            let mut pause = PAUSE;
            for tried in join_all(sent).await {
                if tried.answer.is_some() || answers.is_empty() {
                    status = tried.status;
                }
                pause = tried.retry_after.unwrap_or(pause);
                is_under_way |= tried.may_be_under_way();
                answers.extend(tried.answer);
                match tried.means {
                    Means::Clear(_) if matches!(outcome, Outcome::Accepted { .. }) => {}
                    // Where two answers differ, the checker tells.
                    Means::Clear(clear) => outcome = clear,
                    // A try before this one may have been saved.
                    Means::Unclear if answers.is_empty() => outcome = Outcome::Unknown,
                    Means::Unclear | Means::NotSent => {}
                }
            }
            pause += PAUSE.mul_f64(rng.f64() / 2.0);
            let is_sent_once = write.intent == Intent::Keyless && outcome != Outcome::NotSent;
            if !answers.is_empty() || is_sent_once || began.elapsed() + pause > PATIENCE {
                break;
            }
            sleep(pause).await;
        }
        // A try without an answer may be under way still, and an order that kept out the other may end before it is done.
        let may_end = outcome == Outcome::Refused && write.is_refused_for_others(status);
        if is_under_way && may_end {
            outcome = Outcome::Unknown;
        }
        Attempt {
            operation: write.operation,
            trace,
            intent: write.intent,
            path: write.path,
            if_match: write.if_match,
            says: write.says,
            expected: write.expected,
            or_refused: write.or_refused,
            status: counts(&answers).map_or(status, |answer| answer.status),
            outcome,
            answers,
            tries,
            began_ms: clock.ms(began),
            ended_ms: clock.now_ms(),
        }
    }

    fn addresses_for(&self, path: &str) -> &[String] {
        if path.starts_with(domain::orders::PATH) {
            &self.of_orders
        } else {
            &self.addresses
        }
    }

    /// All tries of one attempt have its trace id, as `Idempotency-Key` too; the number of the try is the span's. The trace is not
    /// sampled, so it has no other effect.
    async fn send(&self, write: &Write, address: &str, trace: &str, number: u32) -> Try {
        let Write { method, path, .. } = write;
        let mut http = self
            .http
            .request(method.clone(), format!("{address}{path}"));
        if let Some(version) = write.if_match {
            http = http.header("if-match", format!("\"{version}\""));
        }
        if write.intent != Intent::Keyless {
            http = http.header("idempotency-key", trace);
        }
        if !write.body.is_null() {
            http = http.json(&write.body);
        }
        let http = http
            .bearer_auth(&self.tokens[write.user])
            .header("traceparent", format!("00-{trace}-{number:016x}-00"))
            .header("tracestate", tracestate(write.operation));
        Try::of(http.send().await).await
    }

    /// Reads from an instance that `rng` chooses. None where there is no answer.
    pub(crate) async fn read(&self, asked: Asked, clock: Clock, mut rng: Rng) -> Option<Read> {
        let began_ms = clock.now_ms();
        let Asked {
            path, key, user, ..
        } = asked;
        let addresses = self.addresses_for(path);
        let address = &addresses[rng.usize(..addresses.len())];
        let mut http = self.http.get(format!("{address}{path}/{key}"));
        if let Some(known) = asked.known {
            http = http.header("if-none-match", format!("\"{known}\""));
        }
        if let Some(user) = user {
            http = http.bearer_auth(&self.tokens[user]);
        }
        let answer = http.send().await.ok()?;
        let (version, says) = match answer.status() {
            StatusCode::NOT_FOUND => (None, Value::Null),
            StatusCode::NOT_MODIFIED => (answer::version(&answer), Value::Null),
            StatusCode::OK => (answer::version(&answer), answer.json().await.ok()?),
            _ => return None,
        };
        Some(Read {
            key,
            version,
            says,
            began_ms,
            ended_ms: clock.now_ms(),
        })
    }

    /// Reads the first page of all documents.
    pub(crate) async fn list(&self, clock: Clock, mut rng: Rng) -> Option<Vec<Read>> {
        let began_ms = clock.now_ms();
        let address = &self.addresses[rng.usize(..self.addresses.len())];
        let answer = self.http.get(format!("{address}{}", domain::PATH));
        let answer = answer.send().await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let listed: Vec<Value> = answer.json().await.ok()?;
        let ended_ms = clock.now_ms();
        let read = |says: Value| {
            let (key, version) = domain::read(&says)?;
            Some(Read {
                key,
                version: Some(version),
                says,
                began_ms,
                ended_ms,
            })
        };
        listed.into_iter().map(read).collect()
    }
}

/// The answer that counts: of two at once, the one that accepts.
fn counts(answers: &[Answer]) -> Option<&Answer> {
    let accepts = answers.iter().find(|answer| answer.status < 400);
    accepts.or(answers.first())
}
