//! What can be told of the controllers together, and of all programs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;

use super::{Check, Group, Trouble, versions};

/// A certificate that ends within this time is told of: long enough for people who are on holiday.
const ENDS_SOON: Duration = Duration::from_hours(14 * 24);

pub(super) fn group(topology: &v1::Topology, own_certificates: Option<Check>) -> Group {
    let newest = versions::newest(topology);
    let mut checks = vec![leader(topology), versions::of_others(topology, &newest)];
    checks.extend(notifications(topology));
    checks.extend(own_certificates);
    Group { role: "cluster".to_owned(), name: String::new(), checks }
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
        format!(
            "{} of {count} controllers must run and reach each other: those that do not are below",
            count / 2 + 1
        ),
    );
    let troubles = if leads { Vec::new() } else { vec![trouble] };
    Check::new("controller-leader", "a controller leads", troubles)
}

/// Channels of notification policies that send nothing; none where nobody is to be told.
fn notifications(topology: &v1::Topology) -> Option<Check> {
    if topology.notifications.is_empty() {
        return None;
    }
    let failing = topology.notifications.iter().filter(|status| status.failing_since_ms > 0);
    let troubles = failing.map(|status| {
        let channel = format!("{}/{}", status.policy, status.channel);
        let remedy = "correct the NotificationPolicy or what it sends to; what waits is sent then";
        Trouble::warning(&channel, format!("it fails: {}", status.error), remedy)
    });
    let title = "notifications are sent";
    Some(Check::new("notifications", title, troubles.collect()))
}

/// Whether the controllers ask callers for an identity.
pub(crate) fn identities(are_required: bool) -> Check {
    let trouble = Trouble::warning(
        "",
        "any certificate without an identity may do everything",
        "give every program and person a certificate that names it, the controllers last (see access.md)",
    );
    let troubles = if are_required { Vec::new() } else { vec![trouble] };
    Check::new("identities", "callers have identities", troubles)
}

/// The certificates of whoever runs lvsctl, each with when it ends or why that is not known.
pub(crate) fn certificates(
    files: &[(&Path, Result<SystemTime, String>)],
    now: SystemTime,
) -> Check {
    let remedy = "have a new one signed (see tls.md) and put it and its key there";
    let troubles = files.iter().filter_map(|(path, ends_at)| {
        let path = path.display().to_string();
        match ends_at {
            Err(why) => Some(Trouble::error(&path, why, remedy)),
            Ok(ends_at) => match ends_at.duration_since(now) {
                Err(_) => {
                    let found = "it has ended: no controller takes it";
                    Some(Trouble::error(&path, found, remedy))
                }
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
