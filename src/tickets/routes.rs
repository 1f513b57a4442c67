//! The REST interface of tickets.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bson::oid::ObjectId;
use db::Abort;
use messaging::Metadata;
use service::{Context, metadata};
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{
    Answer, Id, IdempotencyKey, PageQuery, Preconditions, Refusal, Trace, User, ValidJson, etag,
    paged,
};

use super::{
    model::{NewTicket, Ticket, TicketRefusal, TicketView},
    store,
};

pub fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list_tickets, create_ticket))
        .routes(routes!(get_ticket, update_ticket))
}

/// Create a ticket
///
/// The ticket and the event `ticket.created` are saved together.
#[utoipa::path(
    post, path = "/api/tickets", tag = "tickets", security(("bearer" = [])),
    params(IdempotencyKey, Trace), request_body = NewTicket,
    responses((status = 201, description = "The ticket.", body = TicketView<'_>)),
)]
async fn create_ticket(
    State(context): State<Context>,
    user: User,
    trace: Trace,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewTicket>,
) -> Result<Answer, Refusal> {
    let metadata = metadata(trace);
    let ticket = Ticket::new(&new, user.id, metadata.created_at);
    let (id, db) = (ticket.id, context.db.clone());
    let create = (context, ticket, metadata);
    let answer = key.once(&db, create, |session, (context, ticket, metadata)| {
        Box::pin(async move {
            store::insert(&context.db, session, ticket).await?;
            let event = ticket.event(metadata)?;
            context.outbox.record(session, &event).await?;
            Ok::<_, Abort<TicketRefusal>>(created(ticket))
        })
    });
    let answer = answer.await?;
    if answer.tells_of_a_change() {
        tracing::info!(ticket.id = %id, "ticket created");
    }
    Ok(answer)
}

/// List the available tickets
///
/// The newest first; `Link` with `rel="next"` is the address of the next page.
#[utoipa::path(
    get, path = "/api/tickets", tag = "tickets", params(PageQuery),
    responses((status = 200, description = "A page of tickets.", body = Vec<TicketView<'_>>)),
)]
async fn list_tickets(
    State(context): State<Context>,
    asked: PageQuery,
) -> Result<Response, Refusal> {
    let (tickets, next) = store::available(&context.db, asked.page).await?;
    let tickets: Vec<_> = tickets.iter().map(Ticket::view).collect();
    Ok(paged(&asked, &tickets, next))
}

/// Read a ticket
#[utoipa::path(
    get, path = "/api/tickets/{id}", tag = "tickets", params(Id, Preconditions),
    responses((status = 200, description = "The ticket.", body = TicketView<'_>)),
)]
async fn get_ticket(
    State(context): State<Context>,
    Id(id): Id,
    preconditions: Preconditions,
) -> Result<Response, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let ticket = store::find(&context.db, id).await?;
    let ticket = ticket.ok_or(Refusal::NotFound)?;
    let etag = [(header::ETAG, etag(ticket.version))];
    if preconditions.is_not_modified(ticket.version)? {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    Ok((etag, Json(ticket.view())).into_response())
}

/// Change a ticket
///
/// Only its owner may, and only while no order holds it. The event `ticket.updated` is saved with the change.
#[utoipa::path(
    put, path = "/api/tickets/{id}", tag = "tickets", security(("bearer" = [])),
    params(Id, Preconditions, IdempotencyKey, Trace), request_body = NewTicket,
    responses(
        (status = 200, description = "The ticket as it is now.", body = TicketView<'_>),
        (status = 403, description = "The user is not the owner, or a page of another site sent the session cookie."),
        (status = 409, description = "An order has reserved the ticket, or a request with this `Idempotency-Key` is under way."),
    ),
)]
async fn update_ticket(
    State(context): State<Context>,
    user: User,
    Id(id): Id,
    trace: Trace,
    preconditions: Preconditions,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewTicket>,
) -> Result<Answer, Refusal> {
    // After the body: an invalid body is 400 on any id.
    let id = id.ok_or(Refusal::NotFound)?;
    let db = context.db.clone();
    let update = Update {
        context,
        id,
        new,
        user_id: user.id,
        preconditions,
        metadata: metadata(trace),
    };
    let answer = key.once(&db, update, |session, update| {
        Box::pin(async move {
            let Context { db, outbox, .. } = &update.context;
            let ticket = store::find_in_transaction(db, session, update.id).await?;
            let ticket = ticket.ok_or(TicketRefusal::NotFound)?;
            ticket.may_be_changed_by(&update.user_id)?;
            if !update.preconditions.accept(ticket.version) {
                return Err(TicketRefusal::AnotherVersion.into());
            }
            let now = update.metadata.created_at;
            let Some(ticket) = ticket.changed(&update.new, now)? else {
                return Ok(updated(&ticket).without_a_change());
            };
            store::update(db, session, &ticket).await?;
            let event = ticket.event(&update.metadata)?;
            outbox.record(session, &event).await?;
            Ok::<_, Abort<TicketRefusal>>(updated(&ticket))
        })
    });
    let answer = answer.await?;
    if answer.tells_of_a_change() {
        tracing::info!(ticket.id = %id, "ticket updated");
    }
    Ok(answer)
}

/// What an update wants, and of which ticket.
struct Update {
    context: Context,
    id: ObjectId,
    new: NewTicket,
    user_id: String,
    preconditions: Preconditions,
    metadata: Metadata,
}

impl From<TicketRefusal> for Refusal {
    fn from(why: TicketRefusal) -> Self {
        match why {
            TicketRefusal::NotFound => Self::NotFound,
            TicketRefusal::NotTheOwner => Self::Forbidden("only the owner may change it"),
            TicketRefusal::Reserved => Self::Conflict("the ticket is reserved by an order"),
            TicketRefusal::AnotherVersion => Self::PreconditionFailed,
            TicketRefusal::LastVersion => {
                tracing::error!("a ticket has the last version that there is; it stays as it is");
                Self::Conflict("the ticket can't be changed any more")
            }
        }
    }
}

fn created(ticket: &Ticket) -> Answer {
    answer(StatusCode::CREATED, ticket)
        .with_header(header::LOCATION, format!("/api/tickets/{}", ticket.id))
}

fn updated(ticket: &Ticket) -> Answer {
    answer(StatusCode::OK, ticket)
}

fn answer(status: StatusCode, ticket: &Ticket) -> Answer {
    Answer::json(status, &ticket.view()).with_header(header::ETAG, etag(ticket.version))
}
