//! What could not be done in a turn, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::time::Instant;

use super::plan::{self, Desired, Failures, Step};
use super::retries::Retries;
use super::tunnels::{self, Need};

/// Whose need a step is for.
fn need(step: &Step) -> Option<Need> {
    match step {
        Step::Tunnel(step) => step.need(),
        Step::Set(..) | Step::Bind(_) | Step::Unbind(_) => None,
    }
}

/// What could not be done.
#[derive(Default)]
pub(super) struct Failed {
    /// Steps that failed, and those that were not tried for it.
    pub(super) steps: Vec<Step>,
    /// Why, for whom.
    pub(super) failures: Failures,
    /// Why, by what could not be done.
    words: BTreeMap<String, String>,
    /// Why something of ours that is not wanted is still there.
    pub(super) left_behind: Vec<String>,
    /// VIPs among that.
    stays_bound: BTreeSet<IpAddr>,
}

impl Failed {
    /// Whether a step is not to be tried, for another one failed.
    pub(super) fn is_cause_of(&self, step: &Step) -> bool {
        match step {
            Step::Bind(vip) => self.failures.vips.contains_key(vip),
            Step::Tunnel(step) => {
                step.need().is_some_and(|need| self.failures.needs.contains_key(&need))
            }
            // Of IPv4 a VIP that stays must stay quiet.
            Step::Set(setting, value) => {
                *value < setting.key.wanted() && self.stays_bound.iter().any(IpAddr::is_ipv4)
            }
            Step::Unbind(_) => false,
        }
    }

    /// A VIP could not be added or removed.
    pub(super) fn address(
        &mut self,
        step: &Step,
        action: &str,
        vip: IpAddr,
        error: &rtnetlink::Error,
    ) {
        let why = format!("{action} {vip} on lo: {error}{}", remedy(vip, error));
        if matches!(step, Step::Unbind(_)) {
            self.left_behind.push(why.clone());
            self.stays_bound.insert(vip);
        }
        self.words.insert(format!("{action} {vip}"), why.clone());
        self.failures.vips.insert(vip, why);
        self.steps.push(step.clone());
    }

    /// A step for a tunnel failed.
    pub(super) fn tunnel(&mut self, step: &Step, of_tunnel: &tunnels::Step, why: String) {
        let what = if let Some(need) = of_tunnel.need() {
            self.failures.needs.insert(need, why.clone());
            need.to_string()
        } else {
            self.left_behind.push(why.clone());
            of_tunnel.to_string()
        };
        self.words.insert(what, why);
        self.steps.push(step.clone());
    }

    /// Notes what is to be tried again when, and logs what is new of what failed.
    pub(super) fn note(&self, steps: &[Step], desired: &Desired, retries: &mut Retries) {
        let is_needed = |need: &Need| {
            desired.leaving.contains_key(need)
                || desired.needs.as_ref().is_none_or(|needs| needs.contains_key(need))
        };
        retries.keep(is_needed);
        for step in steps {
            let Step::Tunnel(tunnels::Step::Make(..) | tunnels::Step::Open(_)) = step else {
                continue;
            };
            let Some(need) = need(step) else { continue };
            match self.failures.needs.get(&need) {
                Some(why) if self.steps.contains(step) => {
                    retries.not_made(need, why, Instant::now());
                }
                Some(_) | None => retries.made(need),
            }
        }
        // What waits for its next try has not changed meanwhile.
        let waiting = retries.waiting(Instant::now()).into_iter();
        let mut words: BTreeMap<String, String> =
            waiting.map(|(need, why)| (need.to_string(), why)).collect();
        words.extend(self.words.clone());
        for (what, why) in retries.news(words) {
            tracing::warn!(what, why, "not done, and tried again");
        }
    }

