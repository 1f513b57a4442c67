//! What a run must have done to prove anything: enough writes, faults that had an effect, messages under load. A run below
//! one of these floors fails, whatever the checker found: where nothing happens, no promise is broken.

mod placed;

use std::{collections::HashSet, fmt};

use serde::Serialize;

use crate::{
    availability::Windows,
    history::{Attempt, Intent, Message, Observed, Outcome},
    inject::Injected,
};

/// Of the writes that a run of this rate and length begins.
const ACCEPTED_SHARE: f64 = 1.0 / 3.0;
/// Of the faults that were scheduled.
const EFFECTIVE_SHARE: f64 = 0.75;
/// Of the accepted writes.
const PUBLISHED_SHARE: f64 = 0.25;
/// Of the writes that a run begins. Of a hundred, about six must be refused.
const JUDGED_REFUSALS_SHARE: f64 = 0.01;
/// Of the operations of a run, so many are of each kind of write, of about five or more in a hundred.
const EACH_INTENT_SHARE: f64 = 0.01;
/// Of the operations of a run, about twelve in a hundred are reads.
const READS_SHARE: f64 = 0.05;
/// Of the operations of a run, about four in a hundred tell of orders.
const ORDERS_SHARE: f64 = 0.01;
/// Of all writes.
const UNCLEAR_SHARE: f64 = 0.05;
/// So many seconds' worth of writes happen while only NATS is at fault.
const NATS_ONLY_SECONDS: usize = 3;
/// A write does not wait for NATS: of those while only NATS is at fault, hardly one takes longer.
const PROMPT_MS: u64 = 2_000;
const LATE_SHARE: f64 = 0.01;

/// What a run is to do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Aim {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Operations that are begun in a second; six of seven are writes.
    pub(crate) rate: u32,
    /// How many faults are scheduled.
    pub(crate) faults: usize,
    /// Whether faults of NATS are among those to choose from.
    pub(crate) includes_nats: bool,
}

impl Aim {
    pub(crate) fn operations(&self) -> u64 {
        u64::from(self.rate) * self.seconds
    }
}

/// Something that was counted, and how much of it there must be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Floor {
    pub(crate) what: &'static str,
    pub(crate) seen: usize,
    /// Out of how many.
    pub(crate) of: usize,
    pub(crate) needed: Needed,
    pub(crate) holds: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Needed {
    AtLeast(usize),
    AtMost(usize),
}

impl Floor {
    fn at_least(least: usize, what: &'static str, seen: usize, of: usize) -> Self {
        Self {
            what,
            seen,
            of,
            needed: Needed::AtLeast(least),
            holds: seen >= least,
        }
    }

    fn at_most(most: usize, what: &'static str, seen: usize, of: usize) -> Self {
        Self {
            what,
            seen,
            of,
            needed: Needed::AtMost(most),
            holds: seen <= most,
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, seen, of, .. } = self;
        match self.needed {
            Needed::AtLeast(least) => {
                write!(f, "{what}: {seen} of {of}, and at least {least} are needed")
            }
            Needed::AtMost(most) => {
                write!(f, "{what}: {seen} of {of}, and at most {most} are allowed")
            }
        }
    }
}

/// Every floor of a run, those that hold and those that do not.
pub(crate) fn floors(aim: &Aim, observed: &Observed, faults: &[Injected]) -> Vec<Floor> {
    let attempts = &observed.all_attempts();
    let accepted = count(attempts, |attempt| {
        matches!(attempt.outcome, Outcome::Accepted { .. })
    });
    let unclear = count(attempts, |attempt| !attempt.is_clear());
    let must_be_refused = count(attempts, Attempt::must_be_refused);
    let judged = count(attempts, |attempt| {
        attempt.must_be_refused() && attempt.is_clear()
    });
    let took_effect = count(faults, Injected::took_effect);
    let under_load = published_under_load(aim, observed);
    let rate = aim.rate as usize;
    let writes = rate * aim.seconds as usize;
    let mut floors = vec![
        Floor::at_least(
            least(ACCEPTED_SHARE, writes),
            "accepted writes",
            accepted,
            writes,
        ),
        Floor::at_most(
            most(UNCLEAR_SHARE, attempts.len()),
            "writes without a clear answer",
            unclear,
            attempts.len(),
        ),
        Floor::at_least(
            least(JUDGED_REFUSALS_SHARE, writes),
            "refusals that were judged",
            judged,
            must_be_refused,
        ),
        Floor::at_least(
            least(EFFECTIVE_SHARE, aim.faults),
            "faults that took effect",
            took_effect,
            aim.faults,
        ),
        Floor::at_least(
            least(PUBLISHED_SHARE, accepted),
            "events published under load",
            under_load,
            accepted,
        ),
    ];
    // Where orders are placed, they take two of three operations.
    let of_documents = if observed.sibling.is_some() {
        writes / 3
    } else {
        writes
    };
    floors.extend(of_each_intent(attempts, of_documents));
    floors.extend(of_all_else(observed, writes));
    if let Some(sibling) = &observed.sibling {
        floors.extend(placed::floors(observed, sibling, writes));
    }
    if aim.includes_nats {
        floors.extend(while_only_nats_was_at_fault(rate, attempts, faults));
    }
    floors
}

