//! When no instance could publish, and when MongoDB may have changed its primary, by the faults that were injected.

use crate::{domain::Service, fault::Fault, inject::Injected, world::Size};

/// An election, a lease, a restart: so long after a fault its effect may go on.
const AFTERMATH_MS: u64 = 10_000;
/// These may make another member the primary.
const ELECT: [Fault; 7] = [
    Fault::FillMongo,
    Fault::KillPrimary,
    Fault::PausePrimary,
    Fault::StepDownPrimary,
    Fault::PartMongo,
    Fault::RestartMongoOften,
    Fault::SkewClock,
];

/// When a majority of the servers of a kind was away, or all instances of the service: from, until.
pub(crate) fn unhealthy(injected: &[Injected], size: Size, of: Service) -> Vec<(u64, u64)> {
    let of_kind = [
        ("mongo-", size.mongo / 2 + 1),
        ("nats-", size.nats / 2 + 1),
        (of.instances, size.instances),
    ];
    let mut spans = Vec::new();
    // What is away changes at these moments only.
    let mut moments: Vec<u64> = injected.iter().flat_map(bounds).collect();
    moments.sort_unstable();
    for pair in moments.windows(2) {
        let is_on = |fault: &&Injected| bounds(fault)[0] <= pair[0] && bounds(fault)[1] > pair[0];
        let on: Vec<&Injected> = injected.iter().filter(is_on).collect();
        let is_short = |(kind, too_many): (&str, usize)| {
            let all = on.iter().flat_map(|fault| &fault.away);
            let mut away: Vec<&String> = all.filter(|name| name.starts_with(kind)).collect();
            away.sort_unstable();
            away.dedup();
            away.len() >= too_many
        };
        if of_kind.into_iter().any(is_short) {
            spans.push((pair[0], pair[1]));
        }
    }
    spans
}

/// It may have waited for another one to end before it had an effect.
fn bounds(fault: &Injected) -> [u64; 2] {
    let from_ms = fault.took_effect_ms.unwrap_or(fault.began_ms);
    [from_ms, fault.ended_ms + AFTERMATH_MS]
}

/// While an old primary may not know yet that there is another, or a new one does not know yet what a majority has: from, until.
pub(crate) fn elections(injected: &[Injected]) -> Vec<(u64, u64)> {
    let elects = |fault: &&Injected| ELECT.contains(&fault.fault);
    let span = |fault: &Injected| (fault.began_ms, fault.ended_ms + AFTERMATH_MS);
    injected.iter().filter(elects).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ORDERS, TICKETS};

    fn fault(began_ms: u64, ended_ms: u64, away: &[&str]) -> Injected {
        Injected {
            operation: 0,
            fault: Fault::KillNats,
            began_ms,
            ended_ms,
            took_effect_ms: Some(began_ms),
            away: away.iter().map(|name| (*name).to_owned()).collect(),
            seen: String::new(),
        }
    }

    #[test]
    fn a_primary_may_change_while_a_member_is_away_or_is_told_to_and_for_a_while_after() {
        let faults = [Fault::KillNats, Fault::SkewClock, Fault::KillPrimary];
        let faults = faults.map(|it| Injected {
            fault: it,
            ..fault(1_000, 5_000, &[])
        });
        assert_eq!(elections(&faults), [(1_000, 15_000), (1_000, 15_000)]);
    }

    #[test]
    fn nobody_publishes_while_a_majority_of_servers_or_each_instance_is_away() {
        let one = [fault(0, 5_000, &["nats-0"])];
        assert_eq!(unhealthy(&one, Size::THREE, TICKETS), []);
        assert_eq!(unhealthy(&one, Size::ONE, TICKETS), [(0, 15_000)]);

        let waited = [Injected {
            took_effect_ms: Some(3_000),
            ..fault(0, 5_000, &["nats-0"])
        }];
        assert_eq!(unhealthy(&waited, Size::ONE, TICKETS), [(3_000, 15_000)]);

        let two = [
            fault(0, 5_000, &["nats-0"]),
            fault(3_000, 9_000, &["nats-1"]),
        ];
        assert_eq!(unhealthy(&two, Size::THREE, TICKETS), [(3_000, 15_000)]);

        let of_each = [
            fault(0, 5_000, &["nats-0"]),
            fault(3_000, 9_000, &["mongo-1"]),
        ];
        assert_eq!(unhealthy(&of_each, Size::THREE, TICKETS), []);

        let all = [fault(0, 1_000, &["instance-0", "instance-1", "instance-2"])];
        assert_eq!(unhealthy(&all, Size::THREE, TICKETS), [(0, 11_000)]);
        assert_eq!(unhealthy(&all, Size::THREE, ORDERS), []);
    }
}
