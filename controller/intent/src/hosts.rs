//! What pools that require the agent want of a real server's host: VIPs on loopback, and tunnels that end there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fulcrum_model::plan::HostTunnel;
use fulcrum_model::resource::{AgentRequirement, VirtualServer};
use fulcrum_model::{ForwardingMethod, Name, Tunnel};

use crate::catalog::{Catalog, Seat};
use crate::planner::vips_of;

/// What one real server needs of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostNeeds {
    /// VIPs to hold.
    vips: BTreeSet<IpAddr>,
    /// Those of them whose packets come in a tunnel, by tunnel.
    tunnels: BTreeMap<Tunnel, BTreeSet<IpAddr>>,
}

/// What each real server needs. Where a pool says that there is no agent, whoever set up the host did that too.
pub(crate) fn needs<'a>(catalog: &Catalog<'a>) -> BTreeMap<&'a Name, HostNeeds> {
    // Pools have many virtual servers, and these few ways of forwarding, tunnels and VIPs.
    type Way<'a> = (&'a Name, ForwardingMethod, Tunnel);
    let mut asked: BTreeMap<Way<'_>, (&VirtualServer, BTreeSet<IpAddr>)> = BTreeMap::new();
    for server in catalog.virtual_servers.values().copied() {
        let (_, vips) = asked
            .entry((&server.pool, server.forwarding, server.options.tunnel))
            .or_insert_with(|| (server, BTreeSet::new()));
        vips.extend(vips_of(catalog, server));
    }
    let mut needs: BTreeMap<&Name, HostNeeds> = BTreeMap::new();
    for ((pool, _, tunnel), (server, asked)) in &asked {
        let Some(pool) = catalog.pools.get(*pool).copied() else { continue };
        match pool.agent {
            AgentRequirement::Required => {
                let needs_vip = |seat: &Seat<'_>| seat.forwarding(server).needs_arp_safety();
                for seat in catalog.seats(pool).filter(needs_vip) {
                    let of_host = needs.entry(seat.name).or_default();
                    of_host.vips.extend(asked);
                    match seat.forwarding(server) {
                        ForwardingMethod::Tunnel => {
                            of_host.tunnels.entry(*tunnel).or_default().extend(asked);
                        }
                        ForwardingMethod::Dr | ForwardingMethod::Nat => {}
                    }
                }
            }
            AgentRequirement::None => {}
        }
    }
    needs
}

/// The VIPs and tunnels of a host from what its real servers need, each with its RIP; both ordered.
pub(crate) fn merge<'a>(
    needs: impl Iterator<Item = (IpAddr, &'a HostNeeds)>,
) -> (Vec<IpAddr>, Vec<HostTunnel>) {
    let mut vips = BTreeSet::new();
    let mut tunnels: BTreeMap<(Tunnel, IpAddr), BTreeSet<IpAddr>> = BTreeMap::new();
    for (rip, needs) in needs {
        vips.extend(&needs.vips);
        for (tunnel, vips) in &needs.tunnels {
            tunnels.entry((*tunnel, rip)).or_default().extend(vips);
        }
    }
    let tunnels = tunnels.into_iter().map(|((tunnel, rip), vips)| HostTunnel {
        tunnel,
        rip,
        vips: vips.into_iter().collect(),
    });
    (vips.into_iter().collect(), tunnels.collect())
}
