//! What the service has to be allowed to where it consumes too, in NATS and in MongoDB: what `docs/operations.md` tells, to the letter.

use std::time::Duration;

use testbed::{eventually, log::Log, mongo_uri};

use crate::{
    harness::{Place, TestApp},
    orders::{Order, Orders},
    permissions::{Strict, documented, permissions},
    process::command,
    reservations::{are_marked, is_held},
    rights::Guarded,
};

const DENIED: &str = "NATS does not let us";
const NOWHERE: &str = "000000000000000000000000";

/// What who publishes and who consumes need together; and somebody without a name who makes streams.
fn config() -> String {
    let (publishes, consumes) = (documented(0), documented(1));
    let (_, consumes) = consumes.split_once('[').unwrap();
    let (consumes, _) = consumes.rsplit_once(']').unwrap();
    let allow = "publish: { allow: [\n";
    let both = publishes.replace(
        "users = [\n",
        "users = [\n    { user: root, password: \"…\" }\n",
    );
    let both = both.replace(allow, &format!("{allow}{consumes}"));
    format!("{both}no_auth_user: root\n")
}

/// A service that consumes, and an order that is a base: the stream has lost its beginning.
async fn with_a_base(strict: &Strict) -> (Orders, TestApp, Order) {
    let orders = Orders::at(&strict.place_of_others()).await;
    let mut order = Order::of(NOWHERE);
    orders.publish(&mut order, "order.created").await;
    orders.lose(&strict.place).await;
    let app = TestApp::start_at(strict.place.clone().consuming()).await;
    // Of a type that nobody here knows.
    orders.publish(&mut order, "order.completed").await;
    (orders, app, order)
}

#[tokio::test]
async fn what_operations_tells_is_enough_to_publish_and_to_consume() {
    let (log, _guard) = Log::capture();
    let guarded = Guarded::start().await;
    let mut strict = Strict::of(guarded.place.clone());
    strict.start(&config()).await;
    let (orders, app, base) = with_a_base(&strict).await;
    are_marked(&app, &[&base], 1).await;
    let ticket = app.create().await;
    let mut order = Order::of(&ticket);
    orders.publish(&mut order, "order.created").await;
    is_held(&app, &ticket, Some(&order), 1).await;
    // One that is refused, and what waits behind it.
    let mut refused = Order::of(NOWHERE);
    orders.publish(&mut refused, "order.created").await;
    orders.publish(&mut refused, "order.cancelled").await;
    eventually("all is acknowledged", async || {
        orders.unacknowledged(&app.place).await == 0
    })
    .await;
    for command_line in [
        &["status"][..],
        &["list"],
        &["retry", &refused.id],
        &["retry", "--all-dead"],
        &["skip", &refused.id, "--reason", "x"],
    ] {
        let mut inbox = command(&app.place);
        let output = inbox.arg("inbox").args(command_line).output().unwrap();
        assert!(output.status.success(), "{command_line:?}: {output:?}");
    }
    are_marked(&app, &[&refused], 1).await;
    app.place.drained().await;
    assert_eq!(log.lines_with(DENIED), [""; 0]);
    assert_eq!(log.lines_with("not authorized"), [""; 0]);
    app.stop().await;
}

#[tokio::test]
async fn each_permission_that_a_consumer_lacks_is_named_by_the_log() {
    let permissions = permissions(&documented(1));
    assert_eq!(permissions.len(), 6, "{permissions:?}");
    for missing in permissions {
        let mut place = Place::at(&mongo_uri(), "");
        let inbox = &mut place.timing.outbox.inbox;
        inbox.pull = Duration::from_secs(1);
        inbox.heartbeat = Duration::from_millis(300);
        inbox.lag = Duration::from_millis(300);
        let mut strict = Strict::of(place);
        strict.start(&config().replace(&missing, "nothing")).await;
        let (log, _guard) = Log::capture();
        let (_, app, _) = with_a_base(&strict).await;
        let line = log.told(DENIED).await;
        let named = strict.named(&missing);
        assert!(line.contains(&named), "{line} does not name {missing}");
        app.stop().await.database().await.drop().await.unwrap();
    }
}
