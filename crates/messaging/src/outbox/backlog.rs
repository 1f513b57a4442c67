//! The query of what is unsent.

use bson::{RawBson, RawDocumentBuf, raw::cstr, rawdoc};
use mongodb::Cursor;

use super::{EVENTS, Outbox, UNSENT_INDEX, in_order, unsent};
use crate::stored::{Stored, assemble, list};

/// Where a walk over the backlog goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WalkFrom<'a> {
    Start,
    /// Behind this key, which is a text; among texts.
    Behind(&'a Stored),
    /// Behind all texts: no key of ours is anything else.
    BehindTexts,
}

/// What a walk over the backlog does not read; values that stand for themselves in a query.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) keys: Vec<Stored>,
    pub(crate) ids: Vec<Stored>,
}

impl Outbox {
    /// Reads what is unsent, in order. The server does not even read what is `left_out`.
    pub(crate) async fn backlog(
        &self,
        from: WalkFrom<'_>,
        left_out: &LeftOut,
        batch_size: u32,
    ) -> mongodb::error::Result<Cursor<RawDocumentBuf>> {
        let none_of = |values: &[Stored]| (!values.is_empty()).then(|| list(values));
        let (keys, ids) = (none_of(&left_out.keys), none_of(&left_out.ids));
        let mut of_key: Vec<_> = keys.iter().map(|keys| ("$nin", keys)).collect();
        if let WalkFrom::Behind(key) = from {
            of_key.push(("$gt", key));
        }
        let mut filter = RawDocumentBuf::try_from(unsent())?;
        if !of_key.is_empty() {
            filter.append(cstr!("key"), assemble(of_key));
        }
        if let Some(ids) = &ids {
            filter.append(cstr!("_id"), assemble([("$nin", ids)]));
        }
        let mut find = rawdoc! {
            "find": EVENTS,
            "filter": filter,
            "sort": RawDocumentBuf::try_from(in_order())?,
            "hint": UNSENT_INDEX,
            "batchSize": i64::from(batch_size),
            "readConcern": { "level": "majority" },
        };
        if let WalkFrom::BehindTexts = from {
            let first = rawdoc! { "key": {}, "version": RawBson::MinKey, "_id": RawBson::MinKey };
            find.append(cstr!("min"), first);
        }
        let database = self.db.database();
        let found = database.run_raw_cursor_command(find);
        Ok(found.batch_size(batch_size).await?.with_type())
    }
}
