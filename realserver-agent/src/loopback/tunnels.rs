//! What takes packets out of tunnels: a pure function of what is wanted, seen and remembered.
//!
//! ```text
//!   tunnel          to a RIP of IPv4                          to a RIP of IPv6
//!   ipip            ipip for VIPs of IPv4, sit for IPv6       ip6tnl
//!   gue             the same behind a UDP port (fou)          the same behind a UDP port (fou)
//!   gre             gre                                       ip6gre
//! ```
//!
//! A device of ours has the RIP as its local address, so that the kernel prefers it to those that its modules make
//! (`tunl0` and its like), which we leave alone. One with the same addresses that another program made is used as it is:
//! the kernel has no second.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use fulcrum_model::plan::HostTunnel;
use fulcrum_model::{Tunnel, TunnelChecksum};
use serde::{Deserialize, Serialize};

/// Most devices of one kind. Each is for another address of the host.
const MOST_DEVICES: usize = 100;
/// Who has the ports, by the kernel's module.
const FOU: &str = "fou";
/// `rp_filter` that lets in only what would be answered by the same interface.
const STRICT: u32 = 1;

/// Kinds of devices that take packets out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 in IPv4.
    Ipip,
    /// IPv6 in IPv4.
    Sit,
    /// Both in IPv6.
    Ip6tnl,
    /// Both in GRE over IPv4.
    Gre,
    /// Both in GRE over IPv6.
    Ip6gre,
}

impl Kind {
    /// As the kernel calls it, and the module.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6tnl => "ip6tnl",
            Self::Gre => "gre",
            Self::Ip6gre => "ip6gre",
        }
    }

    /// The kernel module that has it.
    pub fn module(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6tnl => "ip6_tunnel",
            Self::Gre => "ip_gre",
            Self::Ip6gre => "ip6_gre",
        }
    }

    /// In our devices' names, of which the kernel takes 15 bytes.
    fn short(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Sit => "sit",
            Self::Ip6tnl => "ip6",
            Self::Gre => "gre",
            Self::Ip6gre => "gre6",
        }
    }

    fn carries_ipv4(self) -> bool {
        match self {
            Self::Ipip | Self::Ip6tnl | Self::Gre | Self::Ip6gre => true,
            Self::Sit => false,
        }
    }

    fn carries_ipv6(self) -> bool {
        match self {
            Self::Sit | Self::Ip6tnl | Self::Gre | Self::Ip6gre => true,
            Self::Ipip => false,
        }
    }
}

/// A device as it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Its kind.
    pub kind: Kind,
    /// The address that packets are sent to.
    pub local: IpAddr,
    /// GRE comes with a checksum. The kernel drops what does not on a device that is for those, and the other way round.
    pub checksum: bool,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checksum = if self.checksum { " with checksums" } else { "" };
        write!(f, "{} to {}{checksum}", self.kind.as_str(), self.local)
    }
}

/// A UDP port behind which GUE is taken out (`ip fou add port 6080 gue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuePort {
    /// Its number.
    pub port: u16,
    /// Of UDP over IPv6.
    pub is_ipv6: bool,
}

impl fmt::Display for GuePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_ipv6 { "IPv6" } else { "IPv4" };
        write!(f, "GUE at UDP port {} of {family}", self.port)
    }
}

/// One thing that must be there for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A port.
    Port(GuePort),
    /// A device.
    Device(Device),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Device(device) => device.fmt(f),
        }
    }
}

/// What tunnels need, each with the VIPs whose packets come that way.
pub type Needs = BTreeMap<Need, BTreeSet<IpAddr>>;

/// What tunnels need.
pub fn needs(tunnels: &[HostTunnel]) -> Needs {
    let mut needs = Needs::new();
    for HostTunnel { tunnel, rip, vips } in tunnels {
        for vip in vips {
            let plain = Device { kind: plain(*rip, *vip), local: *rip, checksum: false };
            match tunnel {
                Tunnel::Ipip => {
                    needs.entry(Need::Device(plain)).or_default().insert(*vip);
                }
                Tunnel::Gue { port, checksum: _ } => {
                    let port = GuePort { port: port.get(), is_ipv6: rip.is_ipv6() };
                    needs.entry(Need::Port(port)).or_default().insert(*vip);
                    needs.entry(Need::Device(plain)).or_default().insert(*vip);
                }
                Tunnel::Gre { checksum } => {
                    let kind = if rip.is_ipv6() { Kind::Ip6gre } else { Kind::Gre };
                    let checksum = *checksum == TunnelChecksum::Full;
                    let device = Device { kind, local: *rip, checksum };
                    needs.entry(Need::Device(device)).or_default().insert(*vip);
                }
            }
        }
    }
    needs
}

