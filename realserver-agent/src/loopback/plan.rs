//! What to do to a host's loopback, ARP settings and tunnels: a pure function of what is wanted, seen and remembered.
//!
//! ARP is for VIPs of IPv4 alone. Linux answers neighbour solicitations only for addresses of the interface that they come in
//! by (`ndisc_recv_ns`, net/ipv6/ndisc.c), so that a VIP of IPv6 on lo is quiet without a setting, but where a proxy entry
//! or another interface speaks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use fulcrum_model::VipEvidence;
use serde::{Deserialize, Serialize};

use super::tunnels::{self, Need, Needs, Ours};

/// The two ARP settings of an interface (Linux `Documentation/networking/ip-sysctl.rst`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArpKey {
    /// 1: answer only for addresses of the interface that was asked on.
    ArpIgnore,
    /// 2: never announce an address of another interface.
    ArpAnnounce,
}

impl ArpKey {
    /// Both, in the order in which they are set.
    pub const ALL: [Self; 2] = [Self::ArpIgnore, Self::ArpAnnounce];

    /// The file's name under `/proc/sys/net/ipv4/conf/INTERFACE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ArpIgnore => "arp_ignore",
            Self::ArpAnnounce => "arp_announce",
        }
    }

    /// The least value that keeps a VIP on loopback quiet.
    pub fn wanted(self) -> u32 {
        match self {
            Self::ArpIgnore => 1,
            Self::ArpAnnounce => 2,
        }
    }
}

/// One ARP setting of one interface, or of `all`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArpSetting {
    /// `all` or the interface's name.
    pub interface: String,
    /// Which.
    pub key: ArpKey,
}

impl fmt::Display for ArpSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net.ipv4.conf.{}.{}", self.interface, self.key.as_str())
    }
}

/// What the host holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// /32 and /128 addresses on lo beside its own.
    pub bound: BTreeSet<IpAddr>,
    /// VIPs of IPv6 among them that the host's own connections may have as their source: they are not deprecated.
    pub preferred: BTreeSet<IpAddr>,
    /// Addresses of IPv6 on lo with another prefix than 128, with that. The kernel has no second of them.
    pub wider: BTreeMap<IpAddr, u8>,
    /// ARP settings of `all` and of the interfaces that matter.
    pub settings: BTreeMap<ArpSetting, u32>,
    /// Interface of each address that is not on lo.
    pub elsewhere: BTreeMap<IpAddr, String>,
    /// Interface that answers neighbour solicitations for each of these, by a proxy entry that is in force.
    pub proxied: BTreeMap<Ipv6Addr, String>,
    /// Why proxy entries cannot be read; none where they are.
    pub proxies_unread: Option<String>,
    /// What takes packets out of tunnels.
    pub tunnels: tunnels::Observed,
}

impl Observed {
    /// The settings that do not keep quiet, each with its value.
    pub fn loud(&self) -> impl Iterator<Item = (&ArpSetting, u32)> {
        // The kernel takes the greater of `all` and the interface's own value, so `all` decides alone.
        self.settings
            .iter()
            .filter(|(setting, value)| setting.interface == "all" && **value < setting.key.wanted())
            .map(|(setting, value)| (setting, *value))
    }
}

/// What we did in this boot, kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// VIPs that we bound, or found bound with ARP quiet.
    pub ours: BTreeSet<IpAddr>,
    /// Settings that we changed, with what they were.
    pub before: BTreeMap<ArpSetting, u32>,
    /// What we made for tunnels.
    pub tunnels: Ours,
    /// A person said stop: VIPs stay unbound until start.
    pub held: bool,
}

/// One change of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a setting.
    Set(ArpSetting, u32),
    /// Add the VIP to lo, as /32 or /128, or make one of IPv6 that is there as ours are.
    Bind(IpAddr),
    /// Remove it from lo.
    Unbind(IpAddr),
    /// Make, mend or remove what takes packets out of tunnels.
    Tunnel(tunnels::Step),
}

/// Steps in order, and what to remember: `before_steps` must be durable before the first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// To be made durable before the steps.
    pub before_steps: Memory,
    /// To be made durable after them.
    pub after_steps: Memory,
}

/// What is wanted of a host.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// VIPs to bind.
    pub vips: BTreeSet<IpAddr>,
    /// VIPs that left the plan but still have connections: they stay bound for now.
    pub busy: BTreeSet<IpAddr>,
    /// What tunnels need. None leaves what is there.
    pub needs: Option<Needs>,
    /// What tunnels need that left the plan and stay for now.
    pub leaving: Needs,
    /// What could not be made for tunnels, and is not tried again yet.
    pub waiting: BTreeSet<Need>,
}

/// What could not be done, in words with the remedy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// For tunnels.
    pub needs: BTreeMap<Need, String>,
    /// For VIPs.
    pub vips: BTreeMap<IpAddr, String>,
}

