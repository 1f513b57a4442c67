//! What a domain may bring, and what it may leave out.

use axum::extract::State;
use service::{Context, NoOptions, Service};
use utoipa_axum::{router::OpenApiRouter, routes};

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
