//! Everything that intent can say of IPVS, by both directors and on a real kernel: programmed and read back by `ipvsadm`, then
//! edited, where nothing may be deleted, then taken away; and every way of forwarding with packets on it, to real servers'
//! hosts that their agents make ready.

mod ground;
mod hosts;
mod programmed;
mod rows;
mod traffic;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::manifest;
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::topology::{self, DIRECTORS, VIP};
use crate::pair::start_in_turn;

/// VIPs of the two instances.
const VIPS: [Ipv4Addr; 3] = [VIP, Ipv4Addr::new(192, 168, 1, 151), Ipv4Addr::new(192, 168, 1, 152)];
const VIPS6: [&str; 2] = ["fe80::150", "2001:db8::150"];
/// UDP port at which real servers take what GUE wraps.
const GUE_PORT: u16 = 6080;

/// Both parts.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let outcome = lab.with_tables_of(&DIRECTORS, |lab| both(lab, findings));
    topology::disable_ipv6(&DIRECTORS)?;
    outcome
}

fn both(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let (cluster, paths) = lab.controllers()?;
    // Not before: what takes the directors of the scenario before down takes their addresses, too.
    topology::enable_ipv6(&DIRECTORS)?;
    cluster.apply_text(&instances())?;
    // One of each family.
    let agents = start_in_turn(paths, 2)?;
    programmed::run(cluster, findings)?;
    traffic::run(cluster, paths.logs, findings)?;
    for agent in agents {
        agent.kill()?;
    }
    Ok(())
}

/// The instances alone.
fn instances() -> String {
    let mut text = manifest::instance_with(Duration::from_secs(1), &VIPS);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "---\nkind: VrrpInstance\nname: vi-6\nspec:\n  site: main\n  vrid: 56\n  version: v3\n  \
         vips: [\"{}/64\", \"{}/64\"]\n  members:\n  - {{director: d1, priority: 100}}\n  \
         - {{director: d2, priority: 90}}\n",
        VIPS6[0], VIPS6[1]
    );
    text
}

/// Adds a virtual server, in the instance of IPv4 unless its fields name another.
fn server(text: &mut String, name: &str, fields: &str, pool: &str) {
    let instance = if fields.contains("vrrp_instance") { "" } else { "vrrp_instance: vi-1, " };
    let _ = write!(
        text,
        "---\nkind: VirtualServer\nname: {name}\nspec: {{{instance}{fields}, pool: {pool}}}\n"
    );
}