/// Decides the steps from what is wanted (nothing where a person said stop), seen and remembered.
pub fn plan(desired: &Desired, observed: &Observed, memory: &Memory) -> Plan {
    let nothing = Desired { needs: Some(Needs::new()), ..Desired::default() };
    let desired = if memory.held { &nothing } else { desired };
    let mut steps = Vec::new();
    let mut before_steps = memory.clone();
    // What was changed of an interface went with it: another one of its name comes with values of its own.
    before_steps.before.retain(|setting, _| observed.settings.contains_key(setting));
    let leaves = |vip: &&IpAddr| !desired.vips.contains(*vip) && !desired.busy.contains(*vip);
    let leaving: Vec<IpAddr> = memory.ours.iter().filter(leaves).copied().collect();
    steps.extend(
        leaving.iter().filter(|vip| observed.bound.contains(*vip)).map(|vip| Step::Unbind(*vip)),
    );
    if desired.vips.iter().any(IpAddr::is_ipv4) {
        silence(observed, &mut steps, &mut before_steps);
    }
    let tunnels = desired.needs.as_ref().map(|needs| {
        let Desired { leaving, waiting, .. } = desired;
        let wanted = tunnels::Wanted { needs, leaving, waiting };
        let planned = tunnels::plan(wanted, &observed.tunnels, &memory.tunnels);
        steps.extend(planned.removals.into_iter().map(Step::Tunnel));
        steps.extend(planned.makings.into_iter().map(Step::Tunnel));
        before_steps.tunnels = planned.before_steps;
        planned.after_steps
    });
    for vip in &desired.vips {
        bind(*vip, observed, memory, &mut steps);
        before_steps.ours.insert(*vip);
    }

    let mut after_steps = before_steps.clone();
    after_steps.tunnels = tunnels.unwrap_or_else(|| memory.tunnels.clone());
    for vip in &leaving {
        after_steps.ours.remove(vip);
    }
    if !after_steps.ours.iter().any(IpAddr::is_ipv4) {
        for (setting, value) in &memory.before {
            // Only what still holds our value: another program's later choice stands.
            if observed.settings.get(setting) == Some(&setting.key.wanted()) {
                steps.push(Step::Set(setting.clone(), *value));
            }
        }
        after_steps.before.clear();
    }
    Plan { steps, before_steps, after_steps }
}

/// What brings a VIP to lo as ours are.
fn bind(vip: IpAddr, observed: &Observed, memory: &Memory, steps: &mut Vec<Step>) {
    let was_loud = observed.loud().next().is_some();
    let bound = observed.bound.contains(&vip);
    // Somebody bound it while ARP was loud, as the usual script does: bind it again in the right order.
    if bound && vip.is_ipv4() && was_loud && !memory.ours.contains(&vip) {
        steps.push(Step::Unbind(vip));
        steps.push(Step::Bind(vip));
    } else if observed.preferred.contains(&vip) || !bound && !observed.wider.contains_key(&vip) {
        steps.push(Step::Bind(vip));
    }
}

/// Sets what does not keep quiet, and remembers what it was.
fn silence(observed: &Observed, steps: &mut Vec<Step>, memory: &mut Memory) {
    for (setting, value) in &observed.settings {
        if *value < setting.key.wanted() {
            memory.before.entry(setting.clone()).or_insert(*value);
            steps.push(Step::Set(setting.clone(), setting.key.wanted()));
        }
    }
}

/// What to tell the directors of each VIP.
pub fn evidence(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    failed: &Failures,
) -> Vec<VipEvidence> {
    let told = desired.vips.iter().map(|vip| {
        let tunnel = || {
            let needs = desired.needs.iter().flatten();
            let mut of_vip = needs.filter(|(_, vips)| vips.contains(vip));
            of_vip.find_map(|(need, vips)| {
                tunnels::shortfall(need, vips, &observed.tunnels, &memory.tunnels, &failed.needs)
            })
        };
        let wrong = if memory.held {
            Some("stopped by hand: run `fulcrum-realserver start` to go on".to_owned())
        } else {
            let failure = failed.vips.get(vip).cloned();
            failure.or_else(|| is_loud(*vip, observed)).or_else(tunnel)
        };
        let foreign = || format!("{vip} was bound by another program and is being taken over");
        let detail = wrong.or_else(|| (!memory.ours.contains(vip)).then(foreign));
        let (bound, detail) = (observed.bound.contains(vip), detail.unwrap_or_default());
        VipEvidence { vip: *vip, bound, arp_safe: detail.is_empty(), detail }
    });
    told.collect()
}

/// Why a VIP is not bound, or not quiet.
fn is_loud(vip: IpAddr, observed: &Observed) -> Option<String> {
    if let Some(prefix) = observed.wider.get(&vip) {
        return Some(format!(
            "{vip} is on lo with the prefix /{prefix}, and the kernel has no second: `ip address del {vip}/{prefix} dev lo`"
        ));
    }
    if !observed.bound.contains(&vip) {
        return Some(format!("{vip} is not bound to lo"));
    }
    let what = match vip {
        IpAddr::V4(_) => {
            let loud: Vec<String> = observed
                .loud()
                .map(|(setting, value)| {
                    format!("{setting} is {value}, not {}", setting.key.wanted())
                })
                .collect();
            if !loud.is_empty() {
                return Some(loud.join(", "));
            }
            // arp_ignore=1 answers for the addresses of the interface that was asked on.
            "ARP"
        }
        IpAddr::V6(address) => {
            if let Some(interface) = observed.proxied.get(&address) {
                return Some(format!(
                    "{interface} answers neighbour solicitations for {vip}: `ip -6 neigh del proxy {vip} dev \
                     {interface}`"
                ));
            }
            if let Some(why) = &observed.proxies_unread {
                return Some(format!(
                    "whether another interface answers neighbour solicitations for {vip} cannot be read: {why}"
                ));
            }
            "neighbour solicitations"
        }
    };
    let interface = observed.elsewhere.get(&vip)?;
    Some(format!("{vip} is also on {interface}, which answers {what} for it: remove it there"))
}

#[cfg(test)]
mod tests;
