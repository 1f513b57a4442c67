//! The AsyncAPI document, which is made elsewhere, and the page that shows it: plain HTML without a script.

mod page;

use axum::{
    Json, Router,
    http::{HeaderValue, header},
    response::Html,
    routing::get,
};
use serde_json::Value;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::kept::kept;

/// The page's own style, and nothing else.
const PAGE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'self'; frame-ancestors 'none'");
const CSS: &str = "text/css; charset=utf-8";

/// Where the page is.
pub const PAGE: &str = "/docs/events";
const STYLE: &str = "/docs/events.css";

/// `/asyncapi.json`, and the page.
pub fn routes(document: Value) -> Router {
    let html = page::of(&document, STYLE).into_string();
    let style = async || {
        (
            [(header::CONTENT_TYPE, CSS)],
            include_str!("asyncapi/page.css"),
        )
    };
    let policy = SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    let routes = Router::new()
        .route("/asyncapi.json", get(async move || Json(document)))
        .route(PAGE, get(async move || Html(html)))
        .route(STYLE, get(style));
    kept(routes.layer(policy))
}
