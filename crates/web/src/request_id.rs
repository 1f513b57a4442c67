//! Which request ids from outside are taken over into our log.

use axum::extract::Request;

use crate::stack::X_REQUEST_ID;

const MAX_LENGTH: usize = 128;

/// Removes an `x-request-id` that is too long or holds anything but letters, digits and `-_.:`.
pub(crate) async fn drop_insane(mut request: Request) -> Request {
    let sane = |id: &[u8]| {
        (1..=MAX_LENGTH).contains(&id.len())
            && id
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
    };
    if request
        .headers()
        .get(X_REQUEST_ID)
        .is_some_and(|id| !sane(id.as_bytes()))
    {
        request.headers_mut().remove(X_REQUEST_ID);
    }
    request
}
