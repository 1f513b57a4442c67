//! What comes behind a message that takes long: it is put aside, so that it fills nobody's place.

use std::sync::Arc;

use super::{
    consumer::Order,
    in_hand::Held,
    item::{Item, Lane},
    turn::Worker,
};

/// What has become of it.
pub(super) struct Relieved {
    pub(super) lane: Lane,
    /// Its versions that are to be tried when their turn comes, and what is in hand still.
    pub(super) items: Vec<Item>,
    pub(super) has_failed: bool,
}

impl<C: Clone + Send + Sync + 'static> Worker<C> {
    /// Puts messages of one key aside. The mark is not written: the turn that is under way would meet a conflict, and run again. So nobody
    /// else looks for them, but this instance knows them, and a sweep finds them where it dies.
    pub(super) async fn relieve(self: Arc<Self>, lane: Lane, items: Vec<Item>) -> Relieved {
        let jobs = items.iter().filter_map(|item| match item {
            Item::Delivered { job, .. } => Some(Arc::clone(job)),
            _ => None,
        });
        let stream = self.jetstream.stream_name();
        let put = self.applier.put_overflow(stream, jobs.collect()).await;
        let aside = match put {
            Ok((aside, put)) => {
                self.tallies.overflow(&lane, &put);
                aside
            }
            Err(error) => {
                tracing::debug!(%error, "messages behind a slow one are not put aside");
                return Relieved {
                    lane,
                    items,
                    has_failed: true,
                };
            }
        };
        let mut left = Vec::new();
        for item in items {
            match item {
                Item::Delivered { job, held, .. } if aside.contains(&job.envelope.version) => {
                    Held::acknowledge(held);
                }
                other => left.push(other),
            }
        }
        let versions: Vec<i64> = aside.into_iter().collect();
        let next = match self.applier.consumer.order {
            Order::EachVersion => begins(&versions),
            Order::NewestOnly => versions.last().copied().into_iter().collect(),
        };
        left.extend(next.into_iter().map(Item::Aside));
        Relieved {
            lane,
            items: left,
            has_failed: false,
        }
    }
}

/// Those that do not come right behind another: whoever applies one goes on with the next.
fn begins(versions: &[i64]) -> Vec<i64> {
    let before = |at: usize| at.checked_sub(1).map(|at| versions[at]);
    let begins = versions.iter().enumerate().filter(|(at, version)| {
        let before = before(*at).and_then(|before| before.checked_add(1));
        before != Some(**version)
    });
    begins.map(|(_, version)| *version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_versions_begins_once() {
        for (versions, wanted) in [
            (&[][..], &[][..]),
            (&[3], &[3]),
            (&[0, 1, 2, 7, 9, 10, i64::MAX], &[0, 7, 9, i64::MAX]),
        ] {
            assert_eq!(begins(versions), wanted);
        }
    }
}
