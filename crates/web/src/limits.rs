//! How much is worked on at once: so many requests, and so many changes of one thing by one user, each for so long.

use std::{panic::resume_unwind, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use metrics::counter;
use tokio::{sync::Semaphore, time::timeout};
use tracing::Instrument;

use crate::{
    Refusal, Timing,
    changes::{Changes, what_it_changes},
    idempotency::WholeBody,
    observe::HTTP_REFUSED,
};

#[derive(Clone)]
struct Workload {
    permits: Arc<Semaphore>,
    changes: Changes,
    timing: Timing,
}

/// Works on `concurrency_limit` requests to `routes` at once, and refuses those above (503).
pub(crate) fn with_bounded_work(
    routes: Router,
    concurrency_limit: usize,
    timing: Timing,
) -> Router {
    let workload = Workload {
        permits: Arc::new(Semaphore::new(concurrency_limit)),
        changes: Changes::default(),
        timing,
    };
    routes.layer(middleware::from_fn_with_state(workload, bound_work))
}

/// Work goes on in a task of its own when its client hangs up, as it does in the database, and counts until it is done or
/// its time is over: clients that give up and send again would else pile up more than is allowed.
async fn bound_work(State(workload): State<Workload>, request: Request, next: Next) -> Response {
    let Workload {
        permits,
        changes,
        timing,
    } = workload;
    let request = match timeout(timing.body, with_whole_body(request)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return error.into_response(),
        Err(_) => return Refusal::BodyTimeout.into_response(),
    };
    let (request, changed) = what_it_changes(request).await;
    let change = match changed.map(|changed| changes.begin(changed)) {
        Some(None) => return Refusal::Contended.into_response(),
        change => change.flatten(),
    };
    let Ok(permit) = permits.try_acquire_owned() else {
        counter!(HTTP_REFUSED).increment(1);
        return Refusal::Overloaded.into_response();
    };
    let work = async move {
        let answer = timeout(timing.work, next.run(request)).await;
        drop((permit, change));
        answer.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
    };
    match tokio::spawn(work.in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => Refusal::Internal(error.into()).into_response(),
        },
    }
}

/// Slow clients wait here, and keep nobody else from being served.
async fn with_whole_body(request: Request) -> Result<Request, Refusal> {
    let (mut parts, body) = request.into_parts();
    match Bytes::from_request(Request::new(body), &()).await {
        Ok(body) => {
            parts.extensions.insert(WholeBody(body.clone()));
            Ok(Request::from_parts(parts, Body::from(body)))
        }
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Refusal::PayloadTooLarge)
        }
        Err(_) => Err(Refusal::invalid(
            "the body could not be read, or comes in too many parts",
        )),
    }
}
