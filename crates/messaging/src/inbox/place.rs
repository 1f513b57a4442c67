//! Whether a message's turn has come.

use mongodb::ClientSession;

use super::{
    apply::Job,
    consumer::Order,
    marks::{Inbox, KeyOf, Mark},
};

/// Where a message stands to what is applied of its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Behind,
    Next,
    Ahead,
}

impl Inbox {
    /// Where a message stands in this transaction. A key has no base above what is put aside of it: the stream, which was asked, forgets
    /// what is acknowledged.
    pub(super) async fn place(
        &self,
        session: &mut ClientSession,
        of: KeyOf<'_>,
        order: Order,
        mark: Option<&Mark>,
        job: &Job,
    ) -> mongodb::error::Result<Place> {
        let placed = place(order, mark, job);
        let begins = placed == Place::Next && mark.and_then(|mark| mark.version).is_none();
        if !begins || !job.is_base || order == Order::NewestOnly {
            return Ok(placed);
        }
        let aside = self.aside_from(session, of, 0).await?;
        let is_first = aside
            .first()
            .is_none_or(|first| first.version >= job.envelope.version);
        Ok(if is_first { Place::Next } else { Place::Ahead })
    }
}

fn place(order: Order, mark: Option<&Mark>, job: &Job) -> Place {
    let version = job.envelope.version;
    let Some(reached) = mark.and_then(|mark| mark.version) else {
        let begins = version == 0 || job.is_base || order == Order::NewestOnly;
        return if begins { Place::Next } else { Place::Ahead };
    };
    if version <= reached {
        return Place::Behind;
    }
    if order == Order::NewestOnly || version - 1 == reached {
        return Place::Next;
    }
    Place::Ahead
}

#[cfg(test)]
mod tests {
    use bson::DateTime;
    use bytes::Bytes;

    use super::*;
    use crate::inbox::{envelope::Envelope, message::Message};

    fn job(version: i64, is_base: bool) -> Job {
        Job {
            envelope: Envelope {
                key: "a".to_owned(),
                version,
                message_id: "id".to_owned(),
                r#type: "counter.updated".to_owned(),
                traceparent: None,
                tracestate: None,
            },
            message: Message {
                subject: String::new(),
                headers: Bytes::new(),
                payload: Bytes::new(),
                sequence: 1,
                published: DateTime::MIN,
            },
            aside: None,
            is_base,
        }
    }

    #[test]
    fn each_version_comes_after_the_one_before_and_the_newest_after_any() {
        use Order::{EachVersion, NewestOnly};
        use Place::{Ahead, Behind, Next};
        let at = |version| Mark {
            version,
            ..Mark::default()
        };
        for (order, mark, version, is_base, placed) in [
            (EachVersion, None, 0, false, Next),
            (EachVersion, None, 1, false, Ahead),
            (EachVersion, None, 7, true, Next),
            (EachVersion, Some(at(None)), 0, false, Next),
            (EachVersion, Some(at(None)), 1, false, Ahead),
            (EachVersion, Some(at(Some(3))), 3, false, Behind),
            (EachVersion, Some(at(Some(3))), 4, false, Next),
            (EachVersion, Some(at(Some(3))), 5, true, Ahead),
            (
                EachVersion,
                Some(at(Some(i64::MAX))),
                i64::MAX,
                false,
                Behind,
            ),
            (NewestOnly, None, 5, false, Next),
            (NewestOnly, Some(at(Some(3))), 9, false, Next),
            (NewestOnly, Some(at(Some(3))), 2, false, Behind),
        ] {
            assert_eq!(place(order, mark.as_ref(), &job(version, is_base)), placed);
        }
    }
}
