//! Whether a browser was made to send a request by a page of another site: its cookies come along, and prove nothing.

use axum::http::{HeaderMap, HeaderValue, header, request::Parts};

/// A write that a page of another site may have made. Browsers say where a request comes from in
/// `Sec-Fetch-Site`, older ones in `Origin`; what says neither is not a browser, and sends no cookie unasked.
/// The rules are those of Go's `net/http.CrossOriginProtection`.
pub(crate) fn is_cross_site_write(parts: &Parts, trusted_origins: &[HeaderValue]) -> bool {
    let headers = &parts.headers;
    if parts.method.is_safe() {
        return false;
    }
    let origin = headers.get(header::ORIGIN);
    if origin.is_some_and(|origin| trusted_origins.contains(origin)) {
        return false;
    }
    match (text(headers, "sec-fetch-site"), origin) {
        (Some("same-origin" | "none"), _) => false,
        (Some(_), _) => true,
        (None, None) => false,
        (None, Some(_)) => host_of_origin(headers) != text(headers, "host"),
    }
}

fn host_of_origin(headers: &HeaderMap) -> Option<&str> {
    text(headers, "origin")?
        .split_once("://")
        .map(|(_, host)| host)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
