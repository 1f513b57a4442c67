//! Changes that are under way: a few of one thing by one user. More would only meet each other in the database, which tries each again, and
//! slow down everybody else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{FromRequestParts, RawPathParams, Request},
    http::Method,
};

use crate::auth::Caller;

/// Changes of one thing by one user that are worked on at once; those above are answered 503 at once.
pub const CHANGES_AT_ONCE: usize = 4;

/// A user, and the path's parameters in lower case: an id has several spellings. Of a user, since one must not keep out another.
type Key = (String, Vec<(String, String)>);

/// How many are under way.
#[derive(Clone, Default)]
pub(crate) struct Changes(Arc<Mutex<HashMap<Key, usize>>>);

/// One of them, until it is dropped.
pub(crate) struct Change {
    of: Changes,
    key: Key,
}

impl Changes {
    /// `None` where there are enough.
    pub(crate) fn begin(&self, key: Key) -> Option<Change> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut counts = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// What a request changes, and who wants it; `None` for what changes nothing that its path names.
pub(crate) async fn what_it_changes(request: Request) -> (Request, Option<Key>) {
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
