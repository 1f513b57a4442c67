//! A client: it sends a write, and sends it again with its `Idempotency-Key`, to any instance, until the answer is clear
//! or its patience ends. It writes down what the answer was, and what it had to be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use tokio::time::sleep;

use crate::{
    clock::Clock,
    domain::{self, Write},
    history::{Attempt, Outcome},
    world::World,
};

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
    tokens: Arc<[String]>,
}

/// What one try came to.
enum Answer {
    NotSent,
    /// None, or one that claims nothing.
    Unclear,
    Clear(Outcome),
}

struct Try {
    /// 0 where no answer came.
    status: u16,
    answer: Answer,
    /// The pause that the answer asks for.
    retry_after: Option<Duration>,
}

impl Client {
    pub(crate) async fn new(world: &World) -> anyhow::Result<Self> {
        let mut tokens = Vec::new();
        for user in 0..domain::USERS {
            tokens.push(world.token(&format!("user-{user}"))?);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(1))
            .timeout(ANSWER_LIMIT)
            .build()?;
        Ok(Self {
            http,
            addresses: world.addresses.clone().into(),
            tokens: tokens.into(),
        })
    }

    /// Sends `write`, each time to an instance that `rng` chooses, until the answer is clear; dated by `clock`.
    pub(crate) async fn attempt(&self, write: Write, clock: Clock, mut rng: Rng) -> Attempt {
        let trace = format!("{:032x}", rng.u128(1..));
        let began = Instant::now();
        let mut tries = 0;
        let mut status;
        let mut outcome = Outcome::NotSent;
        loop {
            let address = &self.addresses[rng.usize(..self.addresses.len())];
            tries += 1;
            let tried = self.send(&write, address, &trace, tries).await;
            status = tried.status;
            match tried.answer {
                Answer::Clear(clear) => {
                    outcome = clear;
                    break;
                }
                Answer::Unclear => outcome = Outcome::Unknown,
                // A try before this one may have been saved.
                Answer::NotSent => {}
            }
            let pause = tried.retry_after.unwrap_or(PAUSE) + PAUSE.mul_f64(rng.f64() / 2.0);
            if began.elapsed() + pause > PATIENCE {
                break;
            }
            sleep(pause).await;
        }
        Attempt {
            trace,
            says: write.says,
            expected: write.expected,
            outcome,
            status,
            tries,
            began_ms: clock.ms(began),
            ended_ms: clock.now_ms(),
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
            http = http.header("if-match", version);
        }
        let http = http
            .bearer_auth(&self.tokens[write.user])
            .header("idempotency-key", trace)
            .header("traceparent", format!("00-{trace}-{number:016x}-00"))
            .json(&write.body);
        let without_answer = |answer| Try {
            status: 0,
            answer,
            retry_after: None,
        };
        match http.send().await {
            Ok(response) => Try::of(response).await,
            Err(error) if error.is_connect() => without_answer(Answer::NotSent),
            Err(_) => without_answer(Answer::Unclear),
        }
    }
}

impl Try {
    async fn of(response: Response) -> Self {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let answer = if is_temporary(status) {
            Answer::Unclear
        } else if status.is_client_error() {
            Answer::Clear(Outcome::Refused)
        } else if status.is_success() {
            match response.json().await.as_ref().map(domain::saved) {
                Ok(Some(accepted)) => Answer::Clear(accepted),
                // The head says that it is saved, but not as what.
                _ => Answer::Unclear,
            }
        } else {
            Answer::Unclear
        };
        Self {
            status: status.as_u16(),
            answer,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }
}

/// Says nothing of how the write ends: the same request is under way, or the service had no time for it.
fn is_temporary(status: StatusCode) -> bool {
    [
        StatusCode::CONFLICT,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ]
    .contains(&status)
}