/// The device for IP in IP.
fn plain(rip: IpAddr, vip: IpAddr) -> Kind {
    match (rip.is_ipv6(), vip.is_ipv6()) {
        (true, _) => Kind::Ip6tnl,
        (false, false) => Kind::Ipip,
        (false, true) => Kind::Sit,
    }
}

/// A device as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it takes.
    pub device: Device,
    /// It takes packets of any sender, without a key.
    pub is_open: bool,
    /// The administrator has it up.
    pub is_up: bool,
    /// It has an address of IPv4.
    pub has_ipv4: bool,
    /// `rp_filter` in force: the greater of its own and that of `all`.
    pub rp_filter: u32,
    /// `disable_ipv6` of the device.
    pub is_ipv6_disabled: bool,
    /// It forwards nothing, and heeds neither redirects nor router advertisements.
    pub is_guarded: bool,
}

/// What keeps a device from handing packets on, or lets it do more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// It forwards what comes out, or heeds redirects or router advertisements. It takes packets of any sender, so that
    /// whoever reaches the RIP could lead the host's traffic elsewhere, or his own past its firewall.
    Unguarded,
    /// Strict reverse-path filtering: clients are reached by another interface.
    Strict,
    /// No address of IPv4, without which the kernel filters loosely as it does strictly
    /// (`__fib_validate_source`, `net/ipv4/fib_frontend.c`).
    Address,
    /// IPv6 is disabled.
    Ipv6,
    /// It is down.
    Down,
}

impl Lack {
    /// All, in the order in which they are mended.
    const ALL: [Self; 5] = [Self::Unguarded, Self::Strict, Self::Address, Self::Ipv6, Self::Down];

    /// Whether it matters to devices of that kind, for these VIPs. IPv6 is not let in where no VIP is of it.
    fn concerns(self, kind: Kind, vips: &BTreeSet<IpAddr>) -> bool {
        match self {
            Self::Strict | Self::Address => kind.carries_ipv4(),
            Self::Ipv6 => kind.carries_ipv6() && vips.iter().any(IpAddr::is_ipv6),
            Self::Unguarded | Self::Down => true,
        }
    }

    /// Whether packets to VIPs are kept from them by it.
    fn stops_packets(self) -> bool {
        match self {
            Self::Unguarded => false,
            Self::Strict | Self::Address | Self::Ipv6 | Self::Down => true,
        }
    }

    fn is_of(self, found: &Found, vips: &BTreeSet<IpAddr>) -> bool {
        self.concerns(found.device.kind, vips)
            && match self {
                Self::Unguarded => !found.is_guarded,
                Self::Strict => found.rp_filter == STRICT,
                Self::Address => found.rp_filter != 0 && !found.has_ipv4,
                Self::Ipv6 => found.is_ipv6_disabled,
                Self::Down => !found.is_up,
            }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Unguarded => "forwards, or heeds redirects or router advertisements",
            Self::Strict => "filters reverse paths strictly (rp_filter is 1)",
            Self::Address => "has rp_filter and no IPv4 address, so that the kernel drops all",
            Self::Ipv6 => "has disable_ipv6",
            Self::Down => "is down",
        }
    }
}

/// What the host has of tunnels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Devices of [`Kind`], by name.
    pub devices: BTreeMap<String, Found>,
    /// Names of every interface.
    pub names: BTreeSet<String>,
    /// Ports of fou; whether they are for GUE.
    pub ports: BTreeMap<GuePort, bool>,
    /// Why the ports cannot be read; none where they are.
    pub ports_unread: Option<String>,
}

/// What we made in this boot, kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// Devices, by name.
    pub devices: BTreeSet<String>,
    /// Ports.
    pub ports: BTreeSet<GuePort>,
}

impl Ours {
    /// Remembers what could not be removed, as it was remembered before, and forgets what could not be made: whoever makes
    /// it later is another.
    pub fn correct(&mut self, before: &Self, failed: &[Step]) {
        for step in failed {
            match step {
                Step::Remove(name) => self.devices.extend(before.devices.get(name).cloned()),
                Step::Close(port) => self.ports.extend(before.ports.get(port)),
                Step::Make(name, _) => {
                    self.devices.remove(name);
                }
                Step::Open(port) => {
                    self.ports.remove(port);
                }
                Step::Mend(..) => {}
            }
        }
    }
}

