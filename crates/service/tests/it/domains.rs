//! What a domain may bring, and what it may leave out.

use axum::{extract::State, http::StatusCode};
use serde_json::Value;
use service::{Context, NoOptions, Service};
use testbed::assert_problem;
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{Kind, Refusal};

use crate::toy::Toy;

#[derive(clap::Args)]
struct Options {
    #[arg(long)]
    most: u32,
}

#[utoipa::path(get, path = "/api/most", responses((status = 200, description = "How many.")))]
async fn most(State(context): State<Context<Options>>) -> String {
    context.options.most.to_string()
}

#[tokio::test]
async fn handlers_have_the_domains_own_settings() {
    let service = Service::new("toy", "0.1.0")
        .options::<Options>()
        .routes(|| OpenApiRouter::new().routes(routes!(most)));
    let toy = Toy::start(service, Options { most: 7 }).await;
    let answer = toy.get("/api/most").await;
    assert_eq!(answer.text().await.unwrap(), "7");
    toy.finish().await;
}

const SOLD_OUT: Kind = Kind {
    r#type: "/problems/sold-out",
    title: "Nothing is left",
    status: StatusCode::CONFLICT,
    description: "Ask for another one.",
};

#[utoipa::path(post, path = "/api/things", responses((status = 201, description = "Never.")))]
async fn buy() -> Refusal {
    Refusal::Own(SOLD_OUT, "nothing is left of it")
}

#[tokio::test]
async fn a_domains_own_kind_of_problem_is_answered_and_says_what_it_means() {
    let service = Service::new("toy", "0.1.0")
        .problems(&[SOLD_OUT])
        .routes(|| OpenApiRouter::new().routes(routes!(buy)));
    let document = serde_json::to_value(service.openapi()).unwrap();
    let toy = Toy::start(service, NoOptions {}).await;
    let bought = testbed::client().post(format!("{}/api/things", toy.address));
    let problem = assert_problem(bought.send().await.unwrap(), 409).await;
    assert_eq!(problem["type"], "/problems/sold-out");
    assert_eq!(problem["title"], "Nothing is left");
    assert_eq!(problem["errors"][0]["message"], "nothing is left of it");
    let told: Value = toy.get("/problems/sold-out").await.json().await.unwrap();
    assert_eq!(told["description"], "Ask for another one.");
    assert_eq!(toy.get("/problems/conflict").await.status(), 200);
    assert_eq!(toy.get("/problems/nonsense").await.status(), 404);
    let kinds = &document["paths"]["/problems/{kind}"]["get"]["parameters"][0]["schema"]["enum"];
    let kinds = kinds.as_array().unwrap();
    assert!(kinds.contains(&"sold-out".into()) && kinds.contains(&"conflict".into()));
    toy.finish().await;
}

#[test]
#[should_panic(expected = "by a name that is not taken")]
fn a_kind_of_problem_by_a_name_that_is_taken_is_told_to_the_programmer() {
    let taken = const {
        &[Kind {
            r#type: "/problems/conflict",
            ..SOLD_OUT
        }]
    };
    drop(Service::new("toy", "0.1.0").problems(taken));
}

#[tokio::test]
async fn a_service_without_routes_and_events_lives_and_stops() {
    let toy = Toy::start(Service::new("toy", "0.1.0"), NoOptions {}).await;
    assert_eq!(toy.get("/api/most").await.status(), 404);
    assert!(toy.place.events().await.is_empty());
    toy.finish().await;
}

#[test]
#[should_panic(expected = "options stand before routes and consumers")]
fn options_after_the_routes_are_told_to_the_programmer() {
    let service = Service::new("toy", "0.1.0").routes(OpenApiRouter::new);
    drop(service.options::<Options>());
}
