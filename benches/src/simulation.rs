//! How evenly keys divide among partitions, for docs/scale.md: no server takes part. The hash is the one of NATS' `partition(n, token)`,
//! FNV-1a of 32 bits, so that stream and publisher can agree.

use bson::oid::ObjectId;

use crate::table::{Row, alone};

const EVENTS: usize = 1_000_000;
const TICKETS: usize = 100_000;

pub(crate) fn simulate() -> Vec<Row> {
    let tickets: Vec<String> = (0..TICKETS).map(|_| ObjectId::new().to_hex()).collect();
    let mut random = fastrand::Rng::with_seed(7);
    // The rank r has 1/r of the first one's events: the inverse of the distribution function, up to a constant.
    let mut hot = || {
        let rank = (TICKETS as f64).powf(random.f64()) as usize;
        &tickets[rank.min(TICKETS) - 1]
    };
    let updates: Vec<&String> = (0..EVENTS).map(|_| hot()).collect();
    let mut rows = vec![];
    for partitions in [2, 8, 32] {
        for (of, keys) in [
            (
                "creates",
                &mut tickets.iter() as &mut dyn Iterator<Item = &String>,
            ),
            ("updates by Zipf's law", &mut updates.iter().copied()),
        ] {
            let name = format!("busiest of {partitions} partitions, by the mean: {of}");
            rows.push(alone(name, "×", [busiest_by_mean(keys, partitions)], None));
        }
    }
    rows
}

fn busiest_by_mean<'a>(keys: impl Iterator<Item = &'a String>, partitions: usize) -> f64 {
    let mut loads = vec![0_usize; partitions];
    for key in keys {
        loads[fnv1a(key.as_bytes()) as usize % partitions] += 1;
    }
    let all: usize = loads.iter().sum();
    let busiest = loads.into_iter().max().unwrap_or_default();
    busiest as f64 * partitions as f64 / all as f64
}

fn fnv1a(bytes: &[u8]) -> u32 {
    let add = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }
}
