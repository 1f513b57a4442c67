//! `/problems/{kind}`: what each kind of problem means, and what a client can do. The `type` of every error is such an address.

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{
    ObjectBuilder, RefOr, Required,
    path::{Parameter, ParameterBuilder, ParameterIn},
    schema::Type,
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

const PLACE: &str = "/problems/";
const PATH: &str = "/problems/{kind}";

/// Whether the kind's `type` is an address that is answered here.
pub(crate) fn is_address(kind: &Kind) -> bool {
    let name = kind.r#type.strip_prefix(PLACE);
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// With the kinds that only the domain has.
pub(crate) fn routes(own: &'static [Kind]) -> OpenApiRouter {
    let mut routes = OpenApiRouter::new().routes(routes!(problem_kind));
    // Here, because the names are not known before the domain is.
    let path = routes.get_openapi_mut().paths.paths.get_mut(PATH);
    let operation = path.and_then(|path| path.get.as_mut());
    let operation = operation.expect("it was added above");
    operation.parameters = Some(vec![RefOr::T(name_of_a_kind(own))]);
    routes.with_state(own)
}

fn name_of_a_kind(own: &[Kind]) -> Parameter {
    let names = Kind::ALL.iter().chain(own).map(Kind::name);
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names));
    ParameterBuilder::new()
        .name("kind")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The last part of a problem's `type`."))
        .schema(Some(name))
        .build()
}

/// What a kind of problem means
#[utoipa::path(get, path = PATH, tag = "problems", responses(
    (status = 200, description = "What it means, and what to do.", body = Kind),
    (status = 404, description = "There is no such kind.", body = web::Problem, content_type = "application/problem+json"),
))]
async fn problem_kind(
    State(own): State<&'static [Kind]>,
    Name(name): Name,
) -> Result<Json<Kind>, Refusal> {
    let own = || own.iter().copied().find(|kind| kind.name() == name);
    let kind = Kind::of_name(&name).or_else(own);
    kind.map(Json).ok_or(Refusal::NotFound)
}
