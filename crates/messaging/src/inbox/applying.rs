//! One loop, in which the turns of many keys go on side by side, each key in its order.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    apply::Job,
    consumer::Order,
    database::Database,
    dead_letters::Due,
    envelope::Envelope,
    feed::Fed,
    in_hand::InHand,
    item::{Item, Lane},
    lanes::Lanes,
    looks::Looks,
    overflow::Relieved,
    turn::{Ended, Failed, Worker},
};

/// Turns at once, where there are places for so many.
const AT_ONCE: usize = 32;
/// So many messages behind a slow turn are put aside before the next look at all of them.
const MOST_BEHIND: usize = 64;
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

type Turns = FuturesUnordered<BoxFuture<'static, Ended>>;

pub(super) struct Applying<C> {
    worker: Arc<Worker<C>>,
    in_hand: Arc<InHand>,
    /// Opens and closes the feed, which ends when it is dropped.
    opened: Option<watch::Sender<bool>>,
    lanes: Lanes,
    database: Database,
    turns: Turns,
    at_once: usize,
    /// What is being put aside behind slow turns.
    relief: FuturesUnordered<BoxFuture<'static, Relieved>>,
    looks: Looks,
}

impl<C: Clone + Send + Sync + 'static> Applying<C> {
    pub(super) fn new(
        worker: Arc<Worker<C>>,
        in_hand: Arc<InHand>,
        opened: watch::Sender<bool>,
        consumers: usize,
    ) -> Self {
        let (inbox, name) = (&worker.applier.inbox, worker.applier.consumer.name);
        // Half of the places, for all consumers together: a backlog in a stream, or handlers that hang, leave the other half to requests.
        let places = inbox.db.transactions_at_once() / 2 / consumers.max(1);
        Self {
            at_once: places.clamp(1, AT_ONCE),
            database: Database::new(&inbox.db, worker.timing),
            looks: Looks::new(
                inbox,
                (name, worker.applier.consumer.order),
                worker.timing.inbox,
            ),
            worker,
            in_hand,
            opened: Some(opened),
            lanes: Lanes::default(),
            turns: FuturesUnordered::new(),
            relief: FuturesUnordered::new(),
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
                // First: from now on a turn ends as soon as it begins, and another is always ready.
                () = stop.cancelled() => break,
                Some(ended) = self.turns.next() => self.ended(ended),
                Some(relieved) = self.relief.next() => self.relieved(relieved),
                _ = progress.tick() => self.tick(),
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
        self.lanes.take_all().for_each(Item::give_back);
        while !(self.turns.is_empty() && self.relief.is_empty()) {
            tokio::select! {
                Some(ended) = self.turns.next() => ended.left.into_iter().for_each(Item::give_back),
                Some(relieved) = self.relief.next() => {
                    relieved.items.into_iter().for_each(Item::give_back);
                }
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
                let consumer = &self.worker.applier.consumer;
                if consumer.order == Order::NewestOnly && !consumer.knows(&envelope.r#type) {
                    // It does not tell what its key is now: what comes before it is still to be applied.
                    self.worker.tallies.unknown_type();
                    return held.acknowledge();
                }
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
        self.lanes.put(lane.clone(), item);
        if !self.in_hand.has_room() {
            self.relieve(lane, MOST_BEHIND);
        }
    }

    fn tick(&mut self) {
        self.in_hand.sign_progress();
        if !self.in_hand.has_room() {
            for lane in self.lanes.all() {
                self.relieve(lane, 1);
            }
        }
    }

    /// Where nothing more can be pulled: what comes behind a slow turn makes room for others.
    fn relieve(&mut self, lane: Lane, least: usize) {
        if !self.database.is_in_doubt()
            && let Some(items) = self.lanes.take_overflow(&lane, least)
        {
            let relief = Arc::clone(&self.worker).relieve(lane, items);
            self.relief.push(Box::pin(relief));
        }
    }

    fn relieved(&mut self, relieved: Relieved) {
        for item in relieved.items {
            self.lanes.put(relieved.lane.clone(), item);
        }
        if relieved.has_failed {
            self.database.failed();
        }
    }

    fn begin_turns(&mut self) {
        while !self.database.is_in_doubt()
            && self.turns.len() < self.at_once
            && let Some(turn) = self.lanes.begin()
        {
            let turn = Arc::clone(&self.worker).turn(turn.lane, turn.items, turn.failures);
            self.turns.push(Box::pin(turn));
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended {
            lane,
            left,
            failed,
            due,
            goes_aside,
        } = ended;
        if let Some(due) = due {
            self.looks.is_due(Instant::now() + due);
        }
        self.lanes.ended(&lane, left, goes_aside);
        match failed {
            Some(Failed::Unclear) => {
                self.lanes.is_undecided(lane);
                if self.database.is_away() {
                    self.lanes.decided(false);
                }
                self.database.failed();
            }
            Some(Failed::Keys) => self.lanes.has_failed(lane),
            None => self.lanes.goes_on(lane),
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
        self.lanes.decided(answers);
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
            if !self.lanes.contains(&lane) {
                self.lanes.put(lane, Item::Aside(version));
            }
        }
    }
}
