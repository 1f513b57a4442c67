//! Orders that clients place and cancel, where there is a service that takes them.

use fastrand::Rng;

use super::{Known, operation::Operation};
use crate::{
    client::Asked,
    domain::{USERS, orders},
};

/// Of a hundred operations.
pub(super) const SHARE: u8 = 65;
/// Clients have no more active orders at a time: what they hold can't be changed.
const MOST_ACTIVE: usize = 40;

/// The active orders that are known, by the number of the operation that placed them.
#[derive(Default)]
pub(super) struct Placing {
    pub(super) active: Known,
}

impl Placing {
    /// An order of the document, or the cancellation of the newest or of the oldest: most are active for a while, some for a moment. Others
    /// are read.
    pub(super) fn next(&self, number: u64, document: &str, rng: &mut Rng) -> Operation {
        let mut active = self.active.lock().expect("no panic while it is held");
        let (dice, is_newest) = (rng.u8(..100), rng.u8(..4) == 0);
        let is_new = active.is_empty() || (active.len() < MOST_ACTIVE && rng.u8(..100) < 55);
        let one = if is_newest {
            active.last_entry()
        } else {
            active.first_entry()
        };
        let (write, of) = match one {
            Some(one) if (90..).contains(&dice) => {
                let (key, owner) = (&one.get().key, one.get().owner);
                let mut refused = orders::refused(number, key, owner).into_iter();
                let which = rng.usize(..refused.len());
                let refused = refused.nth(which).expect("it is one of them");
                return Operation::Place {
                    write: refused,
                    of: number,
                };
            }
            Some(one) if (80..90).contains(&dice) => {
                let order = one.get();
                return Operation::Get(Asked {
                    path: orders::PATH,
                    key: order.key.clone(),
                    user: Some(order.owner),
                    known: rng.bool().then_some(order.version),
                });
            }
            Some(one) if !is_new => {
                let (of, order) = (*one.key(), one.get());
                let cancellation = orders::cancellation(number, &order.key, order.owner);
                // Some are cancelled again later, which changes nothing.
                if rng.u8(..8) > 0 {
                    one.remove();
                }
                (cancellation, of)
            }
            _ => {
                let user = rng.usize(..USERS);
                (orders::placement(number, user, document), number)
            }
        };
        let write = match dice {
            ..10 => write.twice(),
            10..20 => write.keyless(),
            _ => write,
        };
        Operation::Place { write, of }
    }
}
