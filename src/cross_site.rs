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

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn is_cross_site(method: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let trusted = [HeaderValue::from_static("https://app.example.com")];
        let parts = request.body(()).unwrap().into_parts().0;
        is_cross_site_write(&parts, &trusted)
    }

    #[test]
    fn what_the_browser_says_decides() {
        for (site, is_cross) in [
            ("same-origin", false),
            ("none", false),
            ("same-site", true),
            ("cross-site", true),
            ("", true),
        ] {
            let headers = [
                ("sec-fetch-site", site),
                ("origin", "https://host"),
                ("host", "host"),
            ];
            assert_eq!(is_cross_site("PUT", &headers), is_cross, "{site}");
        }
    }

    #[test]
    fn an_older_browsers_origin_is_compared_with_the_host() {
        for (origin, is_cross) in [
            ("https://host:3000", false),
            ("http://host:3000", false),
            ("https://host", true),
            ("https://evil.example", true),
            ("null", true),
            ("https://app.example.com", false),
        ] {
            let headers = [("origin", origin), ("host", "host:3000")];
            assert_eq!(is_cross_site("POST", &headers), is_cross, "{origin}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_browser_and_what_only_reads_may_come_from_anywhere() {
        assert!(!is_cross_site("POST", &[("host", "host")]));
        assert!(!is_cross_site("GET", &[("sec-fetch-site", "cross-site")]));
    }
}
