//! Which operation does what: made from the seed and its number alone, but for the state of the document that it is about.

use fastrand::Rng;

use super::{Created, Known};
use crate::domain::{self, Write};

/// The first documents get most of the changes.
const HOT_DOCUMENTS: usize = 10;

pub(super) enum Operation {
    Write {
        write: Write,
        /// The operation that creates the document.
        of: u64,
    },
    Get {
        key: String,
        /// For `If-None-Match`.
        version: Option<i64>,
    },
    List,
}

pub(super) struct Operations {
    seed: u64,
    /// Numbers of those that create a document.
    creations: Vec<u64>,
}

impl Operations {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            creations: Vec::new(),
        }
    }

    /// The next operation, and what it draws its lots from.
    pub(super) fn next(&mut self, number: u64, known: &Known) -> (Operation, Rng) {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let (dice, user) = (rng.u8(..100), rng.usize(..domain::USERS));
        let create = |keyless| {
            let write = domain::creation(number, user);
            let write = if keyless { write.keyless() } else { write };
            Operation::Write { write, of: number }
        };
        let about = self.document(&mut rng);
        let known = known.lock().expect("no panic while it is held");
        // The document of that operation, or of the last before it that is known to have made one.
        let document = about.and_then(|about| known.range(..=about).next_back());
        let operation = match (dice, document) {
            (0..23, _) | (_, None) => create(false),
            (23..28, _) => create(true),
            (28..30, _) => Operation::List,
            (dice, Some((of, document))) => on(document, *of, number, dice, &mut rng),
        };
        if matches!(&operation, Operation::Write { of, .. } if *of == number) {
            self.creations.push(number);
        }
        (operation, rng)
    }

    /// The operation that creates the document which the next one is about.
    fn document(&self, rng: &mut Rng) -> Option<u64> {
        let all = self.creations.len();
        let most = if rng.bool() {
            HOT_DOCUMENTS.min(all)
        } else {
            all
        };
        let which = rng.usize(..most.max(1));
        self.creations.get(which).copied()
    }
}

/// An operation on a document.
fn on(document: &Created, of: u64, number: u64, dice: u8, rng: &mut Rng) -> Operation {
    let Created {
        key,
        owner,
        version,
        says,
    } = document;
    let change = || domain::change(number, key, *owner);
    let write = match dice {
        ..40 => {
            let version = rng.bool().then_some(*version);
            let key = key.clone();
            return Operation::Get { key, version };
        }
        40..48 => change().if_match(*version),
        48..54 => domain::no_change(number, key, *owner, says),
        54..60 => change().twice(),
        60..66 => {
            let refused = domain::refused_changes(number, key, *owner);
            let which = rng.usize(..refused.len());
            let mut refused = refused.into_iter().skip(which);
            refused.next().expect("it is one of them")
        }
        _ => change(),
    };
    Operation::Write { write, of }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first operations of a seed are, where each creation succeeds at once.
    fn of(seed: u64) -> Vec<String> {
        let (mut operations, known) = (Operations::new(seed), Known::default());
        let name = |number: u64| {
            let (operation, mut rng) = operations.next(number, &known);
            let lot = rng.u32(..);
            match operation {
                Operation::Write { write, of } => {
                    let created = || Created {
                        key: format!("k{of}"),
                        owner: write.user,
                        version: 0,
                        says: write.body.clone(),
                    };
                    known
                        .lock()
                        .expect("it is free")
                        .entry(of)
                        .or_insert_with(created);
                    format!("{} {} {} {lot}", write.method, write.path, write.body)
                }
                Operation::Get { key, version } => format!("GET {key} {version:?} {lot}"),
                Operation::List => format!("GET {lot}"),
            }
        };
        (1..200).map(name).collect()
    }

    #[test]
    fn a_seed_makes_the_same_operations() {
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
