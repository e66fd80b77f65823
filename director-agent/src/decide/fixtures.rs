//! Plans and evidence for tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::fuse::{OwnProbe, Tries};
use fulcrum_model::plan::{DestinationPlan, VirtualServerPlan, VrrpInstancePlan};
use fulcrum_model::resource::{AgentRequirement, VrrpChecksum, VrrpVersion};
use fulcrum_model::vrrp::VrrpOptions;
use fulcrum_model::{
    Check, Cidr, Evidence, EvidenceStamp, ForwardingMethod, Listen, Name, Port, Priority, Protocol,
    Quorum, Scheduler, ServerEvidence, Thresholds, Verdict, VipEvidence, VirtualServerOptions,
    Vrid, Weight,
};

use super::check::{CheckKey, CheckNews};
use super::decided::Effect;
use super::plan::Servers;
use super::weights::Decider;

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a valid name")
}

/// VIP 192.168.1.`number`.
pub(crate) fn vip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 1, number))
}

/// One VIP, version 3, priority 100, adverts every second, on `eth0` of 192.168.1.9; preempts.
pub(crate) fn vrrp_instance(text: &str, vip_number: u8) -> VrrpInstancePlan {
    VrrpInstancePlan {
        name: name(text),
        vrid: Vrid::new(51).expect("a VRID"),
        version: VrrpVersion::V3,
        advert_interval: Duration::from_secs(1),
        interface: "eth0".to_owned(),
        priority: Priority::new(100).expect("a priority"),
        preempt: true,
        auth_pass: None,
        vips: vec![Cidr::host(vip(vip_number))],
        source: vip(9),
        unicast_peers: Vec::new(),
        checksum: VrrpChecksum::Deployed,
        take_over: false,
        options: VrrpOptions::default(),
    }
}

/// Real server `webN` has RIP 10.0.0.N, or the next ones after 255, and an agent of its own name.
pub(crate) fn virtual_server(
    text: &str,
    vip_number: u8,
    real_servers: &[&str],
) -> VirtualServerPlan {
    VirtualServerPlan {
        name: name(text),
        listen: Listen::Address {
            vip: vip(vip_number),
            port: Some(Port::new(80).expect("a port")),
            protocol: Protocol::Tcp,
        },
        vips: vec![vip(vip_number)],
        scheduler: Scheduler::Rr,
        forwarding: ForwardingMethod::Dr,
        persistence_timeout: None,
        destinations: real_servers.iter().map(|text| destination(text)).collect(),
        check: Check::default(),
        agent: AgentRequirement::Required,
        options: VirtualServerOptions::default(),
        quorum: Quorum::default(),
        sorry_server: None,
        slow_start: None,
        dynamic_weights: None,
    }
}

/// Of weight 8 and forwarding method dr.
pub(crate) fn destination(text: &str) -> DestinationPlan {
    DestinationPlan {
        real_server: name(text),
        rip: rip(text),
        port: Port::new(80).expect("a port"),
        weight: Weight::new(8).expect("a weight"),
        agent: name(text),
        thresholds: Thresholds::default(),
        forwarding: ForwardingMethod::Dr,
        drain: None,
    }
}

pub(crate) fn rip(text: &str) -> IpAddr {
    let number: u16 = text.trim_start_matches("web").parse().expect("webN");
    let [high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

pub(crate) fn servers<const N: usize>(plans: [VirtualServerPlan; N]) -> Servers {
    plans.into_iter().map(|plan| (plan.name.clone(), Arc::new(plan))).collect()
}

/// Evidence of `agent` for its one server, and for VIP 192.168.1.1 where `arp_safe` is told.
pub(crate) fn evidence(
    agent: &str,
    sequence: u64,
    verdict: Verdict,
    arp_safe: Option<bool>,
) -> Evidence {
    Evidence {
        agent: name(agent),
        stamp: EvidenceStamp { epoch: 1, sequence },
        age: Duration::ZERO,
        valid_for: Duration::from_secs(3),
        boot_id: "boot".to_owned(),
        servers: vec![ServerEvidence {
            real_server: name(agent),
            verdict,
            reasons: vec!["seen".to_owned()],
            pid: None,
            probe_time: None,
            http_status: None,
            load: None,
            exit_seen_at: None,
            restart: None,
        }],
        vips: arp_safe
            .map(|arp_safe| VipEvidence {
                vip: vip(1),
                bound: true,
                arp_safe,
                detail: String::new(),
            })
            .into_iter()
            .collect(),
        traceparent: String::new(),
    }
}

/// Tells a decider of one check.
pub(crate) fn probed(
    decider: &mut Decider,
    now: Duration,
    key: &CheckKey,
    probe: OwnProbe,
) -> Effect {
    let tries = Tries { heard: Some(now), ..Tries::default() };
    decider.probes(now, [CheckNews { key: key.clone(), probe, tries }])
}
