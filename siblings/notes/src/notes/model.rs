//! A note as it comes in, as it is stored, and as it goes out: to clients and in events.

use bson::{DateTime, oid::ObjectId};
use db::Abort;
use messaging::{Event, EventType, Metadata};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

pub(super) const CREATED: EventType = EventType::of::<NoteView<'_>>("note.created");
pub(super) const UPDATED: EventType = EventType::of::<NoteView<'_>>("note.updated");

/// What a client says of a note.
#[derive(Debug, Clone, Deserialize, Validate, ToSchema)]
pub(super) struct NewNote {
    #[schema(min_length = 1, max_length = 1_000, examples("call back"))]
    #[validate(length(min = 1, max = 1_000, message = "text must have 1 to 1000 characters"))]
    text: String,
}

/// A note as the database holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    #[serde(rename = "_id")]
    pub(super) id: ObjectId,
    pub(super) text: String,
    pub(super) user_id: String,
    pub(super) version: i64,
    pub(super) created_at: DateTime,
    pub(super) updated_at: DateTime,
}

/// A note as clients see it, and as events carry it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Note)]
pub(super) struct NoteView<'a> {
    #[schema(pattern = "^[0-9a-f]{24}$", examples("65f0a1b2c3d4e5f60718293a"))]
    id: String,
    #[schema(examples("call back"))]
    text: &'a str,
    /// The owner, who alone may change it.
    #[schema(examples("alice"))]
    user_id: &'a str,
    /// Grows by one with each change; also the `ETag`, in quotes.
    #[schema(minimum = 0, examples(0))]
    version: i64,
}

/// Why a change is not made.
#[derive(Debug)]
pub(super) enum Refused {
    NotFound,
    NotTheOwner,
    AnotherVersion,
}

impl From<Refused> for Abort<Refused> {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

impl Note {
    pub(super) fn new(new: NewNote, user_id: String, now: DateTime) -> Self {
        Self {
            id: ObjectId::new(),
            text: new.text,
            user_id,
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// As it is to be; `None` where nothing changes: consumers count versions, and each has an event.
    pub(super) fn changed(&self, new: &NewNote, now: DateTime) -> Option<Self> {
        (self.text != new.text).then(|| Self {
            text: new.text.clone(),
            version: self.version + 1,
            updated_at: now,
            ..self.clone()
        })
    }

    /// The event of what it has become; its first version is its creation.
    pub(super) fn event(&self, metadata: &Metadata) -> bson::error::Result<Event> {
        let r#type = if self.version == 0 { CREATED } else { UPDATED };
        let (metadata, key) = (metadata.clone(), self.id.to_hex());
        r#type.event(metadata, key, self.version, &self.view())
    }

    pub(super) fn view(&self) -> NoteView<'_> {
        NoteView {
            id: self.id.to_hex(),
            text: &self.text,
            user_id: &self.user_id,
            version: self.version,
        }
    }
}