/// One change of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a device, which is down.
    Make(String, Device),
    /// Mend what a device of ours lacks.
    Mend(String, Device, Lack),
    /// Remove a device of ours.
    Remove(String),
    /// Open a port.
    Open(GuePort),
    /// Close a port of ours.
    Close(GuePort),
}

impl Step {
    /// Whose need it is for; none where something goes.
    pub fn need(&self) -> Option<Need> {
        match self {
            Self::Make(_, device) | Self::Mend(_, device, _) => Some(Need::Device(*device)),
            Self::Open(port) => Some(Need::Port(*port)),
            Self::Remove(_) | Self::Close(_) => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(name, device) => write!(f, "{name}: made, {device}"),
            Self::Mend(name, _, lack) => write!(f, "{name}: mended, it {}", lack.words()),
            Self::Remove(name) => write!(f, "{name}: removed"),
            Self::Open(port) => write!(f, "{port}: opened"),
            Self::Close(port) => write!(f, "{port}: closed"),
        }
    }
}

/// Steps in order, and what is ours while they are taken and afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What goes.
    pub removals: Vec<Step>,
    /// What is made and mended.
    pub makings: Vec<Step>,
    /// To be remembered before the steps.
    pub before_steps: Ours,
    /// To be remembered after them.
    pub after_steps: Ours,
}

/// What is wanted of tunnels.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the plan needs.
    pub needs: &'a Needs,
    /// What left it and stays for its connections, where nothing wanted is in its place.
    pub leaving: &'a Needs,
    /// What could not be made and is not tried again yet.
    pub waiting: &'a BTreeSet<Need>,
}

/// Decides the steps.
pub fn plan(wanted: Wanted<'_>, observed: &Observed, ours: &Ours) -> Plan {
    let mut plan = Plan { before_steps: ours.clone(), ..Plan::default() };
    let mut stays = Ours::default();
    let mut names = observed.names.clone();
    let mut taken = BTreeSet::new();
    let leaving = wanted.leaving.iter().filter(|(need, _)| !wanted.needs.contains_key(need));
    for (need, vips) in wanted.needs.iter().chain(leaving) {
        let is_waiting = wanted.waiting.contains(need);
        match need {
            Need::Port(port) => {
                let is_open = observed.ports.contains_key(port);
                let is_unknown = observed.ports_unread.is_some();
                if !is_open && !is_unknown && !is_waiting {
                    plan.makings.push(Step::Open(*port));
                    stays.ports.insert(*port);
                } else if ours.ports.contains(port) && (is_open || is_unknown) {
                    stays.ports.insert(*port);
                }
            }
            // The kernel has one device for each, and what is wanted comes before what leaves. Intent that asks for two is
            // refused at Apply.
            Need::Device(device) if !taken.insert((device.kind, device.local)) => {}
            Need::Device(device) => match holder(device, observed, ours) {
                Holder::Ours(name, found) => {
                    let lacks = Lack::ALL.into_iter().filter(|lack| lack.is_of(found, vips));
                    let mend = |lack| Step::Mend(name.to_owned(), *device, lack);
                    plan.makings.extend(lacks.map(mend));
                    stays.devices.insert(name.to_owned());
                }
                Holder::Another(..) => {}
                Holder::None => {
                    let name = free_name(device.kind, &names).filter(|_| !is_waiting);
                    let Some(name) = name else { continue };
                    names.insert(name.clone());
                    plan.makings.push(Step::Make(name.clone(), *device));
                    let concerns = |lack: &Lack| lack.concerns(device.kind, vips);
                    let mend = |lack| Step::Mend(name.clone(), *device, lack);
                    plan.makings.extend(Lack::ALL.into_iter().filter(concerns).map(mend));
                    stays.devices.insert(name);
                }
            },
        }
    }
    if observed.ports_unread.is_some() {
        stays.ports.extend(&ours.ports);
    }
    let goes = |name: &&String| !stays.devices.contains(*name) && observed.names.contains(*name);
    plan.removals.extend(ours.devices.iter().filter(goes).cloned().map(Step::Remove));
    let goes = |port: &&GuePort| !stays.ports.contains(port) && observed.ports.contains_key(port);
    plan.removals.extend(ours.ports.iter().filter(goes).copied().map(Step::Close));
    plan.before_steps.devices.extend(stays.devices.iter().cloned());
    plan.before_steps.ports.extend(&stays.ports);
    plan.after_steps = stays;
    plan
}

