//! What hyper does not look at in a head. Whom it is for: exactly one `Host` (RFC 9112 §3.2), since proxies and the cross-site check decide
//! by it. And how long one of HTTP/2 is: as long as one of HTTP/1 at most, with an answer of ours.

use axum::{
    extract::Request,
    http::{
        StatusCode, Version,
        header::{self, HeaderValue},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{HEAD_LIMIT_BYTES, Refusal};

/// Refuses a request (400) that is for nobody, for two, or for what is no host; and one of HTTP/2 (431) whose head is too long.
pub(crate) async fn ask_for_one_host(request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_2 && length(&request) > HEAD_LIMIT_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let why = "the head of the request is larger than 32 KB";
        return Refusal::MalformedHead(status, why).into_response();
    }
    if is_for_one_host(&request) {
        next.run(request).await
    } else {
        Refusal::invalid("the request must have one Host header, with a host and its port")
            .into_response()
    }
}

/// As HTTP/1 would write it.
fn length(request: &Request) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 4);
    let target = request.uri().path_and_query();
    headers.sum::<usize>() + target.map_or(0, |it| it.as_str().len())
}

/// HTTP/1.0 did not know `Host`; HTTP/2 has it in `:authority`, and a `host` beside it says the same (RFC 9113 §8.3.1). In HTTP/1 an
/// address with a host goes before the header.
fn is_for_one_host(request: &Request) -> bool {
    let (version, authority) = (request.version(), request.uri().authority());
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version != Version::HTTP_11,
        (Some(host), None) if version == Version::HTTP_2 => {
            let same =
                |it: &Authority| it.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes());
            is_host(host) && authority.is_none_or(same)
        }
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
