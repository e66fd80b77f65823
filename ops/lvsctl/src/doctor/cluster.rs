//! What can be told of the controllers, and of all programs together.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;

use super::{Check, Group, Trouble};

/// This program's version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A certificate that ends within this time is told of: long enough for people who are on holiday.
const ENDS_SOON: Duration = Duration::from_hours(14 * 24);

pub(super) fn group(topology: &v1::Topology, own_certificates: Option<Check>) -> Group {
    let mut checks = vec![reachable(topology), leader(topology), versions(topology)];
    checks.extend(own_certificates);
    Group { role: "cluster".to_owned(), name: String::new(), checks }
}

fn reachable(topology: &v1::Topology) -> Check {
    let silent = topology.controllers.iter().filter(|controller| !controller.reachable);
    let troubles = silent.map(|controller| {
        Trouble::error(
            &controller.name,
            format!("{} is out of reach of the controller that was asked", controller.endpoint),
            "`systemctl status fulcrum-controller` there, and the network to it",
        )
    });
    Check::new("controller-reachable", "every controller is reached", troubles.collect())
}

fn leader(topology: &v1::Topology) -> Check {
    let leads = topology
        .controllers
        .iter()
        .any(|controller| controller.reachable && controller.role() == v1::ControllerRole::Leader);
    let count = topology.controllers.len();
    let trouble = Trouble::error(
        "",
        "no controller leads, so nothing can be written; directors go on by their last plan",
        format!("{} of {count} controllers must run and reach each other", count / 2 + 1),
    );
    let troubles = if leads { Vec::new() } else { vec![trouble] };
    Check::new("controller-leader", "a controller leads", troubles)
}

/// Programs of another version than lvsctl's. A cluster that is upgraded is of two versions for a while, and works.
fn versions(topology: &v1::Topology) -> Check {
    let controllers =
        topology.controllers.iter().filter(|controller| controller.reachable).map(|controller| {
            (&controller.program_version, format!("controller {}", controller.name))
        });
    let attached = topology.agents.iter().filter(|agent| agent.attached);
    let agents =
        attached.map(|agent| (&agent.program_version, format!("{}/{}", agent.role, agent.name)));
    let mut by_version: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (version, who) in controllers.chain(agents).filter(|(version, _)| *version != VERSION) {
        by_version.entry(version).or_default().push(who);
    }
    let troubles = by_version.into_iter().map(|(version, who)| {
        let version = if version.is_empty() { "an unknown version" } else { version };
        Trouble::warning(
            version,
            format!("{} run {version}, lvsctl is {VERSION}", who.join(", ")),
            "upgrade what is older: controllers first, then agents, then lvsctl",
        )
    });
    Check::new("program-version", "all programs are of one version", troubles.collect())
}

/// The certificates of whoever runs lvsctl, each with when it ends or why that is not known.
pub(crate) fn certificates(
    files: &[(&Path, Result<SystemTime, String>)],
    now: SystemTime,
) -> Check {
    let remedy = "put a new one there";
    let troubles = files.iter().filter_map(|(path, ends_at)| {
        let path = path.display().to_string();
        match ends_at {
            Err(why) => Some(Trouble::error(&path, why, remedy)),
            Ok(ends_at) => match ends_at.duration_since(now) {
                Err(_) => Some(Trouble::error(&path, "it has ended", remedy)),
                Ok(left) if left < ENDS_SOON => {
                    let days = left.as_secs() / 86_400;
                    Some(Trouble::warning(&path, format!("it ends in {days} days"), remedy))
                }
                Ok(_) => None,
            },
        }
    });
    Check::new("certificate", "your certificates last", troubles.collect())
}
