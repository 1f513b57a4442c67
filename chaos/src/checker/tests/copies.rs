//! The stream as each server holds it, and as a consumer saw it.

use super::*;
use crate::history::Copy;

fn replica(server: &str, hashes: &[u64]) -> Replica {
    let copies = (1..).zip(hashes).map(|(sequence, hash)| Copy {
        sequence,
        id: None,
        hash: *hash,
    });
    Replica {
        server: server.to_owned(),
        copies: copies.collect(),
    }
}

/// The good history, and a consumer that saw all of it.
fn seen() -> Observed {
    let mut observed = good();
    let see = |message: &Message| Seen {
        stream: 0,
        sequence: message.sequence,
        id: message.message_id().map(ToOwned::to_owned),
        stored_ms: 0,
    };
    observed.seen = observed.messages.iter().map(see).collect();
    observed
}

#[test]
fn servers_that_hold_different_messages_diverge() {
    let mut same = good();
    same.replicas = vec![
        replica("a", &[7, 8]),
        replica("b", &[7, 8]),
        replica("c", &[7, 8]),
    ];
    assert_eq!(kinds(&same), []);

    for other in [&[7, 9][..], &[7], &[7, 8, 9]] {
        let mut observed = good();
        observed.replicas = vec![replica("a", &[7, 8]), replica("b", other)];
        assert_eq!(kinds(&observed), [Kind::Diverged]);
    }
}

#[test]
fn a_consumer_that_saw_less_more_or_another_order_than_the_stream_holds_diverges() {
    assert_eq!(kinds(&seen()), []);

    let mut less = seen();
    less.seen.remove(1);
    assert_eq!(kinds(&less), [Kind::Diverged]);

    let mut another = seen();
    another.seen[1].id = Some("e7".to_owned());
    assert_eq!(kinds(&another), [Kind::Diverged]);

    let mut more = seen();
    more.seen.push(Seen {
        sequence: 4,
        ..more.seen[2].clone()
    });
    assert_eq!(kinds(&more), [Kind::Diverged]);

    let mut order = seen();
    order.seen.swap(0, 1);
    assert_eq!(kinds(&order), [Kind::Diverged]);

    let mut twice = seen();
    twice.seen.insert(1, twice.seen[1].clone());
    assert_eq!(kinds(&twice), [Kind::Diverged]);
}

#[test]
fn what_a_consumer_saw_may_be_gone_where_it_was_purged_or_the_stream_was_made_anew() {
    let mut purged = seen();
    purged.seen.push(Seen {
        sequence: 4,
        ..purged.seen[2].clone()
    });
    purged.lost = lost("k", 0, 9_000);
    assert_eq!(kinds(&purged), []);

    let mut anew = seen();
    let mut before = anew.seen.clone();
    anew.seen.iter_mut().for_each(|seen| seen.stream = 1);
    before.extend(anew.seen);
    anew.seen = before;
    assert_eq!(kinds(&anew), []);
}
