//! What to do to a host's loopback and ARP settings: a pure function of what is wanted, seen and remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use fulcrum_model::VipEvidence;
use serde::{Deserialize, Serialize};

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
    /// /32 addresses on lo beside 127.0.0.1.
    pub bound: BTreeSet<Ipv4Addr>,
    /// ARP settings of `all` and of the interfaces that matter.
    pub settings: BTreeMap<ArpSetting, u32>,
    /// Interface of each address that is not on lo.
    pub elsewhere: BTreeMap<Ipv4Addr, String>,
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
    pub ours: BTreeSet<Ipv4Addr>,
    /// Settings that we changed, with what they were.
    pub before: BTreeMap<ArpSetting, u32>,
    /// A person said stop: VIPs stay unbound until start.
    pub held: bool,
}

/// One change of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a setting.
    Set(ArpSetting, u32),
    /// Add VIP/32 to lo.
    Bind(Ipv4Addr),
    /// Remove VIP/32 from lo.
    Unbind(Ipv4Addr),
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

/// Decides the steps from what is wanted (`desired`, or nothing where a person said stop), seen and remembered.
///
/// `busy` are VIPs that left the plan but still have connections: they stay bound for now.
pub fn plan(
    desired: &BTreeSet<Ipv4Addr>,
    busy: &BTreeSet<Ipv4Addr>,
    observed: &Observed,
    memory: &Memory,
) -> Plan {
    let wanted: BTreeSet<Ipv4Addr> = if memory.held { BTreeSet::new() } else { desired.clone() };
    let keep: BTreeSet<Ipv4Addr> = if memory.held {
        BTreeSet::new()
    } else {
        memory.ours.intersection(busy).copied().collect()
    };
    let mut steps = Vec::new();
    let mut before_steps = memory.clone();
    let leaving: Vec<Ipv4Addr> = memory
        .ours
        .iter()
        .filter(|vip| !wanted.contains(*vip) && !keep.contains(*vip))
        .copied()
        .collect();
    steps.extend(
        leaving.iter().filter(|vip| observed.bound.contains(*vip)).map(|vip| Step::Unbind(*vip)),
    );

    if !wanted.is_empty() {
        let was_loud = observed.loud().next().is_some();
        for (setting, value) in &observed.settings {
            if *value < setting.key.wanted() {
                before_steps.before.entry(setting.clone()).or_insert(*value);
                steps.push(Step::Set(setting.clone(), setting.key.wanted()));
            }
        }
        for vip in &wanted {
            let bound = observed.bound.contains(vip);
            // Somebody bound it while ARP was loud, as the usual script does: bind it again in the right order.
            if bound && was_loud && !memory.ours.contains(vip) {
                steps.push(Step::Unbind(*vip));
                steps.push(Step::Bind(*vip));
            } else if !bound {
                steps.push(Step::Bind(*vip));
            }
            before_steps.ours.insert(*vip);
        }
    }

    let mut after_steps = before_steps.clone();
    for vip in &leaving {
        after_steps.ours.remove(vip);
    }
    if after_steps.ours.is_empty() {
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

/// What to tell the directors of each VIP.
pub fn evidence(
    desired: &BTreeSet<Ipv4Addr>,
    observed: &Observed,
    memory: &Memory,
) -> Vec<VipEvidence> {
    let loud: Vec<String> = observed
        .loud()
        .map(|(setting, value)| format!("{setting} is {value}, not {}", setting.key.wanted()))
        .collect();
    desired
        .iter()
        .map(|vip| {
            let bound = observed.bound.contains(vip);
            let ours = memory.ours.contains(vip);
            let detail = if memory.held {
                "stopped by hand: run `fulcrum-realserver start` to go on".to_owned()
            } else if !bound {
                format!("{vip} is not bound to lo")
            } else if !loud.is_empty() {
                loud.join(", ")
            } else if let Some(interface) = observed.elsewhere.get(vip) {
                // arp_ignore=1 answers for the addresses of the interface that was asked on.
                format!("{vip} is also on {interface}, which answers ARP for it: remove it there")
            } else if ours {
                String::new()
            } else {
                format!("{vip} was bound by another program and is being taken over")
            };
            VipEvidence { vip: IpAddr::V4(*vip), bound, arp_safe: detail.is_empty(), detail }
        })
        .collect()
}

#[cfg(test)]
mod tests;
