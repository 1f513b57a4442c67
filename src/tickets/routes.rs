//! The REST interface of tickets.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use axum_extra::{
    TypedHeader,
    headers::{ETag, Header, HeaderMapExt, IfMatch, IfNoneMatch},
};
use bson::{DateTime, oid::ObjectId};
use db::{Abort, Db};
use messaging::Outbox;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    events,
    model::{NewTicket, Ticket, TicketRefusal, TicketView},
    pages::{Page, PageQuery},
    store,
};
use crate::{
    auth::User,
    error::{Error, Problem},
    http::{TraceParent, Valid, invalid_query},
    idempotency::{Answer, IdempotencyKey},
    state::AppState,
};

const NOT_THE_OWNER: &str = "only the owner may change it";
const RESERVED: &str = "the ticket is reserved by an order";

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_tickets, create_ticket))
        .routes(routes!(get_ticket, update_ticket))
}

/// Create a ticket
///
/// The ticket and the event `ticket.created` are saved together.
#[utoipa::path(
    post,
    path = "/api/tickets",
    tag = "tickets",
    security(("bearer" = []), ("cookie" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header, nullable = false, description = "Sent again with the same key within 24 hours, the request is not done again: the first answer is given, with `Idempotent-Replayed: true`.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("traceparent" = Option<String>, Header, nullable = false, description = "W3C trace context; it goes on to the consumers of the event."),
    ),
    request_body = NewTicket,
    responses((status = 201, description = "The ticket.", body = TicketView<'_>, headers(
        ("Location" = String, description = "The ticket's address."),
        ("ETag" = String, description = "The version in quotes, for `If-Match`."),
    ))),
)]
async fn create_ticket(
    State(db): State<Db>,
    user: User,
    TraceParent(trace): TraceParent,
    key: IdempotencyKey,
    Valid(new): Valid<NewTicket>,
) -> Result<Answer, Error> {
    let ticket = Ticket::new(&new, user.id);
    let event = events::saved(&ticket, ObjectId::new(), trace.as_deref());
    let event = event.map_err(|error| Error::Internal(error.into()))?;
    let id = ticket.id;
    let context = (db.clone(), ticket, event);
    let answer = key.once(&db, context, |session, (db, ticket, event)| {
        Box::pin(async move {
            store::insert(db, session, ticket).await?;
            Outbox::new(db).record(session, event).await?;
            Ok::<_, Abort<TicketRefusal>>(created(ticket))
        })
    });
    let answer = answer.await?;
    if !answer.is_replayed() {
        tracing::info!(ticket.id = %id, "ticket created");
    }
    Ok(answer)
}

/// List the available tickets
///
/// The newest first; `Link` with `rel="next"` is the address of the next page.
#[utoipa::path(
    get,
    path = "/api/tickets",
    tag = "tickets",
    params(
        ("limit" = Option<i64>, Query, description = "How many on a page; 50 by default.", minimum = 1, maximum = 200, example = 50),
        ("cursor" = Option<String>, Query, description = "Where the page begins, as `Link` gives it.", pattern = "^[A-Za-z0-9_-]{26}[AEIMQUYcgkosw048]$"),
    ),
    responses((status = 200, description = "A page of tickets.", body = Vec<TicketView<'_>>, headers(
        ("Link" = String, description = "The next page, where there is one."),
    ))),
)]
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

/// Read a ticket
#[utoipa::path(
    get,
    path = "/api/tickets/{id}",
    tag = "tickets",
    params(
        ("id" = String, Path, description = "The ticket's id.", example = "65f0a1b2c3d4e5f60718293a"),
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "Versions that the caller has, in quotes."),
    ),
    responses(
        (status = 200, description = "The ticket.", body = TicketView<'_>, headers(("ETag" = String, description = "The version in quotes."))),
        (status = 304, description = "The caller has it.", headers(("ETag" = String, description = "The version in quotes."))),
        (status = 404, description = "There is no such ticket.", body = Problem, content_type = "application/problem+json", example = json!(Problem::of(&Error::NotFound))),
    ),
)]
async fn get_ticket(
    State(db): State<Db>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let ticket = store::find(&db, ticket_id(id)?).await?;
    let ticket = ticket.ok_or(Error::NotFound)?;
    let etag = etag(&ticket);
    let if_none_match = precondition::<IfNoneMatch>(&headers)?;
    if if_none_match.is_some_and(|known| !known.precondition_passes(&etag)) {
        return Ok((StatusCode::NOT_MODIFIED, TypedHeader(etag)).into_response());
    }
    Ok((TypedHeader(etag), Json(ticket.view())).into_response())
}

