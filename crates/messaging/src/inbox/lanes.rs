//! What is in hand and waits for its turn: by key, and no more of a key in one turn than leaves room for all others.

use std::collections::{HashMap, VecDeque};

use tokio::time::{Duration, Instant};

use super::item::{Item, Lane};

/// A turn takes so many messages of a key, and so many bytes and one message more. Where all turns hang, half of the messages that may be
/// in hand, and a sixth of their bytes, are free for others.
const MOST_IN_TURN: usize = 8;
const MOST_BYTES_IN_TURN: usize = 256 * 1024;
/// A turn that takes longer is not waited for by what comes behind it.
const SLOW: Duration = Duration::from_secs(1);

/// A lane with something in hand.
#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// When its turn began that is under way.
    began: Option<Instant>,
    failed: Option<Failure>,
    /// All of it is being put aside: the more at once, the better.
    goes_aside: bool,
}

/// How often a message has failed although the database answered.
#[derive(Clone, Copy)]
struct Failure {
    version: i64,
    times: u32,
}

/// What is next.
pub(super) struct Turn {
    pub(super) lane: Lane,
    pub(super) items: VecDeque<Item>,
    /// Of the first of them.
    pub(super) failures: u32,
}

#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<Lane, Waiting>,
    /// Lanes that can be begun, in the order in which they became so.
    ready: VecDeque<Lane>,
    /// Lanes whose first message has failed, perhaps through the database; and those that it surely failed through.
    undecided: Vec<Lane>,
    interrupted: Vec<Lane>,
}

impl Lanes {
    pub(super) fn contains(&self, lane: &Lane) -> bool {
        self.lanes.contains_key(lane)
    }

    pub(super) fn put(&mut self, lane: Lane, item: Item) {
        let waiting = self.lanes.entry(lane.clone()).or_default();
        let is_new = waiting.items.is_empty() && waiting.began.is_none();
        waiting.items.push_back(item);
        if is_new {
            self.ready.push_back(lane);
        }
    }

    /// The next turn, which is under way from now on.
    pub(super) fn begin(&mut self) -> Option<Turn> {
        loop {
            let lane = self.ready.pop_front()?;
            let Some(waiting) = self.lanes.get_mut(&lane) else {
                continue;
            };
            waiting.began = Some(Instant::now());
            // By version; of the same, in the order of their coming.
            waiting.items.make_contiguous().sort_by_key(Item::version);
            let take = if waiting.goes_aside {
                waiting.items.len()
            } else {
                first(&waiting.items)
            };
            let first = waiting.items.front().map(Item::version);
            let failed = waiting.failed.filter(|it| Some(it.version) == first);
            return Some(Turn {
                lane,
                items: waiting.items.drain(..take).collect(),
                failures: failed.map_or(0, |failed| failed.times),
            });
        }
    }

    /// A turn has ended, and has left this.
    pub(super) fn ended(&mut self, lane: &Lane, left: VecDeque<Item>, goes_aside: bool) {
        let Some(waiting) = self.lanes.get_mut(lane) else {
            return;
        };
        waiting.began = None;
        waiting.goes_aside = goes_aside;
        let behind = std::mem::replace(&mut waiting.items, left);
        waiting.items.extend(behind);
    }

    /// It can go on, where there is anything left of it.
    pub(super) fn goes_on(&mut self, lane: Lane) {
        if let Some(waiting) = self.lanes.get_mut(&lane) {
            waiting.failed = None;
            if waiting.items.is_empty() {
                self.lanes.remove(&lane);
            } else {
                self.ready.push_back(lane);
            }
        }
    }

    /// Its first message is tried again, after a pause that grows.
    pub(super) fn has_failed(&mut self, lane: Lane) {
        let Some(waiting) = self.lanes.get_mut(&lane) else {
            return;
        };
        if let Some(first) = waiting.items.front() {
            let version = first.version();
            let failed = waiting.failed.filter(|it| it.version == version);
            let times = failed.map_or(0, |failed| failed.times) + 1;
            waiting.failed = Some(Failure { version, times });
        }
        self.ready.push_back(lane);
    }

    /// It has failed, and the database is asked whether that is why.
    pub(super) fn is_undecided(&mut self, lane: Lane) {
        self.undecided.push(lane);
    }

