//! Whether the director itself can serve, for VRRP instances that track it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::Name;
use fulcrum_model::plan::{VirtualServerPlan, VrrpInstancePlan};
use fulcrum_model::vrrp::TrackTarget;
use fulcrum_vrrp::track::{Health, TargetState};

use super::gate::LATER_WAIT;
use super::weights::Decider;

/// The plan on its way into the kernel, and the instances that want to know.
#[derive(Debug, Default)]
pub struct OwnWork {
    /// VIPs of each instance that tracks the agent.
    instances: BTreeMap<Name, Vec<IpAddr>>,
    /// Of the plan's table.
    generation: u64,
    revision: u64,
    /// A table that is not in the kernel by then counts as not programmed.
    not_after: Duration,
    /// Why the kernel refuses a part of it.
    refused: Option<String>,
}

impl OwnWork {
    /// A plan was put in force, whose table has this generation.
    pub fn put_in_force(
        &mut self,
        now: Duration,
        generation: u64,
        revision: u64,
        instances: &BTreeMap<Name, VrrpInstancePlan>,
    ) {
        let tracks = |plan: &&VrrpInstancePlan| {
            plan.options.track.iter().any(|track| track.target == TrackTarget::Agent)
        };
        let vips = |plan: &VrrpInstancePlan| {
            let vips = plan.vips.iter().map(fulcrum_model::Cidr::address);
            let held = plan.options.unadvertised_vips.iter().map(|held| held.address.address());
            (plan.name.clone(), vips.chain(held).collect())
        };
        self.instances = instances.values().filter(tracks).map(vips).collect();
        self.not_after = now + LATER_WAIT;
        self.refused = None;
        (self.generation, self.revision) = (generation, revision);
    }

    /// A freeze has ended: what was held back has the time again that programming takes.
    pub fn thawed(&mut self, now: Duration) {
        self.not_after = self.not_after.max(now + LATER_WAIT);
    }

    /// What became of a plan in the kernel.
    pub fn programmed(&mut self, generation: u64, refused: Option<&str>) {
        if generation >= self.generation {
            self.refused = refused.map(str::to_owned);
        }
    }

    /// When [`Self::states`] will change by itself.
    pub fn deadline(&self, now: Duration, settled: u64) -> Option<Duration> {
        let waits = settled < self.generation && self.refused.is_none() && now < self.not_after;
        (waits && !self.instances.is_empty()).then_some(self.not_after)
    }

    /// What it comes to for each instance that tracks it. `settled` is the newest generation that is
    /// in the kernel.
    pub fn states(
        &self,
        now: Duration,
        settled: u64,
        decider: &Decider,
    ) -> BTreeMap<Name, TargetState> {
        let table = self.table(now, settled);
        let state = |(name, vips): (&Name, &Vec<IpAddr>)| {
            let state = table.clone().unwrap_or_else(|| serving(vips, decider));
            (name.clone(), state)
        };
        self.instances.iter().map(state).collect()
    }

    /// The state of the table, while it decides.
    fn table(&self, now: Duration, settled: u64) -> Option<TargetState> {
        let revision = self.revision;
        if let Some(reason) = &self.refused {
            return Some(TargetState {
                health: Health::Unwell,
                seen: format!("IPVS refuses a part of revision {revision}: {reason}"),
            });
        }
        if settled >= self.generation {
            return None;
        }
        // Within the time that programming takes, nothing is known to be wrong.
        (now >= self.not_after).then(|| TargetState {
            health: Health::Unwell,
            seen: format!("IPVS is not programmed to revision {revision}"),
        })
    }
}

/// Whether every virtual server of these VIPs has somebody who serves it.
fn serving(vips: &[IpAddr], decider: &Decider) -> TargetState {
    let mut waits = false;
    let is_of = |server: &VirtualServerPlan| server.vips.iter().any(|vip| vips.contains(vip));
    for (name, server) in decider.servers().iter().filter(|(_, server)| is_of(server)) {
        let Some(pool) = decider.pool(name).filter(|pool| !pool.is_served()) else { continue };
        if pool.is_waiting() {
            waits = true;
            continue;
        }
        let seen =
            format!("virtual server {name} ({}) has no real server in rotation", server.listen);
        return TargetState { health: Health::Unwell, seen };
    }
    if waits {
        return TargetState::default();
    }
    TargetState { health: Health::Well, seen: "IPVS is programmed and serves".to_owned() }
}

#[cfg(test)]
mod tests {
    use fulcrum_model::fuse::OwnProbe;
    use fulcrum_model::vrrp::{Track, VrrpOptions};
    use fulcrum_model::{Check, Verdict};

