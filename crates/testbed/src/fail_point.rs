//! What MongoDB fails at, or holds, on purpose. A fail point holds for all of a server: it has to be the test's own.

use bson::{Bson, Document, doc};

use crate::{Place, eventually};

/// Commands of this name of `place`'s service meet `what`.
pub async fn fail(place: &Place, mode: impl Into<Bson>, command: &str, what: Document) {
    let mut data = doc! { "failCommands": [command], "appName": &place.name };
    data.extend(what);
    let mode: Bson = mode.into();
    let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    let admin = place.database().await.client().database("admin");
    admin.run_command(command).await.unwrap();
}

/// The next one does.
pub async fn at_the_next(place: &Place, command: &str, what: Document) {
    fail(place, doc! { "times": 1 }, command, what).await;
}

/// Waits until a fail point was met so many times.
pub async fn has_entered(place: &Place, times: i32) {
    let admin = place.database().await.client().database("admin");
    let entered =
        doc! { "waitForFailPoint": "failCommand", "timesEntered": times, "maxTimeMS": 15_000 };
    admin.run_command(entered).await.unwrap();
}

/// Waits until such a command of a transaction is held at the server.
pub async fn is_held(place: &Place, command: &str) {
    let admin = place.database().await.client().database("admin");
    let held = [
        doc! { "$currentOp": { "allUsers": true, "idleSessions": true } },
        doc! { "$match": { format!("command.{command}"): { "$exists": true } } },
    ];
    eventually("a command is held", async || {
        let mut found = admin.aggregate(held.clone()).await.unwrap();
        found.advance().await.unwrap()
    })
    .await;
}