    /// Remembers what was not undone, and forgets what was not made.
    pub(super) fn correct(&self, after: &mut plan::Memory, before: &plan::Memory) {
        for step in &self.steps {
            match step {
                Step::Unbind(vip) if before.ours.contains(vip) => {
                    after.ours.insert(*vip);
                }
                Step::Tunnel(step) => {
                    after.tunnels.correct(&before.tunnels, std::slice::from_ref(step));
                }
                Step::Set(setting, _) => {
                    let value = before.before.get(setting);
                    after.before.extend(value.map(|value| (setting.clone(), *value)));
                }
                Step::Bind(_) | Step::Unbind(_) => {}
            }
        }
    }
}

fn remedy(vip: IpAddr, error: &rtnetlink::Error) -> &'static str {
    let code = match error {
        rtnetlink::Error::NetlinkError(message) => -message.raw_code(),
        _ => 0,
    };
    match code {
        nix::libc::EPERM => "; the agent needs CAP_NET_ADMIN",
        // `ipv6_add_addr` of net/ipv6/addrconf.c.
        nix::libc::EACCES if vip.is_ipv6() => {
            "; IPv6 is disabled: `sysctl -w net.ipv6.conf.lo.disable_ipv6=0`"
        }
        nix::libc::EOPNOTSUPP | nix::libc::EAFNOSUPPORT if vip.is_ipv6() => {
            "; this kernel has no IPv6: start it without ipv6.disable=1"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::plan::{ArpKey, ArpSetting};

    #[test]
    fn what_cannot_be_undone_is_remembered_and_stays_quiet() {
        let vip: IpAddr = "10.0.0.150".parse().unwrap();
        let setting = ArpSetting { interface: "all".to_owned(), key: ArpKey::ArpIgnore };
        let before = plan::Memory {
            ours: [vip].into(),
            before: [(setting.clone(), 0)].into(),
            ..plan::Memory::default()
        };
        let loud = Step::Set(setting.clone(), 0);
        let mut failed = Failed::default();
        assert!(!failed.is_cause_of(&loud));
        failed.address(&Step::Unbind(vip), "unbind", vip, &rtnetlink::Error::RequestFailed);
        assert!(failed.is_cause_of(&loud) && failed.is_cause_of(&Step::Bind(vip)));
        assert!(!failed.is_cause_of(&Step::Set(setting, 1)));
        failed.steps.push(loud);
        let mut after = plan::Memory::default();
        failed.correct(&mut after, &before);
        assert_eq!((after, failed.left_behind.len()), (before, 1));
    }

    #[test]
    fn what_was_not_made_is_not_ours() {
        let device = tunnels::Device {
            kind: tunnels::Kind::Ipip,
            local: "10.0.0.8".parse().unwrap(),
            checksum: false,
        };
        let port = tunnels::GuePort { port: 6080, is_ipv6: false };
        let before = plan::Memory {
            tunnels: tunnels::Ours {
                devices: ["fulcrum-ipip-0".to_owned(), "fulcrum-sit-0".to_owned()].into(),
                ports: [port].into(),
            },
            ..plan::Memory::default()
        };
        let mut after = before.clone();
        after.tunnels.devices.remove("fulcrum-sit-0");
        let mut failed = Failed::default();
        for step in [
            tunnels::Step::Make("fulcrum-ipip-0".to_owned(), device),
            tunnels::Step::Open(port),
            tunnels::Step::Remove("fulcrum-sit-0".to_owned()),
        ] {
            failed.tunnel(&Step::Tunnel(step.clone()), &step, "EPERM".to_owned());
        }
        let raise = tunnels::Step::Mend("fulcrum-ipip-0".to_owned(), device, tunnels::Lack::Down);
        assert!(failed.is_cause_of(&Step::Tunnel(raise)));
        failed.correct(&mut after, &before);
        assert_eq!(after.tunnels.devices, ["fulcrum-sit-0".to_owned()].into());
        assert_eq!(after.tunnels.ports, BTreeSet::new());
        assert_eq!((failed.failures.needs.len(), failed.left_behind.len()), (2, 1));
    }
}
