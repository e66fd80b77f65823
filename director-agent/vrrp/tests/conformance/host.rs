//! A host with a scenario's addresses: where they belong, and the edits that bring them there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_vrrp::placement::{self, Edit, Observed, Vip};
use fulcrum_vrrp::{Config, Hold, HoldInput, HoldTimes, Place, virtual_mac};

pub(crate) struct Host {
    hold: Hold,
    times: HoldTimes,
    vips: Vec<Vip>,
    observed: Observed,
    /// The virtual MAC, where it has one; otherwise the interface's own is used.
    pub(crate) mac: Option<[u8; 6]>,
}

impl Host {
    /// None of the addresses is there.
    pub(crate) fn new(plan: &VrrpInstancePlan, config: &Config) -> Self {
        let (vrid, family) = (plan.vrid, config.family());
        let has_mac = plan.options.virtual_mac;
        let interface = if has_mac {
            virtual_mac::device_name(&plan.interface, vrid, family)
        } else {
            plan.interface.clone()
        };
        let vips = plan.vips.iter().map(|vip| Vip {
            interface: interface.clone(),
            address: vip.address(),
            prefix_length: vip.prefix_length(),
        });
        Self {
            hold: Hold::Absent,
            times: HoldTimes::of(&config.wire),
            vips: vips.collect(),
            observed: Observed::default(),
            mac: has_mac.then(|| virtual_mac::virtual_mac(vrid, family)),
        }
    }

    pub(crate) fn step(&mut self, now: Duration, input: HoldInput) {
        self.hold = self.hold.step(now, self.times, input);
    }

    /// An earlier life has left the addresses on the interface.
    pub(crate) fn find(&mut self, now: Duration) {
        self.observed.on_interfaces.extend(self.vips.iter().cloned());
        self.step(now, HoldInput::Found);
    }

    /// Makes the edits that are due, and says them and what has come of them.
    pub(crate) fn place(&mut self) -> Vec<String> {
        let place = self.hold.place();
        let desired: BTreeMap<Vip, Place> =
            self.vips.iter().map(|vip| (vip.clone(), place)).collect();
        let edits = placement::edits(&desired, &self.observed);
        let mut lines: Vec<String> = edits.into_iter().map(|edit| self.make(edit)).collect();
        lines.extend(self.vips.iter().map(|vip| self.say(vip.address)));
        lines
    }

    fn make(&mut self, edit: Edit) -> String {
        let observed = &mut self.observed;
        match edit {
            Edit::Quiet(interface) => {
                let line = format!("silences {interface}");
                observed.quiet.insert(interface);
                line
            }
            Edit::Restore(interface) => {
                observed.quiet.remove(&interface);
                format!("lets {interface} speak")
            }
            Edit::AddLoopback(address) => {
                observed.on_loopback.insert(address);
                observed.ours_on_loopback.insert(address);
                format!("adds {address} to loopback")
            }
            Edit::RemoveLoopback(address) => {
                observed.on_loopback.remove(&address);
                observed.ours_on_loopback.remove(&address);
                format!("removes {address} from loopback")
            }
            Edit::AddInterface(vip) => {
                let line =
                    format!("adds {}/{} to {}", vip.address, vip.prefix_length, vip.interface);
                observed.on_interfaces.insert(vip);
                line
            }
            Edit::RemoveInterface(vip) => {
                observed.on_interfaces.remove(&vip);
                format!("removes {}/{} from {}", vip.address, vip.prefix_length, vip.interface)
            }
        }
    }

    /// As a kernel does: an address that it has is accepted; asked for it, an interface answers
    /// unless it is quiet and the address elsewhere.
    fn say(&self, address: IpAddr) -> String {
        let on_interface = self.observed.on_interfaces.iter().any(|vip| vip.address == address);
        let accepts = on_interface || self.observed.on_loopback.contains(&address);
        let answers = on_interface || (accepts && self.observed.quiet.is_empty());
        let answers = if answers { "answers" } else { "does not answer" };
        let accepts = if accepts { "accepts" } else { "does not accept" };
        let mac = self.mac.filter(|_| on_interface);
        let mac = mac.map_or(String::new(), |mac| {
            let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(" with {}", bytes.join(":"))
        });
        format!(
            "{answers} ARP and neighbour solicitations for {address}{mac}, {accepts} its packets"
        )
    }
}