    /// The database has answered, or has not.
    pub(super) fn decided(&mut self, answers: bool) {
        let undecided = std::mem::take(&mut self.undecided);
        if !answers {
            self.interrupted.extend(undecided);
            return;
        }
        for lane in undecided {
            self.has_failed(lane);
        }
        self.ready.append(&mut self.interrupted.drain(..).collect());
    }

    /// The messages behind a turn that does not end, where there are so many.
    pub(super) fn take_overflow(&mut self, lane: &Lane, least: usize) -> Option<Vec<Item>> {
        let waiting = self.lanes.get_mut(lane)?;
        let is_slow = waiting.began.is_some_and(|began| began.elapsed() >= SLOW);
        let is_delivered = |item: &Item| matches!(item, Item::Delivered { .. });
        if !is_slow || waiting.items.iter().filter(|it| is_delivered(it)).count() < least {
            return None;
        }
        let items = std::mem::take(&mut waiting.items);
        let (delivered, others): (Vec<_>, Vec<_>) = items.into_iter().partition(is_delivered);
        waiting.items = others.into();
        Some(delivered)
    }

    pub(super) fn all(&self) -> Vec<Lane> {
        self.lanes.keys().cloned().collect()
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Item> + use<> {
        self.ready.clear();
        let lanes = std::mem::take(&mut self.lanes);
        lanes.into_values().flat_map(|waiting| waiting.items)
    }
}

/// How many of them one turn takes.
fn first(items: &VecDeque<Item>) -> usize {
    let mut bytes = 0;
    let fit = items.iter().take(MOST_IN_TURN).take_while(|item| {
        let is_room = bytes < MOST_BYTES_IN_TURN;
        bytes += item.size();
        is_room
    });
    fit.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        Lane::Key("a".to_owned())
    }

    /// With these versions in hand.
    fn lanes(versions: &[i64]) -> Lanes {
        let mut lanes = Lanes::default();
        for version in versions {
            lanes.put(lane(), Item::Aside(*version));
        }
        lanes
    }

    /// Begins a turn, which leaves the last so many.
    fn turn(lanes: &mut Lanes, left: usize) -> u32 {
        let Turn {
            mut items,
            failures,
            ..
        } = lanes.begin().unwrap();
        let done = items.len() - left;
        lanes.ended(&lane(), items.split_off(done), false);
        failures
    }

    #[test]
    fn a_failure_counts_for_the_message_that_failed_and_for_no_other() {
        let mut lanes = lanes(&[2, 1]);
        assert_eq!(turn(&mut lanes, 2), 0);
        lanes.has_failed(lane());
        assert_eq!(turn(&mut lanes, 2), 1);
        lanes.has_failed(lane());
        // The first is applied, and the second fails.
        assert_eq!(turn(&mut lanes, 1), 2);
        lanes.has_failed(lane());
        // One that comes before it has not failed yet.
        lanes.put(lane(), Item::Aside(0));
        assert_eq!(turn(&mut lanes, 1), 0);
        lanes.goes_on(lane());
        assert_eq!(turn(&mut lanes, 0), 0);
        lanes.goes_on(lane());
        assert!(lanes.begin().is_none());
    }

    #[test]
    fn what_fails_while_the_database_is_away_does_not_count() {
        let mut lanes = lanes(&[0]);
        for _ in 0..3 {
            assert_eq!(turn(&mut lanes, 1), 0);
            lanes.is_undecided(lane());
            lanes.decided(false);
            lanes.decided(true);
        }
        assert_eq!(turn(&mut lanes, 1), 0);
        lanes.is_undecided(lane());
        lanes.decided(true);
        assert_eq!(turn(&mut lanes, 0), 1);
    }

    #[test]
    fn a_turn_takes_a_few_and_all_where_they_go_aside() {
        let versions: Vec<i64> = (0..30).collect();
        let mut lanes = lanes(&versions);
        let took = lanes.begin().unwrap().items.len();
        assert_eq!(took, MOST_IN_TURN);
        lanes.ended(&lane(), VecDeque::new(), true);
        lanes.goes_on(lane());
        assert_eq!(lanes.begin().unwrap().items.len(), 30 - took);
    }
}
