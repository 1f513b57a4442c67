//! Links that are cut, black-holed, slowed down or torn.

use std::time::Duration;

use anyhow::Context;
use testbed::{
    proxy::{Link, LinkFault, Mode},
    within,
};
use tokio::time::sleep;

use super::Effect;
use crate::{fault::Fault, schedule::Planned, wiring::instance_name};

const DELAY: Duration = Duration::from_millis(500);
/// A standby's connections are silent for seconds.
const IDLE_LIMIT: Duration = Duration::from_secs(6);

/// All links of one instance, or of all. It has an effect from the moment at which it strikes something.
pub(super) async fn change(links: &[Vec<Link>], planned: &Planned) -> anyhow::Result<Effect> {
    let (mode, what) = match planned.fault {
        Fault::CutNats | Fault::CutMongo => (Mode::Cut, "connections were cut"),
        Fault::BlackHoleNats | Fault::BlackHoleMongo => (Mode::BlackHole, "chunks were held"),
        Fault::SlowNats | Fault::SlowMongo => (Mode::Slow(DELAY), "chunks were delayed"),
        _ => (Mode::Tear, "connections were torn"),
    };
    let fault = LinkFault::new(mode);
    let chosen = planned.target % links.len();
    let is_chosen = |instance: &usize| !planned.is_of_one || *instance == chosen;
    let away = (0..links.len())
        .filter(is_chosen)
        .map(instance_name)
        .collect();
    let links = || {
        let instances = links.iter().enumerate();
        instances
            .filter(|(instance, _)| is_chosen(instance))
            .flat_map(|(_, links)| links)
    };
    links().for_each(|link| link.begin(&fault));
    sleep(planned.lasts).await;
    // An idle link has nothing to tear yet.
    let struck = within(IDLE_LIMIT, "something goes over the links", || async {
        fault.struck_first().context("nothing did")
    });
    let since = struck.await;
    links().for_each(|link| link.end(&fault));
    Ok(Effect {
        since: since?,
        seen: format!("{} {what}", fault.strikes()),
        away,
    })
}
