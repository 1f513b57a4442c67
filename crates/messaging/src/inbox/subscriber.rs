//! Applies what a consumer is sent: one loop, in which the turns of many keys go on side by side, each key in its order.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    apply::{Applier, Job},
    consumer::Consumer,
    database::Database,
    dead_letters::Due,
    envelope::Envelope,
    feed::{Fed, Feed},
    in_hand::InHand,
    marks::Inbox,
    tallies::Tallies,
    turn::{Ended, Failed, Item, Lane, Worker},
};
use crate::{
    JetStream, Timing,
    jetstream::{DurableConfig, Lag},
    metrics::{LAG_MESSAGES, LAG_SECONDS},
};
use metrics::gauge;

/// Transactions at once: half of those that the connections for requests have places for, so that a backlog in the stream leaves the other
/// half to requests.
const AT_ONCE: usize = 32;
/// Of what is put aside, read at a time.
const MOST_DUE: i64 = 256;
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Applies the messages of one consumer.
pub struct Subscriber<C> {
    pub consumer: Consumer<C>,
    /// What the handler works with.
    pub context: C,
    pub inbox: Inbox,
    /// A connection to the stream that is consumed, of the consumer's own: a message that breaks it breaks no other.
    pub jetstream: JetStream,
    pub timing: Timing,
    /// Whether a collector takes traces. Without one, no spans are made.
    pub is_traced: bool,
}

impl<C: Clone + Send + Sync + 'static> Subscriber<C> {
    /// Applies messages until `stop`; then finishes what it has begun. Any number of instances may do so at once.
    ///
    /// # Errors
    /// When a task of its own panicked.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        crate::metrics::begin_consumer(self.consumer.name);
        let timing = self.timing;
        let (consumer, stream) = (self.consumer.name, self.jetstream.clone());
        let config = DurableConfig::new(&stream, consumer, self.consumer.noun(), timing.inbox);
        let in_hand = InHand::new(&stream);
        let (opened, is_open) = watch::channel(true);
        let (fed, messages) = mpsc::unbounded_channel();
        let feed = Feed {
            consumer,
            jetstream: stream.clone(),
            config: config.clone(),
            inbox: self.inbox.clone(),
            in_hand: Arc::clone(&in_hand),
            is_open,
            timing,
            fed,
        };
        let feed = AbortOnDropHandle::new(tokio::spawn(feed.run()));
        let lag = AbortOnDropHandle::new(tokio::spawn(watch_lag(stream, config, consumer, timing)));
        let worker = Worker {
            jetstream: self.jetstream,
            tallies: Tallies {
                consumer,
                is_traced: self.is_traced,
            },
            applier: Applier {
                consumer: self.consumer,
                context: self.context,
                inbox: self.inbox,
                limit: timing.inbox.handler_limit,
                write_limit: timing.inbox.write_limit,
            },
            timing,
            stop: stop.clone(),
        };
        let mut applying = Applying::new(Arc::new(worker), in_hand, opened);
        applying.run(messages, (feed, lag)).await
    }
}

/// A lane with something in hand.
#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    is_under_way: bool,
    /// How often its first message has failed although the database answers.
    failures: u32,
}

type Turns = FuturesUnordered<BoxFuture<'static, Ended>>;

struct Applying<C> {
    worker: Arc<Worker<C>>,
    in_hand: Arc<InHand>,
    opened: watch::Sender<bool>,
    lanes: HashMap<Lane, Waiting>,
    /// Lanes that can be begun, in the order in which they became so.
    ready: VecDeque<Lane>,
    /// Lanes that have failed, perhaps through the database.
    undecided: Vec<Lane>,
    database: Database,
    turns: Turns,
    looks: Option<JoinHandle<mongodb::error::Result<Vec<Due>>>>,
    look_at: Instant,
    sweep_at: Instant,
}

/// Returns what was found, where it is looked for.
async fn found(looks: &mut Option<JoinHandle<mongodb::error::Result<Vec<Due>>>>) -> Vec<Due> {
    let Some(look) = looks else {
        return std::future::pending().await;
    };
    let found = look.await;
    *looks = None;
    // The next look may find more.
    found.ok().and_then(Result::ok).unwrap_or_default()
}

