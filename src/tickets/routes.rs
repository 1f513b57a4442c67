//! The REST interface of tickets.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use axum_extra::{
    TypedHeader,
    headers::{ETag, Header, HeaderMapExt, IfMatch, IfNoneMatch},
};
use bson::oid::ObjectId;

use super::{
    model::{NewTicket, Ticket},
    pages::{Page, PageQuery},
    store,
};
use crate::{
    auth::User,
    db::Db,
    error::Error,
    http::{TraceParent, Valid, invalid_query},
    idempotency::{Answer, IdempotencyKey, Outcome},
    state::AppState,
};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/tickets", get(list_tickets).post(create_ticket))
        .route("/api/tickets/{id}", get(get_ticket).put(update_ticket))
}

async fn create_ticket(
    State(db): State<Db>,
    user: User,
    TraceParent(traceparent): TraceParent,
    key: IdempotencyKey,
    Valid(new, text): Valid<NewTicket>,
) -> Result<Response, Error> {
    let attempt = key.attempt(&user, text.get());
    match store::create(&db, new, user.id, traceparent, attempt).await? {
        Outcome::Done(ticket) => {
            tracing::info!(ticket.id = %ticket.id, "ticket created");
            Ok(created(&ticket).into_response())
        }
        Outcome::Repeated(answer) => Ok(answer.replayed()),
    }
}

async fn list_tickets(
    State(db): State<Db>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(query) = query.map_err(|rejection| invalid_query(&rejection))?;
    let page = Page::try_from(query)?;
    let limit = page.limit;
    let (tickets, next) = store::list(&db, page).await?;
    let body = Json(tickets.iter().map(Ticket::view).collect::<Vec<_>>());
    let Some(next) = next else {
        return Ok(body.into_response());
    };
    let link = format!(
        "</api/tickets?limit={limit}&cursor={}>; rel=\"next\"",
        next.encode()
    );
    Ok(([(header::LINK, link)], body).into_response())
}

async fn get_ticket(
    State(db): State<Db>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let ticket = store::find(&db, ticket_id(id)?).await?;
    let etag = etag(&ticket);
    let if_none_match = precondition::<IfNoneMatch>(&headers)?;
    if if_none_match.is_some_and(|known| !known.precondition_passes(&etag)) {
        return Ok((StatusCode::NOT_MODIFIED, TypedHeader(etag)).into_response());
    }
    Ok((TypedHeader(etag), Json(ticket.view())).into_response())
}

async fn update_ticket(
    State(db): State<Db>,
    user: User,
    id: Result<Path<String>, PathRejection>,
    TraceParent(traceparent): TraceParent,
    headers: HeaderMap,
    key: IdempotencyKey,
    Valid(new, text): Valid<NewTicket>,
) -> Result<Response, Error> {
    // After the body: an invalid body is 400 on any id.
    let id = ticket_id(id)?;
    let if_match = precondition::<IfMatch>(&headers)?;
    let attempt = key.attempt(&user, text.get());
    let update = store::Update {
        id,
        new,
        user_id: user.id,
        if_match,
        traceparent,
        attempt,
    };
    match store::update(&db, update).await? {
        Outcome::Done(ticket) => {
            tracing::info!(ticket.id = %ticket.id, ticket.version = ticket.version, "ticket updated");
            Ok(updated(&ticket).into_response())
        }
        Outcome::Repeated(answer) => Ok(answer.replayed()),
    }
}

pub(super) fn created(ticket: &Ticket) -> Answer {
    Answer {
        status: 201,
        location: Some(format!("/api/tickets/{}", ticket.id)),
        ..updated(ticket)
    }
}

pub(super) fn updated(ticket: &Ticket) -> Answer {
    Answer {
        status: 200,
        location: None,
        etag: format!("\"{}\"", ticket.version),
        body: serde_json::to_string(&ticket.view()).expect("texts and numbers are JSON"),
    }
}

/// An id that can't be one is the id of nothing.
fn ticket_id(path: Result<Path<String>, PathRejection>) -> Result<ObjectId, Error> {
    path.ok()
        .and_then(|Path(id)| ObjectId::parse_str(id).ok())
        .ok_or(Error::NotFound)
}

/// `If-Match` or `If-None-Match`; `Option<TypedHeader>` would take one that is absent for one that is empty.
fn precondition<T: Header>(headers: &HeaderMap) -> Result<Option<T>, Error> {
    let unreadable = |_| {
        Error::invalid(format!(
            "{} must be * or versions in quotes, such as \"3\"",
            T::name()
        ))
    };
    headers.typed_try_get().map_err(unreadable)
}

/// A version is a strong validator: nothing of a ticket changes without it.
pub(super) fn etag(ticket: &Ticket) -> ETag {
    let quoted = format!("\"{}\"", ticket.version);
    quoted.parse().expect("digits in quotes are an entity tag")
}