/// Change a ticket
///
/// Only its owner may, and only while no order holds it. The event `ticket.updated` is saved with the change.
#[utoipa::path(
    put,
    path = "/api/tickets/{id}",
    tag = "tickets",
    security(("bearer" = []), ("cookie" = [])),
    params(
        ("id" = String, Path, description = "The ticket's id.", example = "65f0a1b2c3d4e5f60718293a"),
        ("If-Match" = Option<String>, Header, nullable = false, description = "The version that the change is meant for, in quotes."),
        ("Idempotency-Key" = Option<String>, Header, nullable = false, description = "As for the creation.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("traceparent" = Option<String>, Header, nullable = false, description = "W3C trace context; it goes on to the consumers of the event."),
    ),
    request_body = NewTicket,
    responses(
        (status = 200, description = "The ticket as it is now.", body = TicketView<'_>, headers(("ETag" = String, description = "The version in quotes."))),
        (status = 404, description = "There is no such ticket.", body = Problem, content_type = "application/problem+json", example = json!(Problem::of(&Error::NotFound))),
        (status = 403, description = "The user is not the owner, or a page of another site sent the session cookie.", body = Problem, content_type = "application/problem+json", example = json!(Problem::of(&Error::Forbidden(NOT_THE_OWNER)))),
        (status = 409, description = "An order has reserved the ticket, or a request with this `Idempotency-Key` is under way.", body = Problem, content_type = "application/problem+json", example = json!(Problem::of(&Error::Conflict(RESERVED)))),
        (status = 412, description = "`If-Match` names another version.", body = Problem, content_type = "application/problem+json", example = json!(Problem::of(&Error::PreconditionFailed))),
    ),
)]
async fn update_ticket(
    State(db): State<Db>,
    user: User,
    id: Result<Path<String>, PathRejection>,
    TraceParent(trace): TraceParent,
    headers: HeaderMap,
    key: IdempotencyKey,
    Valid(new): Valid<NewTicket>,
) -> Result<Answer, Error> {
    // After the body: an invalid body is 400 on any id.
    let id = ticket_id(id)?;
    let update = Update {
        db: db.clone(),
        id,
        new,
        user_id: user.id,
        if_match: precondition::<IfMatch>(&headers)?,
        trace,
        event_id: ObjectId::new(),
        now: DateTime::now(),
    };
    let answer = key.once(&db, update, |session, update| {
        Box::pin(async move {
            let db = &update.db;
            let ticket = store::find_in(db, session, update.id).await?;
            let ticket = ticket.ok_or(TicketRefusal::NotFound)?;
            ticket.may_be_changed_by(&update.user_id)?;
            update.check_version(&ticket)?;
            let Some(ticket) = ticket.changed(&update.new, update.now) else {
                return Ok(updated(&ticket));
            };
            store::update(db, session, &ticket).await?;
            let event = events::saved(&ticket, update.event_id, update.trace.as_deref())?;
            Outbox::new(db).record(session, &event).await?;
            Ok::<_, Abort<TicketRefusal>>(updated(&ticket))
        })
    });
    let answer = answer.await?;
    if !answer.is_replayed() {
        tracing::info!(ticket.id = %id, "ticket updated");
    }
    Ok(answer)
}

/// What an update wants, and of which ticket. Id and time are those of each attempt.
struct Update {
    db: Db,
    id: ObjectId,
    new: NewTicket,
    user_id: String,
    if_match: Option<IfMatch>,
    trace: Option<String>,
    event_id: ObjectId,
    now: DateTime,
}

impl Update {
    fn check_version(&self, ticket: &Ticket) -> Result<(), TicketRefusal> {
        let wanted = self.if_match.as_ref();
        if wanted.is_some_and(|wanted| !wanted.precondition_passes(&etag(ticket))) {
            return Err(TicketRefusal::AnotherVersion);
        }
        Ok(())
    }
}

impl From<TicketRefusal> for Error {
    fn from(why: TicketRefusal) -> Self {
        match why {
            TicketRefusal::NotFound => Self::NotFound,
            TicketRefusal::NotTheOwner => Self::Forbidden(NOT_THE_OWNER),
            TicketRefusal::Reserved => Self::Conflict(RESERVED),
            TicketRefusal::AnotherVersion => Self::PreconditionFailed,
        }
    }
}

fn created(ticket: &Ticket) -> Answer {
    answer(StatusCode::CREATED, ticket)
        .with(header::LOCATION, format!("/api/tickets/{}", ticket.id))
}

fn updated(ticket: &Ticket) -> Answer {
    answer(StatusCode::OK, ticket)
}

fn answer(status: StatusCode, ticket: &Ticket) -> Answer {
    Answer::json(status, &ticket.view()).with(header::ETAG, format!("\"{}\"", ticket.version))
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
fn etag(ticket: &Ticket) -> ETag {
    let quoted = format!("\"{}\"", ticket.version);
    quoted.parse().expect("digits in quotes are an entity tag")
}
