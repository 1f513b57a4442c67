//! Every query of the domain: documents and the session, no HTTP.

use bson::{doc, oid::ObjectId};
use db::{Db, Page, Place, newest_first};
use futures_util::future::BoxFuture;
use mongodb::{ClientSession, Collection, IndexModel};

use super::model::Note;

const NOTES: &str = "notes";

/// Makes the collection and its index.
///
/// # Errors
/// The driver's.
pub fn collections(db: &Db) -> BoxFuture<'_, mongodb::error::Result<()>> {
    let newest = IndexModel::builder().keys(newest_first()).build();
    Box::pin(db.ensure_collection(NOTES, [newest]))
}

fn notes(db: &Db) -> Collection<Note> {
    db.collection(NOTES)
}

/// Saves one that is new, or has changed.
pub(super) async fn save(
    db: &Db,
    session: &mut ClientSession,
    note: &Note,
) -> mongodb::error::Result<()> {
    let notes = notes(db);
    let saved = notes.replace_one(doc! { "_id": note.id }, note);
    saved.upsert(true).session(session).await.map(drop)
}

/// As the transaction sees it.
pub(super) async fn find_in_transaction(
    db: &Db,
    session: &mut ClientSession,
    id: ObjectId,
) -> mongodb::error::Result<Option<Note>> {
    let notes = notes(db);
    notes.find_one(doc! { "_id": id }).session(session).await
}

pub(super) async fn find(db: &Db, id: ObjectId) -> Result<Option<Note>, db::Error> {
    let notes = notes(db);
    db.read(async move { notes.find_one(doc! { "_id": id }).await })
        .await
}

/// Those of a page, and behind which the next page begins if there is one.
pub(super) async fn newest(db: &Db, page: Page) -> Result<(Vec<Note>, Option<Place>), db::Error> {
    db.page(NOTES, doc! {}, page).await
}