    use super::super::arp::ArpLatch;
    use super::super::check::CheckKey;
    use super::super::fixtures::{
        evidence, name, probed, rip, servers, virtual_server, vrrp_instance,
    };
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn instance(text: &str, vip_number: u8, tracks_agent: bool) -> VrrpInstancePlan {
        let track = tracks_agent.then_some(Track { target: TrackTarget::Agent, weight: None });
        let options = VrrpOptions { track: track.into_iter().collect(), ..VrrpOptions::default() };
        VrrpInstancePlan { options, ..vrrp_instance(text, vip_number) }
    }

    fn own_work() -> OwnWork {
        let instances = [instance("vi-1", 1, true), instance("vi-2", 2, false)];
        let mut own = OwnWork::default();
        let instances = instances.into_iter().map(|plan| (plan.name.clone(), plan)).collect();
        own.put_in_force(S(10), 5, 7, &instances);
        own
    }

    /// A decider with virtual servers at VIPs 1 and 2, and evidence that web1 serves VIP 1 or not.
    fn decider(verdict: Option<Verdict>) -> Decider {
        let mut decider = Decider::new(ArpLatch::default());
        let plan = servers([virtual_server("a", 1, &["web1"]), virtual_server("b", 2, &["web2"])]);
        let changed: Vec<_> = plan.into_values().collect();
        decider.change_plan(S(0), &changed, &[], |_, _| None);
        if let Some(verdict) = verdict {
            let port = changed[0].listen.port().expect("one");
            let key = CheckKey::new(rip("web1"), port, &Check::default());
            probed(&mut decider, S(1), &key, OwnProbe::Passing);
            decider.evidence(S(1), evidence("web1", 1, verdict, Some(true)));
        }
        decider
    }

    #[test]
    fn after_a_freeze_the_table_has_its_time_again() {
        let mut own = own_work();
        let seen = |own: &OwnWork, now| own.table(now, 0).map(|state| state.health);
        assert_eq!(seen(&own, S(12)), Some(Health::Unwell));
        own.thawed(S(100));
        assert_eq!((seen(&own, S(101)), seen(&own, S(102))), (None, Some(Health::Unwell)));
        assert_eq!(own.table(S(200), 5), None, "programmed");
    }

    #[test]
    fn table_and_rotation_decide() {
        use Health::{Untried, Unwell, Well};
        let up = decider(Some(Verdict::Up));
        let cases = [
            ("programmed, serving", 5, None, &up, 11, Well, "IPVS is programmed and serves"),
            ("still being programmed", 4, None, &up, 11, Well, "IPVS is programmed and serves"),
            ("overdue", 4, None, &up, 12, Unwell, "IPVS is not programmed to revision 7"),
            (
                "refused",
                5,
                Some("no scheduler"),
                &up,
                11,
                Unwell,
                "IPVS refuses a part of revision 7: no scheduler",
            ),
            ("nobody has said anything", 5, None, &decider(None), 11, Untried, ""),
        ];
        for (what, settled, refused, decider, now, health, seen) in cases {
            let mut own = own_work();
            own.programmed(5, refused);
            let states = own.states(S(now), settled, decider);
            let expected = TargetState { health, seen: seen.to_owned() };
            assert_eq!(states, BTreeMap::from([(name("vi-1"), expected)]), "{what}");
        }
    }

    #[test]
    fn a_virtual_server_without_anybody_in_rotation_is_told() {
        let mut decider = Decider::new(ArpLatch::default());
        let plan = servers([virtual_server("a", 1, &[]), virtual_server("b", 2, &["web2"])]);
        let changed: Vec<_> = plan.into_values().collect();
        decider.change_plan(S(0), &changed, &[], |_, _| None);
        let states = own_work().states(S(11), 5, &decider);
        let seen = "virtual server a (TCP 192.168.1.1:80) has no real server in rotation";
        let expected = TargetState { health: Health::Unwell, seen: seen.to_owned() };
        assert_eq!(states[&name("vi-1")], expected);
    }

    #[test]
    fn only_an_instance_that_tracks_waits_for_the_table() {
        let own = own_work();
        let deadlines = [(11, 4), (11, 5), (12, 4)].map(|(now, g)| own.deadline(S(now), g));
        assert_eq!(deadlines, [Some(S(12)), None, None]);
        let mut other = OwnWork::default();
        other.put_in_force(S(10), 5, 7, &BTreeMap::new());
        assert_eq!(other.deadline(S(11), 4), None);
    }
}
