//! The live page's events: who publishes, how much waits, and what was published and applied last. They come from what this process knows
//! already and from the readings of the metrics, so that looking costs the database nothing; and however fast things go on, a viewer gets
//! five messages a second at most, each with all that is shown: whoever is slow misses some, and none are kept for them.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::response::sse::Event;
use futures_util::{Stream, stream};
use messaging::{InboxStatus, JetStream, Recent, Status, Tally};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Sources, access::Refused};
use crate::About;

/// Viewers at once; others are told to come again.
pub const MOST_VIEWERS: usize = 16;
/// Of the graph.
const SECOND: Duration = Duration::from_secs(1);
const SECONDS_SHOWN: usize = 300;

/// What is shown of a process.
pub(crate) struct Live {
    about: About,
    recent: Recent,
    /// `None` where this process neither publishes nor consumes.
    nats: Option<JetStream>,
    publishes: bool,
    pub(crate) consumers: Vec<&'static str>,
    /// The shortest time between two messages of what was published and applied.
    pause: Duration,
    stop: CancellationToken,
    figures: watch::Sender<Arc<str>>,
    outcomes: watch::Sender<Arc<str>>,
    state: Mutex<State>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    reading: Option<Reading>,
    points: VecDeque<Point>,
    tally: Tally,
}

/// What the database told last.
struct Reading {
    at: Instant,
    at_ms: u64,
    status: Status,
    inbox: Vec<InboxStatus>,
    published: u64,
}

/// A second of the graph.
#[derive(Clone, Copy, Serialize)]
struct Point {
    at_ms: u64,
    published: u64,
    applied: u64,
    lag_seconds: Option<f64>,
}

impl Live {
    pub(crate) fn new(sources: Sources, pause: Duration, stop: CancellationToken) -> Self {
        Self {
            about: sources.about,
            recent: sources.recent,
            nats: sources.nats,
            publishes: sources.publishes_to.is_some(),
            consumers: sources.consumers,
            pause,
            stop,
            figures: watch::Sender::default(),
            outcomes: watch::Sender::default(),
            state: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_VIEWERS)),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let state = self.state.lock();
        change(&mut state.unwrap_or_else(PoisonError::into_inner))
    }

    /// The figures were read just now; `None` where they could not be.
    pub(crate) fn has_read(&self, status: Option<Status>, inbox: Option<Vec<InboxStatus>>) {
        self.change(|state| {
            let published = state.tally.published;
            let read = status.zip(inbox).map(|(status, inbox)| Reading {
                at: Instant::now(),
                at_ms: now_ms(),
                status,
                inbox,
                published,
            });
            state.reading = read;
        });
    }

    /// Tells viewers, for ever.
    pub(crate) async fn tell(&self) {
        tokio::join!(self.tell_figures(), self.tell_outcomes());
    }

    async fn tell_figures(&self) {
        let mut again = interval(SECOND);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            let tally = self.recent.tally();
            let point = self.change(|state| {
                let point = state.point(tally, &self.recent);
                state.tally = tally;
                if state.points.len() == SECONDS_SHOWN {
                    state.points.pop_front();
                }
                state.points.push_back(point);
                point
            });
            if self.figures.receiver_count() > 0 {
                let figures = self.figures(point);
                self.figures.send_replace(figures);
            }
        }
    }

    async fn tell_outcomes(&self) {
        loop {
            self.recent.changed().await;
            if self.outcomes.receiver_count() > 0 {
                self.outcomes.send_replace(self.outcomes());
            }
            sleep(self.pause).await;
        }
    }

    fn figures(&self, point: Point) -> Arc<str> {
        let lags = self.recent.consumer_lags();
        let figures = self.change(|state| {
            let reading = state.reading.as_ref();
            let inbox = reading.map_or(&[][..], |reading| &reading.inbox);
            let inbox: BTreeMap<_, _> = inbox.iter().map(|it| (&*it.consumer, it)).collect();
            let consumers = self.consumers.iter().map(
                |name| json!({ "name": name, "aside": inbox.get(name), "lag": lags.get(name) }),
            );
            json!({
                "service": self.about.name,
                "version": self.about.version,
                "instance": messaging::instance(),
                "publishes": self.publishes,
                "nats": self.nats.as_ref().map(JetStream::is_connected),
                "readMs": reading.map(|reading| reading.at_ms),
                "outbox": reading.map(|reading| &reading.status),
                "consumers": consumers.collect::<Vec<Value>>(),
                "point": point,
            })
        });
        figures.to_string().into()
    }

    fn outcomes(&self) -> Arc<str> {
        let (events, messages) = self.recent.look();
        json!({ "events": events, "messages": messages })
            .to_string()
            .into()
    }

    /// What one viewer gets until the stop: figures alone where more is `refused`. `None` where there are too many viewers.
    pub(crate) fn view(
        &self,
        refused: Option<Refused>,
    ) -> Option<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut first = VecDeque::new();
        let points: Vec<Point> = self.change(|state| state.points.iter().copied().collect());
        let last = points.last().copied();
        let with_outcomes = refused.is_none();
        first.push_back(message("access", &json!(refused).to_string()));
        first.push_back(message("history", &json!(points).to_string()));
        first.extend(last.map(|last| message("figures", &self.figures(last))));
        if with_outcomes {
            first.push_back(message("outcomes", &self.outcomes()));
        }
        let viewer = Viewer {
            first,
            figures: self.figures.subscribe(),
            outcomes: with_outcomes.then(|| self.outcomes.subscribe()),
            stop: Some(self.stop.clone()),
            _place: place,
        };
        Some(stream::unfold(viewer, Viewer::next))
    }
}