impl<C: Clone + Send + Sync + 'static> Applying<C> {
    fn new(worker: Arc<Worker<C>>, in_hand: Arc<InHand>, opened: watch::Sender<bool>) -> Self {
        let (db, now) = (&worker.applier.inbox.db, Instant::now());
        Self {
            database: Database::new(db, worker.timing),
            worker,
            in_hand,
            opened,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            undecided: Vec::new(),
            turns: FuturesUnordered::new(),
            looks: None,
            look_at: now,
            // What an instance left behind that died is found at once.
            sweep_at: now,
        }
    }

    async fn run(
        &mut self,
        mut messages: mpsc::UnboundedReceiver<Fed>,
        (mut feed, mut lag): (AbortOnDropHandle<()>, AbortOnDropHandle<()>),
    ) -> anyhow::Result<()> {
        let mut progress = interval(self.worker.timing.inbox.progress);
        let stop = self.worker.stop.clone();
        loop {
            self.begin_turns();
            let due = self.next_due();
            tokio::select! {
                biased;
                Some(ended) = self.turns.next() => self.ended(ended),
                _ = progress.tick() => self.in_hand.sign_progress(),
                () = stop.cancelled() => break,
                answers = self.database.answer() => self.decided(answers),
                due = found(&mut self.looks) => self.found(due),
                Some(fed) = messages.recv() => self.add(fed),
                () = sleep_until(due) => self.look(Instant::now()),
                ended = &mut feed => return Ok(ended?),
                ended = &mut lag => return Ok(ended?),
            }
        }
        drop(feed);
        self.finish(&mut progress).await;
        Ok(())
    }

    /// What is under way is finished; the rest goes back to the stream.
    async fn finish(&mut self, progress: &mut tokio::time::Interval) {
        let lanes = std::mem::take(&mut self.lanes);
        let give_back = |items: VecDeque<Item>| items.into_iter().for_each(Item::give_back);
        lanes
            .into_values()
            .for_each(|waiting| give_back(waiting.items));
        loop {
            tokio::select! {
                ended = self.turns.next() => match ended {
                    Some(ended) => give_back(ended.left),
                    None => break,
                },
                _ = progress.tick() => self.in_hand.sign_progress(),
            }
        }
        drop(timeout(FLUSH_LIMIT, self.worker.jetstream.flush()).await);
    }

    fn add(&mut self, Fed { message, held }: Fed) {
        let (prefix, stream) = (
            self.worker.jetstream.prefix(),
            self.worker.jetstream.stream_name(),
        );
        let (lane, item) = match Envelope::of(&message, prefix, stream) {
            Ok(envelope) => {
                let lane = Lane::Key(envelope.key.clone());
                let job = Arc::new(Job {
                    envelope,
                    message,
                    aside: None,
                    is_base: false,
                });
                (
                    lane,
                    Item::Delivered {
                        job,
                        held,
                        at: std::time::Instant::now(),
                    },
                )
            }
            Err(reason) => {
                let lane = Lane::Alone(message.sequence);
                (
                    lane,
                    Item::Unplaced {
                        message,
                        held,
                        reason,
                    },
                )
            }
        };
        self.put(lane, item);
    }

    fn put(&mut self, lane: Lane, item: Item) {
        let waiting = self.lanes.entry(lane.clone()).or_default();
        let is_new = waiting.items.is_empty() && !waiting.is_under_way;
        waiting.items.push_back(item);
        if is_new {
            self.ready.push_back(lane);
        }
    }

    fn begin_turns(&mut self) {
        while !self.database.is_in_doubt()
            && self.turns.len() < AT_ONCE
            && let Some(lane) = self.ready.pop_front()
        {
            let Some(waiting) = self.lanes.get_mut(&lane) else {
                continue;
            };
            waiting.is_under_way = true;
            let (items, failures) = (std::mem::take(&mut waiting.items), waiting.failures);
            let turn = Arc::clone(&self.worker).turn(lane, items, failures);
            self.turns.push(Box::pin(turn));
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended {
            lane,
            left,
            failed,
            due,
        } = ended;
        if let Some(due) = due {
            self.look_at = self.look_at.min(Instant::now() + due);
        }
        let Some(waiting) = self.lanes.get_mut(&lane) else {
            return;
        };
        waiting.is_under_way = false;
        let behind = std::mem::replace(&mut waiting.items, left);
        waiting.items.extend(behind);
        waiting.failures = if failed.is_some() {
            waiting.failures
        } else {
            0
        };
        match failed {
            Some(Failed::Unclear) => {
                self.undecided.push(lane);
                self.database.failed();
            }
            Some(Failed::Keys) => {
                waiting.failures += 1;
                self.ready.push_back(lane);
            }
            None if waiting.items.is_empty() => drop(self.lanes.remove(&lane)),
            None => self.ready.push_back(lane),
        }
        self.opened.send_if_modified(|is_open| {
            std::mem::replace(is_open, !self.database.is_in_doubt()) != *is_open
        });
    }

    /// Where the database answers, those that failed did so by themselves.
    fn decided(&mut self, answers: bool) {
        self.opened
            .send_if_modified(|is_open| std::mem::replace(is_open, answers) != answers);
        if !answers {
            return;
        }
        for lane in std::mem::take(&mut self.undecided) {
            if let Some(waiting) = self.lanes.get_mut(&lane) {
                waiting.failures += 1;
                self.ready.push_back(lane);
            }
        }
    }

    /// When there is something to look for.
    fn next_due(&self) -> Instant {
        let look =
            Some(self.look_at).filter(|_| self.looks.is_none() && !self.database.is_in_doubt());
        let question = self.database.next_question();
        let far = Instant::now() + self.worker.timing.inbox.sweep;
        look.into_iter().chain(question).min().unwrap_or(far)
    }

    fn look(&mut self, now: Instant) {
        self.database.ask_again(now);
        if self.looks.is_some() || self.look_at > now || self.database.is_in_doubt() {
            return;
        }
        let timing = self.worker.timing.inbox;
        self.look_at = now + timing.look;
        let (inbox, name) = (
            self.worker.applier.inbox.clone(),
            self.worker.applier.consumer.name,
        );
        let sweeps = self.sweep_at <= now;
        if sweeps {
            self.sweep_at = now + timing.sweep;
        }
        self.looks = Some(tokio::spawn(async move {
            let db = inbox.db.clone();
            let look = async move {
                let mut due = inbox.clone().due(name, MOST_DUE).await?;
                if sweeps {
                    due.extend(inbox.stuck(name, MOST_DUE).await?);
                }
                Ok(due)
            };
            db.bounded(timing.write_limit, look).await
        }));
    }

    fn found(&mut self, due: Vec<Due>) {
        // A time that lies further ahead than any pause is none: a primary's clock was wrong.
        let longest = self.worker.timing.inbox.longest_again * 2;
        for Due {
            key,
            version,
            after,
        } in due
        {
            if !after.is_zero() && after <= longest {
                self.look_at = self.look_at.min(Instant::now() + after);
                continue;
            }
            let lane = Lane::Key(key);
            let is_in_hand = self.lanes.contains_key(&lane);
            if !is_in_hand {
                self.put(lane, Item::Aside(version));
            }
        }
    }
}

/// Asks how far the consumer is behind, for ever.
async fn watch_lag(
    jetstream: JetStream,
    config: DurableConfig,
    consumer: &'static str,
    timing: Timing,
) {
    let messages = gauge!(LAG_MESSAGES, "consumer" => consumer);
    let seconds = gauge!(LAG_SECONDS, "consumer" => consumer);
    let mut again = interval(timing.inbox.lag);
    loop {
        again.tick().await;
        let lag = jetstream.lag(&config).await;
        let lag = lag
            .inspect_err(
                |error| tracing::debug!(%error, "cannot ask how far the consumer is behind"),
            )
            .ok();
        messages.set(lag.map_or(f64::NAN, |Lag { messages, .. }| messages as f64));
        seconds.set(lag.map_or(f64::NAN, |Lag { age, .. }| age.as_secs_f64()));
    }
}
