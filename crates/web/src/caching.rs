//! Who may keep an answer. What needs a token is for nobody's cache; what anybody may read is asked for again each time, which costs
//! a 304 where it has an `ETag`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    extract::Request,
    http::{
        HeaderValue,
        header::{CACHE_CONTROL, Entry},
    },
    middleware::Next,
    response::Response,
};

/// Of what nobody should keep.
pub(crate) const NOWHERE: HeaderValue = HeaderValue::from_static("no-store");
pub(crate) const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const OF_ONE_USER: HeaderValue = HeaderValue::from_static("private, no-store");

/// Whether a handler asked who is calling; put beside the request, and set by the extractor.
#[derive(Debug, Clone, Default)]
pub(crate) struct NeedsUser(Arc<AtomicBool>);

impl NeedsUser {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says it in `Cache-Control`, where the handler did not.
pub(crate) async fn say_who_may_keep_it(mut request: Request, next: Next) -> Response {
    let needs_user = NeedsUser::default();
    request.extensions_mut().insert(needs_user.clone());
    let is_read = request.method().is_safe();
    let mut response = next.run(request).await;
    if let Entry::Vacant(entry) = response.headers_mut().entry(CACHE_CONTROL) {
        let is_public = is_read && !needs_user.get();
        entry.insert(if is_public { ASK_AGAIN } else { OF_ONE_USER });
    }
    response
}
