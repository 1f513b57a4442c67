//! An order is not saved without its event, nor the event without its order.

use bson::{Document, doc};

use crate::harness::App;

#[tokio::test]
async fn an_order_is_not_saved_without_its_event_nor_the_event_without_its_order() {
    let app = App::start().await;
    let (held, free) = (app.ticket().await, app.ticket().await);
    let id = app.ordered("alice", &held).await;
    app.place.drained().await;
    let database = app.place.database().await;
    let refuse = async |collection: &str, validator: Document| {
        let command = doc! { "collMod": collection, "validator": validator };
        database.run_command(command).await.unwrap();
    };
    for collection in ["events", "orders"] {
        refuse(collection, doc! { "impossible": true }).await;
        assert_eq!(app.order("alice", &free).await.status(), 500);
        assert_eq!(app.cancel("alice", &id).await.status(), 500);
        refuse(collection, doc! {}).await;
        assert_eq!(
            (app.count("orders").await, app.count("events").await),
            (1, 1),
            "{collection}"
        );
        let read = app.get(&format!("/api/orders/{id}"), "alice").await;
        assert_eq!(read.headers()["etag"], "\"0\"");
    }
    app.finish().await;
}
