//! How long requests take, by route, method and status.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};

use crate::metrics::HTTP_DURATION;

/// Measures a request until its answer begins.
pub(super) async fn measure(request: Request, next: Next) -> Response {
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
        metrics::histogram!(HTTP_DURATION, "method" => self.method, "route" => route, "status" => status)
            .record(self.began.elapsed());
    }
}

/// Clients may make methods up.
pub(super) fn known(method: &Method) -> &'static str {
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
