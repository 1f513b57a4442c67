//! What the OpenAPI document says of every route alike, and the page that shows it.

use axum::{
    Router,
    http::{HeaderValue, header},
};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder,
        OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder,
        path::Operation,
        schema::Type,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::SwaggerUi;

use crate::{config::SERVICE, error::Problem};

/// The page's own scripts and styles, and nothing from elsewhere.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// The document before its routes.
pub fn openapi() -> OpenApi {
    let info = InfoBuilder::new()
        .title(SERVICE)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(env!("CARGO_PKG_DESCRIPTION")))
        .license(Some(
            LicenseBuilder::new()
                .name(env!("CARGO_PKG_LICENSE"))
                .identifier(Some(env!("CARGO_PKG_LICENSE")))
                .build(),
        ))
        .build();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "A JWT whose `sub` (or `id`) is the user, such as `tickets token --user alice` prints.",
        ))
        .build();
    let cookie = ApiKeyValue::with_description(
        "express:sess",
        "base64 of `{\"jwt\":\"<token>\"}`, as Express's cookie-session writes it; SESSION_COOKIE names another.",
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

/// Adds to every operation what any of them may answer.
pub fn with_shared_answers(mut api: OpenApi) -> OpenApi {
    for (path, item) in &mut api.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.put];
        for operation in operations.into_iter().flatten() {
            add(operation, "500", "Something went wrong on our side.");
            add(
                operation,
                "503",
                "MongoDB could not answer in time, or the service is overloaded or stopping; see `Retry-After`.",
            );
            if path.starts_with("/api/") {
                add(operation, "429", "Too many requests; see `Retry-After`.");
                add(
                    operation,
                    "400",
                    "The request is not valid; `errors` says why.",
                );
            }
            if operation.request_body.is_some() {
                add(
                    operation,
                    "401",
                    "There is no token, or not one that is accepted.",
                );
                add(
                    operation,
                    "403",
                    "The user may not, or a page of another site sent the session cookie.",
                );
                add(
                    operation,
                    "409",
                    "The state of the resource forbids it, or a request with this `Idempotency-Key` is under way.",
                );
                add(operation, "413", "The body is larger than 64 KiB.");
                add(operation, "415", "The body is not `application/json`.");
                add(
                    operation,
                    "422",
                    "The `Idempotency-Key` was used for another request.",
                );
            }
        }
    }
    api
}

fn add(operation: &mut Operation, status: &str, description: &str) {
    let answers = &mut operation.responses.responses;
    answers
        .entry(status.to_owned())
        .or_insert_with(|| RefOr::T(problem(status, description)));
}

fn problem(status: &str, description: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content);
    let header = |text: &str, of: Type| {
        HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(of).build()))
            .description(Some(text))
            .build()
    };
    if matches!(status, "429" | "503") {
        response = response.header("Retry-After", header("Seconds.", Type::Integer));
    }
    if status == "401" {
        response = response.header("WWW-Authenticate", header("`Bearer`.", Type::String));
    }
    response.build()
}

/// `/openapi.json`, and `/docs`, which needs nothing from elsewhere.
pub fn docs_routes(api: OpenApi) -> Router {
    let page = Router::from(SwaggerUi::new("/docs").url("/openapi.json", api));
    let policy = SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    page.layer(policy)
}
