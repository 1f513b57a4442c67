//! Which operation does what: made from the seed and its number alone, but for the state of the document that it is about.

use std::{collections::VecDeque, sync::Arc};

use fastrand::Rng;

use super::{
    Created, Known,
    placing::{self, Placing},
};
use crate::{
    client::Asked,
    domain::{self, Write},
    orders::Told,
};

/// The first documents get most of the changes.
const HOT_DOCUMENTS: usize = 10;
/// More are not open at a time: what they hold can't be changed.
const OPEN_ORDERS: usize = 6;

pub(super) enum Operation {
    Write {
        write: Write,
        /// The operation that creates the document.
        of: u64,
    },
    Get(Asked),
    List,
    /// What another service tells.
    Order(Told),
    /// At another service.
    Place {
        write: Write,
        /// The operation that places the order.
        of: u64,
    },
}

pub(super) struct Operations {
    seed: u64,
    /// Numbers of those that create a document.
    creations: Vec<u64>,
    /// Orders that were not cancelled yet, with their documents.
    open: VecDeque<(String, String)>,
    /// Where there is a service that takes orders.
    placing: Option<Placing>,
}

impl Operations {
    pub(super) fn new(seed: u64, are_placed: bool) -> Self {
        Self {
            seed,
            creations: Vec::new(),
            open: VecDeque::new(),
            placing: are_placed.then(Placing::default),
        }
    }

    /// The orders that are known at the other service.
    pub(super) fn placed(&self) -> Known {
        let placing = self.placing.as_ref();
        placing.map_or_else(Known::default, |placing| Arc::clone(&placing.active))
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
        if let (Some(placing), Some((_, document))) = (&self.placing, document)
            && rng.u8(..100) < placing::SHARE
        {
            // Mostly of any: who holds a hot one keeps all changes of it away.
            let any = self.creations[rng.usize(..self.creations.len())];
            let any = known.range(..=any).next_back();
            let is_hot = rng.u8(..4) == 0;
            let (_, any) = any.filter(|_| !is_hot).unwrap_or((&0, document));
            let operation = placing.next(number, &any.key, &mut rng);
            return (operation, rng);
        }
        let operation = match (dice, document) {
            (0..23, _) | (_, None) => create(false),
            (23..28, _) => create(true),
            (28..30, _) => Operation::List,
            (66..70, Some((_, document))) if self.placing.is_none() => {
                self.order(&document.key, &mut rng)
            }
            (dice, Some((of, document))) => on(document, *of, number, dice, &mut rng),
        };
        if matches!(&operation, Operation::Write { of, .. } if *of == number) {
            self.creations.push(number);
        }
        (operation, rng)
    }

    /// A new order of a document, or the end of the oldest: some documents have several at a time.
    fn order(&mut self, document: &str, rng: &mut Rng) -> Operation {
        let is_new = self.open.is_empty() || (self.open.len() < OPEN_ORDERS && rng.bool());
        let oldest = if is_new { None } else { self.open.pop_front() };
        let version = if oldest.is_some() { 1 } else { 0 };
        let (order, document) = oldest.unwrap_or_else(|| {
            let order = format!("{:024x}", rng.u128(..) >> 32);
            (order, document.to_owned())
        });
        if version == 0 {
            self.open.push_back((order.clone(), document.clone()));
        }
        Operation::Order(Told {
            trace: format!("{:032x}", rng.u128(1..)),
            order,
            version,
            document,
            is_told_again: rng.u8(..5) == 0,
        })
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
            return Operation::Get(Asked {
                path: domain::PATH,
                key: key.clone(),
                user: None,
                known: rng.bool().then_some(*version),
            });
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
    fn of(seed: u64, are_placed: bool) -> Vec<String> {
        let (mut operations, known) = (Operations::new(seed, are_placed), Known::default());
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
                Operation::Get(asked) => format!("GET {} {:?} {lot}", asked.key, asked.known),
                Operation::List => format!("GET {lot}"),
                Operation::Place { write, .. } => {
                    format!("{} {} {} {lot}", write.method, write.path, write.body)
                }
                Operation::Order(told) => format!("{} {} {lot}", told.order, told.version),
            }
        };
        (1..200).map(name).collect()
    }

    #[test]
    fn a_seed_makes_the_same_operations() {
        for are_placed in [false, true] {
            assert_eq!(of(1, are_placed), of(1, are_placed));
            assert_ne!(of(1, are_placed), of(2, are_placed));
        }
    }
}
