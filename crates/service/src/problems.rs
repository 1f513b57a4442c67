//! `/problems/{kind}`: what each kind of problem means, and what a client can do. The `type` of every error is such an address.

use axum::{
    Json,
    extract::{FromRequestParts, Path},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Kind, Refusal};

/// One of the kinds. (Of a plain `Path` utoipa would make a second parameter, at which generators of clients stop.)
struct Name(String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let name = Path::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name))
            .map_err(IntoResponse::into_response)
    }
}

impl IntoParams for Name {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let names = Kind::ALL.iter().map(Kind::name);
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(names));
        let parameter = ParameterBuilder::new()
            .name("kind")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The last part of a problem's `type`."))
            .schema(Some(name));
        vec![parameter.build()]
    }
}

pub(crate) fn routes() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(problem_kind))
}

/// What a kind of problem means
#[utoipa::path(get, path = "/problems/{kind}", tag = "problems", params(Name), responses(
    (status = 200, description = "What it means, and what to do.", body = Kind),
    (status = 404, description = "There is no such kind.", body = web::Problem, content_type = "application/problem+json"),
))]
async fn problem_kind(Name(name): Name) -> Result<Json<Kind>, Refusal> {
    let kind = Kind::of_name(&name);
    kind.map(Json).ok_or(Refusal::NotFound)
}
