//! The REST interface of orders. Every order is its user's own: to others there is none.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bson::oid::ObjectId;
use db::Abort;
use messaging::Metadata;
use mongodb::ClientSession;
use service::metadata;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{
    Answer, Id, IdempotencyKey, PageQuery, Preconditions, Refusal, Trace, User, ValidJson, etag,
    paged,
};

use super::{
    model::{NewOrder, Order, OrderView},
    options::Options,
    refusal::OrderRefusal,
    store,
};

type Context = service::Context<Options>;

pub fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(list_orders, create_order))
        .routes(routes!(get_order, cancel_order))
}

/// Order a ticket
///
/// The order and the event `order.created` are saved together. The ticket's service hears of it, and reserves the ticket.
#[utoipa::path(
    post, path = "/api/orders", tag = "orders", security(("bearer" = [])),
    params(IdempotencyKey, Trace), request_body = NewOrder,
    responses(
        (status = 201, description = "The order.", body = OrderView<'_>),
        (status = 404, description = "No such ticket is known here (`no-such-ticket`)."),
        (status = 409, description = "An order holds the ticket (`ticket-reserved`), the user has too many active orders (`too-many-orders`), or a request with this `Idempotency-Key` is under way."),
    ),
)]
async fn create_order(
    State(context): State<Context>,
    user: User,
    trace: Trace,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewOrder>,
) -> Result<Answer, Refusal> {
    let id = ObjectId::new();
    let change = Change::of(id, context, user, trace);
    let ticket_id = new.ticket_id.expect("it was validated");
    let (db, create) = (change.context.db.clone(), (change, ticket_id));
    let answer = key.once(&db, create, |session, (change, ticket_id)| {
        Box::pin(async move {
            let order = change.new_order(session, *ticket_id).await?;
            change.save(session, &order).await?;
            let address = format!("/api/orders/{}", order.id);
            let created = answer(StatusCode::CREATED, &order);
            Ok::<_, Abort<OrderRefusal>>(created.with_header(header::LOCATION, address))
        })
    });
    let answer = answer.await?;
    if answer.tells_of_a_change() {
        tracing::info!(order.id = %id, "order created");
    }
    Ok(answer)
}

/// List the user's orders
///
/// The newest first, cancelled ones too; `Link` with `rel="next"` is the address of the next page.
#[utoipa::path(
    get, path = "/api/orders", tag = "orders", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "A page of orders.", body = Vec<OrderView<'_>>)),
)]
async fn list_orders(
    State(context): State<Context>,
    user: User,
    asked: PageQuery,
) -> Result<Response, Refusal> {
    let (orders, next) = store::of_user(&context.db, user.id, asked.page).await?;
    let orders: Vec<_> = orders.iter().map(Order::view).collect();
    Ok(paged(&asked, &orders, next))
}

/// Read an order
#[utoipa::path(
    get, path = "/api/orders/{id}", tag = "orders", security(("bearer" = [])), params(Id, Preconditions),
    responses((status = 200, description = "The order.", body = OrderView<'_>)),
)]
async fn get_order(
    State(context): State<Context>,
    user: User,
    Id(id): Id,
    preconditions: Preconditions,
) -> Result<Response, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let order = store::find(&context.db, id, user.id).await?;
    let order = order.ok_or(Refusal::NotFound)?;
    let etag = [(header::ETAG, etag(order.version))];
    if preconditions.is_not_modified(order.version)? {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    Ok((etag, Json(order.view())).into_response())
}

/// Cancel an order
///
/// It stays to be read, and gives its ticket back. The event `order.cancelled` is saved with the change. An order that is cancelled already
/// stays as it is, and no event tells of it again.
#[utoipa::path(
    delete, path = "/api/orders/{id}", tag = "orders", security(("bearer" = [])),
    params(Id, Preconditions, IdempotencyKey, Trace),
    responses((status = 200, description = "The order as it is now, cancelled.", body = OrderView<'_>)),
)]
async fn cancel_order(
    State(context): State<Context>,
    user: User,
    Id(id): Id,
    trace: Trace,
    preconditions: Preconditions,
    key: IdempotencyKey,
) -> Result<Answer, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let change = Change::of(id, context, user, trace);
    let (db, cancel) = (change.context.db.clone(), (change, preconditions));
    let answer = key.once(&db, cancel, |session, (change, preconditions)| {
        Box::pin(async move {
            let order = store::find_in_transaction(&change.context.db, session, change.id).await?;
            let order = order.filter(|order| order.user_id == change.user_id);
            let order = order.ok_or(OrderRefusal::NotFound)?;
            if !preconditions.accept(order.version) {
                return Err(OrderRefusal::AnotherVersion.into());
            }
            let Some(order) = order.cancelled(change.metadata.created_at) else {
                return Ok(answer(StatusCode::OK, &order).without_a_change());
            };
            change.save(session, &order).await?;
            Ok::<_, Abort<OrderRefusal>>(answer(StatusCode::OK, &order))
        })
    });
    let answer = answer.await?;
    if answer.tells_of_a_change() {
        tracing::info!(order.id = %id, "order cancelled");
    }
    Ok(answer)
}

/// Which order is made or cancelled, and by whom.
struct Change {
    context: Context,
    id: ObjectId,
    user_id: String,
    metadata: Metadata,
}

impl Change {
    fn of(id: ObjectId, context: Context, user: User, trace: Trace) -> Self {
        Self {
            context,
            id,
            user_id: user.id,
            metadata: metadata(trace),
        }
    }

    /// An order of the ticket, where the user may have it.
    async fn new_order(
        &self,
        session: &mut ClientSession,
        ticket_id: ObjectId,
    ) -> Result<Order, Abort<OrderRefusal>> {
        let Context { db, options, .. } = &self.context;
        let ticket = store::find_ticket(db, session, ticket_id).await?;
        let ticket = ticket.ok_or(OrderRefusal::NoSuchTicket)?;
        if store::is_reserved(db, session, ticket_id, &ticket).await? {
            return Err(OrderRefusal::TicketReserved.into());
        }
        let most = options.max_active_orders.into();
        if !store::take_place(db, session, &self.user_id, most).await? {
            return Err(OrderRefusal::TooManyOrders.into());
        }
        let (user_id, now) = (&self.user_id, self.metadata.created_at);
        Ok(Order::new(self.id, ticket_id, &ticket, user_id, now))
    }

    /// Saves the order with the event that tells of it.
    async fn save(&self, session: &mut ClientSession, order: &Order) -> mongodb::error::Result<()> {
        let Context { db, outbox, .. } = &self.context;
        store::save(db, session, order).await?;
        let event = order.event(&self.metadata)?;
        outbox.record(session, &event).await
    }
}

fn answer(status: StatusCode, order: &Order) -> Answer {
    Answer::json(status, &order.view()).with_header(header::ETAG, etag(order.version))
}
