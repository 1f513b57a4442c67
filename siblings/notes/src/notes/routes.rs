//! The REST interface of notes.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use db::Abort;
use service::{Context, metadata};
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{
    Answer, Id, IdempotencyKey, PageQuery, Preconditions, Refusal, Trace, User, ValidJson, etag,
    paged,
};

use super::{
    model::{NewNote, Note, NoteView, Refused},
    store,
};

pub fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list_notes, create_note))
        .routes(routes!(get_note, update_note))
}

/// Create a note
///
/// It is saved together with the event `note.created`.
#[utoipa::path(
    post, path = "/api/notes", tag = "notes", security(("bearer" = [])),
    params(IdempotencyKey, Trace), request_body = NewNote,
    responses((status = 201, description = "As it was created.", body = NoteView<'_>)),
)]
async fn create_note(
    State(context): State<Context>,
    user: User,
    trace: Trace,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewNote>,
) -> Result<Answer, Refusal> {
    let metadata = metadata(trace);
    let note = Note::new(new, user.id, metadata.created_at);
    let db = context.db.clone();
    let create = (context, note, metadata);
    // What the closure does is one transaction. It may run more than once.
    let created = key.once(&db, create, |session, (context, note, metadata)| {
        Box::pin(async move {
            store::save(&context.db, session, note).await?;
            let event = note.event(metadata)?;
            context.outbox.record(session, &event).await?;
            let address = format!("/api/notes/{}", note.id);
            let created = answer(StatusCode::CREATED, note);
            Ok::<_, Abort<Refused>>(created.with_header(header::LOCATION, address))
        })
    });
    created.await
}

/// List notes
///
/// The newest first; `Link` with `rel="next"` is the address of the next page.
#[utoipa::path(
    get, path = "/api/notes", tag = "notes", params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Vec<NoteView<'_>>)),
)]
async fn list_notes(State(context): State<Context>, asked: PageQuery) -> Result<Response, Refusal> {
    let (notes, next) = store::newest(&context.db, asked.page).await?;
    let notes: Vec<_> = notes.iter().map(Note::view).collect();
    Ok(paged(&asked, &notes, next))
}

/// Read a note
#[utoipa::path(
    get, path = "/api/notes/{id}", tag = "notes", params(Id, Preconditions),
    responses((status = 200, description = "As it is.", body = NoteView<'_>)),
)]
async fn get_note(
    State(context): State<Context>,
    Id(id): Id,
    preconditions: Preconditions,
) -> Result<Response, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let note = store::find(&context.db, id).await?;
    let note = note.ok_or(Refusal::NotFound)?;
    let etag = [(header::ETAG, etag(note.version))];
    if preconditions.is_not_modified(note.version)? {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    Ok((etag, Json(note.view())).into_response())
}

/// Change a note
///
/// Only its owner may. The event `note.updated` is saved with the change.
#[utoipa::path(
    put, path = "/api/notes/{id}", tag = "notes", security(("bearer" = [])),
    params(Id, Preconditions, IdempotencyKey, Trace), request_body = NewNote,
    responses(
        (status = 200, description = "As it is now.", body = NoteView<'_>),
        (status = 403, description = "The user is not the owner, or a page of another site sent the session cookie."),
    ),
)]
async fn update_note(
    State(context): State<Context>,
    user: User,
    Id(id): Id,
    trace: Trace,
    preconditions: Preconditions,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewNote>,
) -> Result<Answer, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let (metadata, db) = (metadata(trace), context.db.clone());
    let update = (context, new, user.id, preconditions, metadata);
    let updated = key.once(&db, update, move |session, update| {
        Box::pin(async move {
            let (context, new, user_id, preconditions, metadata) = update;
            let note = store::find_in_transaction(&context.db, session, id).await?;
            let note = note.ok_or(Refused::NotFound)?;
            if note.user_id != *user_id {
                return Err(Refused::NotTheOwner.into());
            }
            if !preconditions.accept(note.version) {
                return Err(Refused::AnotherVersion.into());
            }
            let Some(note) = note.changed(new, metadata.created_at) else {
                return Ok(answer(StatusCode::OK, &note).without_a_change());
            };
            store::save(&context.db, session, &note).await?;
            let event = note.event(metadata)?;
            context.outbox.record(session, &event).await?;
            Ok::<_, Abort<Refused>>(answer(StatusCode::OK, &note))
        })
    });
    updated.await
}

/// How a client is told.
impl From<Refused> for Refusal {
    fn from(why: Refused) -> Self {
        match why {
            Refused::NotFound => Self::NotFound,
            Refused::NotTheOwner => Self::Forbidden("only the owner may change it"),
            Refused::AnotherVersion => Self::PreconditionFailed,
        }
    }
}

fn answer(status: StatusCode, note: &Note) -> Answer {
    Answer::json(status, &note.view()).with_header(header::ETAG, etag(note.version))
}