impl State {
    /// Of the second that ends now.
    fn point(&self, tally: Tally, recent: &Recent) -> Point {
        // What is published has a lag. Where nothing is, the oldest that waits does, and grows older.
        let reading = self.reading.as_ref();
        let waits = reading.map(|reading| reading.oldest_waits(tally, recent));
        Point {
            at_ms: now_ms(),
            published: tally.published - self.tally.published,
            applied: tally.applied - self.tally.applied,
            lag_seconds: tally.slowest.or(waits),
        }
    }
}

impl Reading {
    /// How long the oldest event has waited by now, in seconds: one that the database told of, or that has come since.
    fn oldest_waits(&self, tally: Tally, recent: &Recent) -> f64 {
        let oldest = self.status.oldest_waiting_seconds;
        let told = oldest.filter(|_| self.published == tally.published);
        let told = told.map_or(0.0, |oldest| oldest + self.at.elapsed().as_secs_f64());
        let before_ms = (oldest.unwrap_or(0.0) * 1000.0) as i64;
        let now_ms = now_ms() as i64;
        let made_ms = recent.oldest_unsent_ms(self.at_ms as i64 - before_ms);
        let came = made_ms.map_or(0.0, |made_ms| (now_ms - made_ms) as f64 / 1000.0);
        told.max(came)
    }
}

struct Viewer {
    first: VecDeque<Event>,
    figures: watch::Receiver<Arc<str>>,
    outcomes: Option<watch::Receiver<Arc<str>>>,
    /// `None` when it was told.
    stop: Option<CancellationToken>,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let stop = self.stop.clone()?;
        if let Some(first) = self.first.pop_front() {
            return Some((Ok(first), self));
        }
        let outcomes = async {
            match &mut self.outcomes {
                Some(outcomes) => outcomes.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.stop = None;
                message("stopping", "{}")
            }
            true = outcomes => {
                let outcomes = self.outcomes.as_mut()?;
                message("outcomes", &outcomes.borrow_and_update())
            }
            Ok(()) = self.figures.changed() => message("figures", &self.figures.borrow_and_update()),
            else => return None,
        };
        Some((Ok(next), self))
    }
}

fn message(name: &str, json: &str) -> Event {
    Event::default().event(name).data(json)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
