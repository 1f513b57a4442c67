//! How much is worked on at once: so many requests, and so many changes of one thing by one user, each for so long.

use std::{collections::HashMap, panic::resume_unwind, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, RawPathParams, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use metrics::counter;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{
    Refusal, Timing, auth::Caller, idempotency::WholeBody, observe::HTTP_REFUSED, refusal::Cause,
};

/// Changes of one thing by one user that are worked on at once; those above are answered 503 at once.
pub const CHANGES_AT_ONCE: usize = 4;

#[derive(Clone)]
pub(crate) struct Workload {
    permits: Arc<Semaphore>,
    changes: Changes,
    timing: Timing,
    work: TaskTracker,
}

impl Workload {
    /// Allows so many requests at once, and refuses those above (503).
    pub(crate) fn new(concurrency_limit: usize, timing: Timing, work: TaskTracker) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(concurrency_limit)),
            changes: Changes::default(),
            timing,
            work,
        }
    }
}

/// Nothing failed, as far as is known: whoever reads the log is told what ended the request.
fn too_late(limit: Duration) -> Response {
    let cause = anyhow::anyhow!("not answered within {limit:?}");
    let mut answer = Refusal::WorkTimeout.into_response();
    answer.extensions_mut().insert(Cause(Arc::new(cause)));
    answer
}

/// Work goes on in a task of its own when its client hangs up, as it does in the database, and counts until it is done or
/// its time is over: clients that give up and send again would else pile up more than is allowed.
pub(crate) async fn bound_work(
    State(workload): State<Workload>,
    request: Request,
    next: Next,
) -> Response {
    let Workload {
        permits,
        changes,
        timing,
        work: tasks,
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
        answer.unwrap_or_else(|_| too_late(timing.work))
    };
    match tasks.spawn(work.in_current_span()).await {
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

/// A user, and the path's parameters in lower case: an id has several spellings. Of a user, since one must not keep out another.
type Key = (String, Vec<(String, String)>);

/// Changes that are under way. More of one thing would only meet each other in the database, which tries each again, and slow down
/// everybody else.
#[derive(Clone, Default)]
struct Changes(Arc<Mutex<HashMap<Key, usize>>>);

/// One of them, until it is dropped.
struct Change {
    of: Changes,
    key: Key,
}

impl Changes {
    /// `None` where there are enough.
    fn begin(&self, key: Key) -> Option<Change> {
        let mut counts = self.0.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= CHANGES_AT_ONCE {
            return None;
        }
        *count += 1;
        let of = self.clone();
        Some(Change { of, key })
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut counts = self.of.0.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// What a request changes, and who wants it; `None` for what changes nothing that its path names.
async fn what_it_changes(request: Request) -> (Request, Option<Key>) {
    let is_write = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let caller = request.extensions().get::<Caller>();
    let user = caller.and_then(|caller| caller.user.as_ref().ok());
    let Some(user) = user.filter(|_| is_write).map(|user| user.id.clone()) else {
        return (request, None);
    };
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params: Vec<_> = params.iter().flatten().collect();
    let named = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_ascii_lowercase()));
    let key = (!params.is_empty()).then(|| (user, named.collect()));
    (Request::from_parts(parts, body), key)
}
