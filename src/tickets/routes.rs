//! The REST interface of tickets.

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use axum_extra::{
    TypedHeader,
    headers::{ETag, IfMatch, IfNoneMatch},
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
    Valid(new): Valid<NewTicket>,
) -> Result<Response, Error> {
    let ticket = store::create(&db, new, user.id, traceparent).await?;
    tracing::info!(ticket.id = %ticket.id, "ticket created");
    let location = format!("/api/tickets/{}", ticket.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        TypedHeader(etag(&ticket)),
        Json(ticket.view()),
    )
        .into_response())
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
    if_none_match: Option<TypedHeader<IfNoneMatch>>,
) -> Result<Response, Error> {
    let ticket = store::find(&db, ticket_id(id)?).await?;
    let etag = etag(&ticket);
    if if_none_match.is_some_and(|TypedHeader(known)| !known.precondition_passes(&etag)) {
        return Ok((StatusCode::NOT_MODIFIED, TypedHeader(etag)).into_response());
    }
    Ok((TypedHeader(etag), Json(ticket.view())).into_response())
}

async fn update_ticket(
    State(db): State<Db>,
    user: User,
    id: Result<Path<String>, PathRejection>,
    TraceParent(traceparent): TraceParent,
    if_match: Option<TypedHeader<IfMatch>>,
    Valid(new): Valid<NewTicket>,
) -> Result<Response, Error> {
    // After the body: an invalid body is 400 on any id.
    let id = ticket_id(id)?;
    let if_match = if_match.map(|TypedHeader(wanted)| wanted);
    let update = store::Update {
        id,
        new,
        user_id: user.id,
        if_match,
        traceparent,
    };
    let ticket = store::update(&db, update).await?;
    tracing::info!(ticket.id = %ticket.id, ticket.version = ticket.version, "ticket updated");
    Ok((TypedHeader(etag(&ticket)), Json(ticket.view())).into_response())
}

/// An id that can't be one is the id of nothing.
fn ticket_id(path: Result<Path<String>, PathRejection>) -> Result<ObjectId, Error> {
    path.ok()
        .and_then(|Path(id)| ObjectId::parse_str(id).ok())
        .ok_or(Error::NotFound)
}

/// A version is a strong validator: nothing of a ticket changes without it.
pub(super) fn etag(ticket: &Ticket) -> ETag {
    let quoted = format!("\"{}\"", ticket.version);
    quoted.parse().expect("digits in quotes are an entity tag")
}
