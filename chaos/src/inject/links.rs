//! Links that are cut, black-holed, slowed down or torn: between instances and servers, and between the members of a cluster.

use std::time::Duration;

use anyhow::Context;
use testbed::{
    proxy::{Link, LinkFault, Mode},
    within,
};
use tokio::time::sleep;

use super::Effect;
use crate::{fault::Fault, schedule::Planned, wiring::Pairs};

const DELAY: Duration = Duration::from_millis(500);
/// A standby's connections are silent for seconds.
const IDLE_LIMIT: Duration = Duration::from_secs(6);

/// All links of one of the named instances, or of all. It has an effect from the moment at which it strikes something.
pub(super) async fn change(
    names: &[String],
    links: &[Vec<Link>],
    planned: &Planned,
) -> anyhow::Result<Effect> {
    let (mode, what) = match planned.fault {
        Fault::CutNats | Fault::CutMongo => (Mode::Cut, "connections were cut"),
        Fault::BlackHoleNats | Fault::BlackHoleMongo => (Mode::BlackHole, "chunks were held"),
        Fault::SlowNats | Fault::SlowMongo => (Mode::Slow(DELAY), "chunks were delayed"),
        _ => (Mode::Tear, "connections were torn"),
    };
    let chosen = planned.target % links.len();
    let is_chosen = |instance: &usize| !planned.is_of_one || *instance == chosen;
    let away = (0..links.len()).filter(is_chosen);
    let chosen: Vec<&Link> = away.clone().flat_map(|instance| &links[instance]).collect();
    let (since, strikes) = strike(&chosen, mode, planned.lasts).await?;
    Ok(Effect {
        since,
        seen: format!("{strikes} {what}"),
        away: away.map(|instance| names[instance].clone()).collect(),
    })
}

/// One instance does not reach one server, which the others do.
pub(super) async fn part_one(
    names: &[String],
    links: &[Vec<Link>],
    planned: &Planned,
) -> anyhow::Result<Effect> {
    let instance = planned.target % links.len();
    // A client of NATS is connected to one server only.
    let mut in_use = links[instance].iter();
    let server = in_use.position(Link::is_in_use).unwrap_or_default();
    let (mode, what) = parting(planned);
    let (since, strikes) = strike(&[&links[instance][server]], mode, planned.lasts).await?;
    let name = names[instance].clone();
    Ok(Effect {
        since,
        seen: format!("{strikes} {what} between {name} and server {server}"),
        away: vec![name],
    })
}

/// One member does not reach the others, nor they it; clients reach all of them.
pub(super) async fn part_member(
    kind: &str,
    pairs: &Pairs,
    planned: &Planned,
) -> anyhow::Result<Effect> {
    let member = planned.target % pairs.len();
    let is_of_it = |from: usize, to: usize| (from == member) != (to == member);
    let mut links = Vec::new();
    for (from, of) in pairs.iter().enumerate() {
        for (to, link) in of.iter().enumerate() {
            if is_of_it(from, to) {
                links.push(link);
            }
        }
    }
    let (mode, what) = parting(planned);
    let (since, strikes) = strike(&links, mode, planned.lasts).await?;
    let name = format!("{kind}-{member}");
    Ok(Effect {
        since,
        seen: format!("{strikes} {what} between {name} and the other members"),
        away: vec![name],
    })
}

/// A reset, or silence.
fn parting(planned: &Planned) -> (Mode, &'static str) {
    if planned.is_of_one {
        (Mode::BlackHole, "chunks were held")
    } else {
        (Mode::Cut, "connections were cut")
    }
}

/// Since when it had an effect, and how often.
async fn strike(
    links: &[&Link],
    mode: Mode,
    lasts: Duration,
) -> anyhow::Result<(std::time::Instant, u64)> {
    let fault = LinkFault::new(mode);
    links.iter().for_each(|link| link.begin(&fault));
    sleep(lasts).await;
    // An idle link has nothing to tear yet.
    let struck = within(IDLE_LIMIT, "something goes over the links", || async {
        fault.struck_first().context("nothing did")
    });
    let since = struck.await;
    links.iter().for_each(|link| link.end(&fault));
    Ok((since?, fault.strikes()))
}
