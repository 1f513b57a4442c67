//! The OpenAPI document, and the page that shows it.

mod params;
mod shared;

use axum::{
    Router,
    http::{HeaderValue, Method, header},
};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, Info, OpenApi, OpenApiBuilder, PathItem,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{Problem, kept::kept};

use shared::{with_request_ids, with_shared_answers};

/// The page's own scripts and styles, and nothing from elsewhere.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// The document: what can be asked of the service, for machines to read.
pub fn document(info: Info, domain: OpenApi, open: OpenApi) -> OpenApi {
    let api = without_routes(info);
    let api = api.merge_from(with_shared_answers(domain)).merge_from(open);
    with_request_ids(api)
}

/// Every method that one of its routes has.
pub fn methods(api: &OpenApi) -> Vec<Method> {
    type Of = fn(&PathItem) -> bool;
    let all: [(Method, Of); 6] = [
        (Method::GET, |item| item.get.is_some()),
        (Method::HEAD, |item| item.get.is_some()),
        (Method::POST, |item| item.post.is_some()),
        (Method::PUT, |item| item.put.is_some()),
        (Method::PATCH, |item| item.patch.is_some()),
        (Method::DELETE, |item| item.delete.is_some()),
    ];
    let is_there = |of: Of| api.paths.paths.values().any(of);
    let there = all.into_iter().filter(|(_, of)| is_there(*of));
    there.map(|(method, _)| method).collect()
}

fn without_routes(info: Info) -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "A JWT whose `sub` (or `id`) is the user, such as the command `token --user alice` prints.",
        ))
        .build();
    // No operation names it: clients that @hey-api/openapi-ts makes take its name for that of a header, which can't have a colon, and fail.
    let cookie = ApiKeyValue::with_description(
        "express:sess",
        "base64 of `{\"jwt\":\"<token>\"}`, as Express's cookie-session writes it; SESSION_COOKIE names another. Whatever takes a bearer token takes it too.",
    );
    let mut components = Components::new();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let mut nested = Vec::new();
    Problem::schemas(&mut nested);
    nested.push((Problem::name().into_owned(), Problem::schema()));
    components.schemas.extend(nested);
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build()
}

/// `/openapi.json`, and `/docs`, which needs nothing from elsewhere.
pub fn routes(api: OpenApi) -> Router {
    // No badge of a validator elsewhere.
    let config = Config::default().validator_url("none");
    let page = Router::from(
        SwaggerUi::new("/docs")
            .url("/openapi.json", api)
            .config(config),
    );
    let policy = SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    kept(page.layer(policy))
}
