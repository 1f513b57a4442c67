//! Whom a request is for: exactly one `Host` (RFC 9112 §3.2), since proxies and the cross-site check decide by it. hyper does not look at it.

use axum::{
    extract::Request,
    http::{
        HeaderMap, Version,
        header::{self, HeaderValue},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::Refusal;

/// Refuses a request (400) that is for nobody, for two, or for what is no host.
pub(crate) async fn ask_for_one_host(request: Request, next: Next) -> Response {
    if is_for_one_host(request.version(), request.headers()) {
        next.run(request).await
    } else {
        Refusal::invalid("the request must have one Host header, with a host and its port")
            .into_response()
    }
}

/// HTTP/1.0 did not know `Host`; HTTP/2 has it in `:authority`.
fn is_for_one_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version != Version::HTTP_11,
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
    }
}

/// Empty is allowed: of a target without one.
fn is_host(host: &HeaderValue) -> bool {
    let host = host.as_bytes();
    let authority = || Authority::try_from(host).is_ok_and(|it| !it.as_str().contains('@'));
    host.is_empty() || authority()
}