/// Events that were published before the load ended; the stream may have lost some of them since.
fn published_under_load(aim: &Aim, observed: &Observed) -> usize {
    let is_early = |stored_ms: u64| stored_ms < aim.seconds * 1000;
    let seen = observed.seen.iter().filter(|it| is_early(it.stored_ms));
    let held = observed.messages.iter().filter(|it| is_early(it.stored_ms));
    let ids = seen.filter_map(|it| it.id.as_deref());
    let ids: HashSet<&str> = ids.chain(held.filter_map(Message::message_id)).collect();
    ids.len()
}

/// What was looked at beside the writes.
fn of_all_else(observed: &Observed, writes: usize) -> [Floor; 3] {
    let messages = observed.messages.len();
    let reads = observed.reads.len();
    let orders = observed.orders.events.len();
    [
        Floor::at_least(
            messages,
            "messages that a consumer saw while all went on",
            observed.seen.len(),
            messages,
        ),
        Floor::at_least(
            least(READS_SHARE, writes),
            "reads that were judged",
            reads,
            writes,
        ),
        Floor::at_least(
            least(ORDERS_SHARE, writes),
            "events of orders",
            orders,
            writes,
        ),
    ]
}

/// Each kind of write that was accepted: where none is, nothing was shown of it.
fn of_each_intent(attempts: &[Attempt], writes: usize) -> Vec<Floor> {
    let kinds = [
        (
            Intent::IfMatch,
            "accepted changes of the version that If-Match names",
        ),
        (Intent::NoChange, "accepted changes that change nothing"),
        (Intent::Keyless, "accepted writes without a key"),
        (
            Intent::Twice,
            "accepted writes that were sent twice at once",
        ),
    ];
    let floor = |(intent, what)| {
        let of_kind = |attempt: &&Attempt| attempt.intent == intent;
        let all: Vec<&Attempt> = attempts.iter().filter(of_kind).collect();
        let is_accepted = |attempt: &&&Attempt| matches!(attempt.outcome, Outcome::Accepted { .. });
        let accepted = all.iter().filter(is_accepted).count();
        Floor::at_least(least(EACH_INTENT_SHARE, writes), what, accepted, all.len())
    };
    kinds.into_iter().map(floor).collect()
}

/// There are some, they succeed at once, and they do not wait.
fn while_only_nats_was_at_fault(
    rate: usize,
    attempts: &[Attempt],
    faults: &[Injected],
) -> [Floor; 3] {
    let meanwhile = Windows::new(faults).only_nats_at_fault(attempts);
    let failed = count(&meanwhile, |attempt| {
        let at_once = if attempt.intent == Intent::Twice {
            2
        } else {
            1
        };
        attempt.tries > at_once || !attempt.is_answered_rightly()
    });
    let late = count(&meanwhile, |attempt| attempt.took_ms() > PROMPT_MS);
    let all = meanwhile.len();
    [
        Floor::at_least(
            NATS_ONLY_SECONDS * rate,
            "writes while only NATS was at fault",
            all,
            attempts.len(),
        ),
        Floor::at_most(
            0,
            "writes that failed or were sent twice while only NATS was at fault",
            failed,
            all,
        ),
        Floor::at_most(
            most(LATE_SHARE, all),
            "writes that took longer than 2 s while only NATS was at fault",
            late,
            all,
        ),
    ]
}

fn least(share: f64, of: usize) -> usize {
    ((of as f64 * share).ceil() as usize).max(1)
}

fn most(share: f64, of: usize) -> usize {
    (of as f64 * share) as usize
}

fn count<T>(of: &[T], is_counted: impl Fn(&T) -> bool) -> usize {
    of.iter().filter(|one| is_counted(one)).count()
}

#[cfg(test)]
mod tests;
