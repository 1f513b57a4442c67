//! One loop, in which the turns of many keys go on side by side, each key in its order.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    apply::Job,
    database::Database,
    dead_letters::Due,
    envelope::Envelope,
    feed::Fed,
    in_hand::InHand,
    item::{Item, Lane},
    looks::Looks,
    turn::{Ended, Failed, Worker},
};

/// Transactions at once: half of those that the connections for requests have places for, so that a backlog in the stream leaves the other
/// half to requests.
const AT_ONCE: usize = 32;
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A lane with something in hand.
#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    is_under_way: bool,
    /// How often its first message has failed although the database answers.
    failures: u32,
}

type Turns = FuturesUnordered<BoxFuture<'static, Ended>>;

pub(super) struct Applying<C> {
    worker: Arc<Worker<C>>,
    in_hand: Arc<InHand>,
    /// Opens and closes the feed, which ends when it is dropped.
    opened: Option<watch::Sender<bool>>,
    lanes: HashMap<Lane, Waiting>,
    /// Lanes that can be begun, in the order in which they became so.
    ready: VecDeque<Lane>,
    /// Lanes that have failed, perhaps through the database.
    undecided: Vec<Lane>,
    database: Database,
    turns: Turns,
    looks: Looks,
}

impl<C: Clone + Send + Sync + 'static> Applying<C> {
    pub(super) fn new(
        worker: Arc<Worker<C>>,
        in_hand: Arc<InHand>,
        opened: watch::Sender<bool>,
    ) -> Self {
        let (inbox, name) = (&worker.applier.inbox, worker.applier.consumer.name);
        Self {
            database: Database::new(&inbox.db, worker.timing),
            looks: Looks::new(inbox, name, worker.timing.inbox),
            worker,
            in_hand,
            opened: Some(opened),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            undecided: Vec::new(),
            turns: FuturesUnordered::new(),
        }
    }

    /// Until a stop is asked for.
    pub(super) async fn run(
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
                due = self.looks.found() => self.found(due),
                Some(fed) = messages.recv() => self.add(fed),
                () = sleep_until(due) => self.look(),
                ended = &mut feed => return Ok(ended?),
                ended = &mut lag => return Ok(ended?),
            }
        }
        self.opened = None;
        // What is given back would come again.
        drop(timeout(CLOSE_LIMIT, &mut feed).await);
        messages.close();
        while let Some(Fed { held, .. }) = messages.recv().await {
            held.give_back();
        }
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
            self.looks.is_due(Instant::now() + due);
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
        self.open(!self.database.is_in_doubt());
    }

    /// Whether more is to be pulled.
    fn open(&self, opens: bool) {
        if let Some(opened) = &self.opened {
            opened.send_if_modified(|is_open| std::mem::replace(is_open, opens) != opens);
        }
    }

    /// Where the database answers, those that failed did so by themselves.
    fn decided(&mut self, answers: bool) {
        self.open(answers);
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
        let look = self.looks.next().filter(|_| !self.database.is_in_doubt());
        let due = look.into_iter().chain(self.database.next_question());
        let far = Instant::now() + self.worker.timing.inbox.sweep;
        due.min().unwrap_or(far)
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.database.ask_again(now);
        if !self.database.is_in_doubt() {
            self.looks.begin(now);
        }
    }

    fn found(&mut self, due: Vec<Due>) {
        for Due { key, version, .. } in due {
            let lane = Lane::Key(key);
            let is_in_hand = self.lanes.contains_key(&lane);
            if !is_in_hand {
                self.put(lane, Item::Aside(version));
            }
        }
    }
}
