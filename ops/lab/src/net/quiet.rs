//! VIPs on the loopback of a real server that has no agent of ours, as an operator's script binds them.
//! An agent that was killed leaves them bound, so that binding may find them there.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::topology::{Node, ip_batch, set_sysctl};

/// What keeps `lo`'s addresses quiet in ARP.
const QUIET: [(&str, &str); 2] = [("arp_ignore", "1"), ("arp_announce", "2")];

/// Keeps ARP quiet, then binds the VIPs.
pub(crate) fn hold(web: Node, vips: &[Ipv4Addr]) -> Result<()> {
    for (name, value) in QUIET {
        set_sysctl(web.name, &format!("net/ipv4/conf/all/{name}"), value)?;
    }
    ip_batch(Some(web.name), &lines("replace", vips))
}

/// Takes both back, the VIPs first.
pub(crate) fn release(web: Node, vips: &[Ipv4Addr]) -> Result<()> {
    ip_batch(Some(web.name), &lines("del", vips))?;
    for (name, _) in QUIET {
        set_sysctl(web.name, &format!("net/ipv4/conf/all/{name}"), "0")?;
    }
    Ok(())
}

fn lines(verb: &str, vips: &[Ipv4Addr]) -> Vec<String> {
    vips.iter().map(|vip| format!("addr {verb} {vip}/32 dev lo")).collect()
}
