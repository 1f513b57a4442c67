//! What must be seen of orders, where there is a service that takes them.

use super::{Floor, least};
use crate::{checker::moves, history::Observed};

/// Of the operations of a run with a service that takes orders, about twenty-eight in a hundred place one, and as many cancel one.
const PLACED_SHARE: f64 = 0.07;
const CANCELLED_SHARE: f64 = 0.05;
/// Of the orders that were placed.
const RESERVED_SHARE: f64 = 0.75;

pub(super) fn floors(observed: &Observed, sibling: &Observed, writes: usize) -> [Floor; 3] {
    let events = &sibling.events;
    let placed = events.iter().filter(|event| event.version == 0).count();
    let cancelled = events.len() - placed;
    let moves = moves(observed, sibling);
    let reserved = moves.iter().filter(|it| it.event.version == 0).count();
    [
        Floor::at_least(
            least(PLACED_SHARE, writes),
            "orders that were placed",
            placed,
            writes,
        ),
        Floor::at_least(
            least(CANCELLED_SHARE, writes),
            "orders that were cancelled",
            cancelled,
            writes,
        ),
        Floor::at_least(
            least(RESERVED_SHARE, placed),
            "orders that had their document",
            reserved,
            placed,
        ),
    ]
}
