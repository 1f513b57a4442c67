//! The wall clock of a MongoDB member that is minutes away from all others, and the primary's. NATS is a static binary, whose
//! clock can't be changed so.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bson::{DateTime, doc};
use mongodb::Client;
use testbed::{local, within};
use tokio::time::sleep;

use super::{Effect, RECOVERY_LIMIT};
use crate::{schedule::Planned, world::World};

/// Debian's package `faketime` has it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const MINUTES: i64 = 10;

/// Why it can't be done here; none where it can.
pub(crate) fn impossible() -> Option<String> {
    let is_there = Path::new(LIBRARY).exists();
    (!is_there).then(|| format!("there is no {LIBRARY}: apt-get install faketime"))
}

/// It is started anew with the other clock, takes the lead where it can, and gets its own clock back with another start.
pub(super) async fn skew(world: &World, planned: &Planned) -> anyhow::Result<Effect> {
    let member = planned.target % world.mongo.len();
    let sign = if planned.is_of_one { 1 } else { -1 };
    let mut process = world.mongo[member].lock().await;
    process.kill()?;
    process.set("LD_PRELOAD", Some(LIBRARY));
    process.set("FAKETIME", Some(&format!("{:+}m", sign * MINUTES)));
    // Only what the clock on the wall says.
    process.set("FAKETIME_DONT_FAKE_MONOTONIC", Some("1"));
    process.set("DONT_FAKE_MONOTONIC", Some("1"));
    process.start();
    let since = Instant::now();
    let led = lead(world.mongo_ports[member]).await;
    sleep(planned.lasts).await;
    let killed = process.kill();
    for name in [
        "LD_PRELOAD",
        "FAKETIME",
        "FAKETIME_DONT_FAKE_MONOTONIC",
        "DONT_FAKE_MONOTONIC",
    ] {
        process.set(name, None);
    }
    process.start();
    killed?;
    let minutes = led?;
    ensure!(
        minutes.abs() >= MINUTES / 2,
        "its clock is {minutes} minutes away"
    );
    Ok(Effect {
        since,
        seen: format!("{} led with a clock {minutes} minutes away", process.name),
        away: vec![process.name.clone()],
    })
}

/// Makes a member the primary; how many minutes its clock is away.
async fn lead(port: u16) -> anyhow::Result<i64> {
    let host = local(port);
    let uri = format!("mongodb://{host}/?directConnection=true&serverSelectionTimeoutMS=1000");
    let admin = Client::with_uri_str(uri).await?.database("admin");
    within(
        RECOVERY_LIMIT,
        "the member with the other clock leads",
        || async {
            let hello = admin.run_command(doc! { "hello": 1 }).await?;
            if !hello.get_bool("isWritablePrimary")? {
                admin.run_command(doc! { "replSetStepUp": 1 }).await?;
            }
            let hello = admin.run_command(doc! { "hello": 1 }).await?;
            ensure!(hello.get_bool("isWritablePrimary")?, "it does not lead");
            let away = hello.get_datetime("localTime")?.timestamp_millis()
                - DateTime::now().timestamp_millis();
            Ok(away / Duration::from_secs(60).as_millis() as i64)
        },
    )
    .await
}
