//! The metrics of this crate: how long requests take, by route, method and status, and how many are refused.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};

use metrics::{counter, describe_counter, describe_histogram, histogram};

const HTTP_DURATION: &str = "http_server_request_duration_seconds";
pub(crate) const HTTP_REFUSED: &str = "http_server_requests_refused_total";

/// Says what each metric means, and begins those whose labels are known.
pub fn describe() {
    describe_histogram!(
        HTTP_DURATION,
        "Time from a request's head to its answer's, by method, route and status; status is aborted where the client hung up before."
    );
    describe_counter!(
        HTTP_REFUSED,
        "Requests that were refused (503) because CONCURRENCY_LIMIT were being worked on, or too many wait for MongoDB."
    );
    counter!(HTTP_REFUSED).absolute(0);
}

/// Measures a request until its answer begins.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut measured = Measured {
        began: Instant::now(),
        method: known(request.method()),
        route,
        status: None,
    };
    let response = next.run(request).await;
    measured.status = Some(response.status());
    response
}

/// Recorded when it is dropped: also where the client hangs up, and the request with it.
struct Measured {
    began: Instant,
    method: &'static str,
    /// The pattern, never the path: the number of series is bounded.
    route: Option<MatchedPath>,
    status: Option<StatusCode>,
}

impl Drop for Measured {
    fn drop(&mut self) {
        let route = self.route.as_ref();
        let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
        let status = self.status.map_or_else(
            || "aborted".to_owned(),
            |status| status.as_u16().to_string(),
        );
        histogram!(HTTP_DURATION, "method" => self.method, "route" => route, "status" => status)
            .record(self.began.elapsed());
    }
}

/// Clients may make methods up.
pub(crate) fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
