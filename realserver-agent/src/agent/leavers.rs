//! VIPs and tunnels that left the plan, which stay for a while for connections that came by them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fulcrum_model::plan::{HostTunnel, RealServerHostPlan};
use tokio::time::Instant;

/// What left, each with its deadline.
#[derive(Debug, Default)]
pub(super) struct Leavers {
    vips: BTreeMap<IpAddr, Instant>,
    tunnels: BTreeMap<HostTunnel, Instant>,
}

impl Leavers {
    /// Notes what one plan has and the next has not.
    pub(super) fn follow(
        &mut self,
        before: &RealServerHostPlan,
        plan: &RealServerHostPlan,
        deadline: Instant,
    ) {
        let gone = before.vips.iter().filter(|vip| !plan.vips.contains(vip));
        self.vips.extend(gone.map(|vip| (*vip, deadline)));
        self.vips.retain(|vip, _| !plan.vips.contains(vip));
        let gone = before.tunnels.iter().filter(|tunnel| !plan.tunnels.contains(tunnel));
        self.tunnels.extend(gone.map(|tunnel| (tunnel.clone(), deadline)));
        self.tunnels.retain(|tunnel, _| !plan.tunnels.contains(tunnel));
    }

    /// Those that stay for now: `busy` tells which of some VIPs have connections. The others are forgotten.
    pub(super) fn stay(
        &mut self,
        now: Instant,
        busy: impl FnOnce(&BTreeSet<IpAddr>) -> BTreeSet<IpAddr>,
    ) -> (BTreeSet<IpAddr>, Vec<HostTunnel>) {
        self.vips.retain(|_, deadline| *deadline > now);
        self.tunnels.retain(|_, deadline| *deadline > now);
        let tunnelled = self.tunnels.keys().flat_map(|tunnel| &tunnel.vips);
        let asked: BTreeSet<IpAddr> = self.vips.keys().chain(tunnelled).copied().collect();
        let busy = if asked.is_empty() { BTreeSet::new() } else { busy(&asked) };
        self.vips.retain(|vip, _| busy.contains(vip));
        self.tunnels.retain(|tunnel, _| tunnel.vips.iter().any(|vip| busy.contains(vip)));
        (self.vips.keys().copied().collect(), self.tunnels.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fulcrum_model::Tunnel;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn plan(vips: &[&str], tunnelled: &[&str]) -> RealServerHostPlan {
        let tunnel = |vips: &[&str]| HostTunnel {
            tunnel: Tunnel::Ipip,
            rip: ip("10.0.0.8"),
            vips: vips.iter().map(|vip| ip(vip)).collect(),
        };
        RealServerHostPlan {
            vips: vips.iter().map(|vip| ip(vip)).collect(),
            servers: Vec::new(),
            tunnels: (!tunnelled.is_empty()).then(|| tunnel(tunnelled)).into_iter().collect(),
        }
    }

    #[test]
    fn what_has_connections_stays_until_its_deadline() {
        let now = Instant::now();
        let later = now + Duration::from_mins(1);
        let (one, two) = ("10.0.0.150", "2001:db8::150");
        let both = plan(&[one, two], &[one]);
        let stays = |next: &RealServerHostPlan, at: Instant, busy: &[&str]| {
            let mut leavers = Leavers::default();
            leavers.follow(&both, next, later);
            let busy: BTreeSet<IpAddr> = busy.iter().map(|vip| ip(vip)).collect();
            let (vips, tunnels) =
                leavers.stay(at, |asked| asked.intersection(&busy).copied().collect());
            (vips.into_iter().collect::<Vec<_>>(), tunnels.len())
        };
        let nothing = plan(&[], &[]);
        assert_eq!(stays(&nothing, now, &[one, two]), (vec![ip(one), ip(two)], 1));
        assert_eq!(stays(&nothing, now, &[two]), (vec![ip(two)], 0));
        assert_eq!(stays(&nothing, now, &[]), (vec![], 0));
        assert_eq!(stays(&nothing, later, &[one, two]), (vec![], 0));
        // A VIP that is now reached by dr keeps the tunnel of the connections that it has.
        assert_eq!(stays(&plan(&[one, two], &[]), now, &[one]), (vec![], 1));
        assert_eq!(stays(&both, now, &[one, two]), (vec![], 0));
    }

    #[test]
    fn what_comes_back_leaves_no_more() {
        let now = Instant::now();
        let later = now + Duration::from_mins(1);
        let one = plan(&["10.0.0.150"], &["10.0.0.150"]);
        let mut leavers = Leavers::default();
        leavers.follow(&one, &plan(&[], &[]), later);
        leavers.follow(&plan(&[], &[]), &one, later);
        assert_eq!(leavers.stay(now, Clone::clone), (BTreeSet::new(), vec![]));
    }
}