/// Who takes out what a device is wanted for.
enum Holder<'a> {
    /// A device of ours.
    Ours(&'a str, &'a Found),
    /// A device of another program, in whose place the kernel allows no other.
    Another(&'a str, &'a Found),
    /// Nobody.
    None,
}

fn holder<'a>(device: &Device, observed: &'a Observed, ours: &Ours) -> Holder<'a> {
    let fits = |found: &Found| {
        found.is_open && found.device.kind == device.kind && found.device.local == device.local
    };
    let mut found = observed.devices.iter().filter(|(_, found)| fits(found));
    let Some((name, found)) = found.next() else { return Holder::None };
    if !ours.devices.contains(name) {
        Holder::Another(name, found)
    } else if found.device == *device {
        Holder::Ours(name, found)
    } else {
        // The checksum has changed: it goes, and another one comes.
        Holder::None
    }
}

fn free_name(kind: Kind, taken: &BTreeSet<String>) -> Option<String> {
    let names = (0..MOST_DEVICES).map(|number| format!("fulcrum-{}-{number}", kind.short()));
    names.into_iter().find(|name| !taken.contains(name))
}

/// Why packets of a tunnel are not taken out; none where they are. `failed` tells what could not be done.
pub fn shortfall(
    need: &Need,
    vips: &BTreeSet<IpAddr>,
    observed: &Observed,
    ours: &Ours,
    failed: &BTreeMap<Need, String>,
) -> Option<String> {
    let because = || failed.get(need).map(|why| format!(": {why}")).unwrap_or_default();
    match need {
        Need::Port(port) => match observed.ports.get(port) {
            Some(true) => None,
            Some(false) => Some(format!(
                "UDP port {} takes another encapsulation than GUE out: `ip fou del port {}`, and take it out of what \
                 makes it",
                port.port, port.port
            )),
            None => Some(match &observed.ports_unread {
                Some(why) => format!("whether somebody takes {port} out cannot be read: {why}"),
                None => format!("nobody takes {port} out{}", because()),
            }),
        },
        Need::Device(device) => {
            let (name, found, is_ours) = match holder(device, observed, ours) {
                Holder::None => return Some(format!("no device takes {device} out{}", because())),
                Holder::Ours(name, found) => (name, found, true),
                Holder::Another(name, found) => (name, found, false),
            };
            let stops = |lack: &Lack| lack.stops_packets() && lack.is_of(found, vips);
            let lack = Lack::ALL.into_iter().find(stops).map(Lack::words);
            let checksum = "wants GRE with another checksum than the virtual server's";
            let lack = lack.or((found.device != *device).then_some(checksum))?;
            Some(if is_ours {
                format!("{name} {lack}{}", because())
            } else {
                format!(
                    "{name}, which another program made, {lack}: put that right, or delete it and one is made"
                )
            })
        }
    }
}

/// What takes packets out of a tunnel, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What is needed.
    pub need: Need,
    /// The VIPs whose packets come that way.
    pub vips: BTreeSet<IpAddr>,
    /// The device that takes them, or `fou`; none where nobody does.
    pub taken_by: Option<String>,
    /// Another program made it.
    pub is_foreign: bool,
    /// Why packets do not arrive.
    pub problem: Option<String>,
}

/// All ends, ordered.
pub fn ends(
    needs: &Needs,
    observed: &Observed,
    ours: &Ours,
    failed: &BTreeMap<Need, String>,
) -> Vec<End> {
    let end = |(need, vips): (&Need, &BTreeSet<IpAddr>)| {
        let (taken_by, is_foreign) = match need {
            Need::Port(port) => {
                let is_open = observed.ports.contains_key(port);
                (is_open.then(|| FOU.to_owned()), is_open && !ours.ports.contains(port))
            }
            Need::Device(device) => match holder(device, observed, ours) {
                Holder::Ours(name, _) => (Some(name.to_owned()), false),
                Holder::Another(name, _) => (Some(name.to_owned()), true),
                Holder::None => (None, false),
            },
        };
        let problem = shortfall(need, vips, observed, ours, failed);
        End { need: *need, vips: vips.clone(), taken_by, is_foreign, problem }
    };
    needs.iter().map(end).collect()
}

#[cfg(test)]
pub(super) mod tests;
