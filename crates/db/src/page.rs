//! Keyset pagination: a page begins behind the last document of the page before, however many were added meanwhile.

use bson::{DateTime, Document, RawDocumentBuf, doc, oid::ObjectId};
use futures_util::TryStreamExt;
use serde::de::DeserializeOwned;

use crate::{Db, Error};

/// One page: how many, and behind which document.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub limit: u16,
    pub after: Option<Place>,
}

/// A place in a collection that is read newest first, by `createdAt` and `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub created_at: DateTime,
    pub id: ObjectId,
}

/// How a page is sorted; the end of the index that it is read from.
pub fn newest_first() -> Document {
    doc! { "createdAt": -1, "_id": -1 }
}

impl Db {
    /// The documents of a page that `filter` accepts, newest first, and behind which the next page begins if there is one.
    ///
    /// # Errors
    /// Those of [`Db::read`].
    pub async fn page<T: DeserializeOwned + Send + 'static>(
        &self,
        collection: &str,
        mut filter: Document,
        page: Page,
    ) -> Result<(Vec<T>, Option<Place>), Error> {
        if let Some(Place { created_at, id }) = page.after {
            let same = doc! { "createdAt": created_at, "_id": { "$lt": id } };
            let before = doc! { "createdAt": { "$lt": created_at } };
            let behind = doc! { "createdAt": { "$lte": created_at }, "$or": [before, same] };
            // The filter may name the same fields.
            filter = doc! { "$and": [filter, behind] };
        }
        let documents = self.collection::<RawDocumentBuf>(collection);
        let limit = usize::from(page.limit);
        let found = async move {
            // One more than asked for tells whether there is a next page; all of them come with the first answer.
            let most = u32::from(page.limit) + 1;
            let found = documents.find(filter).sort(newest_first());
            let found = found.limit(i64::from(most)).batch_size(most);
            let found: Vec<RawDocumentBuf> = found.await?.try_collect().await?;
            let (page, more) = found.split_at(limit.min(found.len()));
            // What has no readable place sorts behind all that has one, and is behind every place.
            let last = page.iter().rev().find_map(place);
            let page = page.iter().filter_map(readable).collect();
            Ok((page, last.filter(|_| !more.is_empty())))
        };
        self.read(found).await
    }
}

/// One document that can't be read does not keep the others from those who ask for them.
fn readable<T: DeserializeOwned>(document: &RawDocumentBuf) -> Option<T> {
    let read = bson::deserialize_from_slice(document.as_bytes());
    read.inspect_err(|error| {
        let id = document.get("_id").ok().flatten();
        tracing::error!(?id, %error, "a document can't be read; it is left out of the page");
    })
    .ok()
}

fn place(document: &RawDocumentBuf) -> Option<Place> {
    Some(Place {
        created_at: document.get_datetime("createdAt").ok()?,
        id: document.get_object_id("_id").ok()?,
    })
}
