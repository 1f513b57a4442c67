//! The change streams, one for each collection: one on the whole database would need the right to read all of it.

use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;

use super::{EVENTS, Outbox, parked::PARKED};

/// Changes in one answer of the server. Without a limit, what is saved in bulk comes in answers of 16 MB, to ring a bell once.
const MOST_AT_ONCE: u32 = 256;

/// What a change stream tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// New events, and those that are to be published again.
    Events,
    /// What operators decide about parked ones.
    Parked,
}

impl Watched {
    pub(crate) fn cannot_be_watched(self) -> &'static str {
        match self {
            Self::Events => "cannot watch the events",
            Self::Parked => "cannot watch the parked events",
        }
    }

    /// What `change` may be about. The transaction that gives an event back also changes what was decided about it, and the other stream may
    /// tell of that later.
    pub(crate) fn about(self, change: &RawDocument) -> Self {
        match change.get_str("operationType") {
            Ok("update") => Self::Parked,
            _ => self,
        }
    }
}

impl Outbox {
    /// Tells of what `watched` is about, and not of what the publisher itself does there; with nothing to tell, the server says so every
    /// `pulse`.
    pub(crate) async fn watch(
        self,
        watched: Watched,
        pulse: Duration,
    ) -> mongodb::error::Result<ChangeStream<RawDocumentBuf>> {
        let (name, told) = match watched {
            Watched::Events => (
                EVENTS,
                [
                    doc! { "operationType": "insert" },
                    doc! { "operationType": "update", "updateDescription.updatedFields.sent": "NO" },
                ],
            ),
            Watched::Parked => (
                PARKED,
                [
                    doc! { "operationType": { "$in": ["delete", "replace"] } },
                    doc! { "updateDescription.updatedFields.state": { "$exists": true } },
                ],
            ),
        };
        let mut told_of = doc! { "_id": 1, "operationType": 1 };
        if let Watched::Events = watched {
            for name in ["_id", "type", "key", "version", "createdAt"] {
                told_of.insert(format!("fullDocument.{name}"), 1);
            }
        }
        let pipeline = [
            doc! { "$match": { "$or": told.to_vec() } },
            doc! { "$project": told_of },
        ];
        self.db.need(name, &["find", "changeStream"]);
        // The sweep that the opening wakes reads what a majority has. So the stream begins there, and tells of the rest.
        let since = self.db.majority_time().await?;
        let collection = self.db.collection::<Document>(name);
        let watch = collection.watch().pipeline(pipeline);
        let watch = watch.max_await_time(pulse).batch_size(MOST_AT_ONCE);
        Ok(watch.start_at_operation_time(since).await?.with_type())
    }
}
