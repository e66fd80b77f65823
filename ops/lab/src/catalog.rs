//! The scenarios by name.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::findings::Findings;
use crate::lab::Lab;
use crate::scenarios;

/// What a scenario needs under its feet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// A kernel with IPVS, and the seed's cluster on it.
    Kernel,
    /// The same, timed by this host: a machine's own clock hardly counts the time within a long system call.
    Timed,
    /// Two user-mode-linux kernels on one wire: the seed's cluster on the first, one director on the second.
    Twin,
    /// The user's machine: loopback and a real disk.
    Host,
}

/// A scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Its name on the command line and in its result.
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) summary: &'static str,
    /// What it needs.
    pub(crate) ground: Ground,
    /// It needs the OTLP collector installed.
    pub(crate) needs_collector: bool,
    /// Longest time it may take once the cluster is up; generous, because it only ends machines that hang.
    pub(crate) budget: Duration,
    /// Runs it.
    pub(crate) run: fn(&mut Lab, &mut Findings) -> Result<()>,
}

const fn kernel(
    name: &'static str,
    minutes: u64,
    summary: &'static str,
    run: fn(&mut Lab, &mut Findings) -> Result<()>,
) -> Scenario {
    Scenario {
        name,
        summary,
        ground: Ground::Kernel,
        needs_collector: false,
        budget: Duration::from_mins(minutes),
        run,
    }
}

/// All scenarios, in the order of `all`: those that share a boot stand together, and those that share measurements in the
/// same half of their budgets.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "raft",
        summary: "the leader is killed while a client applies: is anything acknowledged lost?",
        ground: Ground::Host,
        needs_collector: false,
        budget: Duration::from_mins(5),
        run: scenarios::raft::run,
    },
    Scenario {
        name: "cluster-life",
        summary: "leadership moves under writes, a dead controller is replaced, a backup begins a new cluster",
        ground: Ground::Host,
        needs_collector: false,
        budget: Duration::from_mins(5),
        run: scenarios::cluster_life::run,
    },
    kernel(
        "seed",
        3,
        "the seed's cluster comes up and serves both Tomcats in turn",
        scenarios::seed::run,
    ),
    kernel(
        "vrrp-handover",
        8,
        "the Active director goes by plan: requests, established connections, ARP",
        scenarios::planned::run,
    ),
    kernel(
        "tomcat-crash",
        4,
        "kill -9 of a Tomcat: out of the tables, and back",
        scenarios::tomcat_crash::run,
    ),
    kernel(
        "health-detect",
        10,
        "a Tomcat killed five times, and one stopped: out of the tables, beside keepalived",
        scenarios::health_detect::run,
    ),
    kernel(
        "health-gray",
        8,
        "a real server whose RIP answers and whose VIP does not, beside keepalived",
        scenarios::health_gray::run,
    ),
    kernel(
        "health-uplink",
        8,
        "a director cut off from the real servers, and the agents from the controllers, beside keepalived",
        scenarios::health_uplink::run,
    ),
    kernel(
        "vrrp-failover",
        20,
        "the Active director loses power right after an advert, beside keepalived",
        scenarios::failover::power_loss,
    ),
    kernel("handover", 12, "the Active director is stopped by plan", scenarios::failover::handover),
    kernel(
        "side-by-side",
        15,
        "keepalived and Fulcrum on the same nodes with the same settings",
        scenarios::side_by_side::run,
    ),
    kernel(
        "events",
        4,
        "a Tomcat, the Active and the leader die: what every controller tells of it, and a mail server gets",
        scenarios::events::run,
    ),
    kernel(
        "upgrade",
        6,
        "each program stopped and started again under load",
        scenarios::restart::upgrade,
    ),
    kernel(
        "crash-restart",
        6,
        "each program killed and started again under load",
        scenarios::restart::crash,
    ),
    kernel(
        "headless",
        7,
        "no controller lives; orders by the local sockets, a Tomcat and a director die, agents restart",
        scenarios::headless::run,
    ),
    kernel(
        "ipvs-drain",
        10,
        "a real server drained by order and used again; the sorry server; connections of a dead host",
        scenarios::ipvs_drain::run,
    ),
    kernel(
        "arp-proof",
        8,
        "a real server and a foreign host answer ARP for the VIP: named by both directors; a hand-over is no alarm",
        scenarios::arp_proof::run,
    ),
    kernel(
        "doctor",
        10,
        "faults of hosts: what lvsctl doctor finds, how soon, and that it is gone when they are",
        scenarios::doctor::run,
    ),
    kernel(
        "rollout",
        20,
        "a pool's Tomcats restarted one by one under load; one that is bad; lvsctl killed in the middle",
        scenarios::rollout::run,
    ),
    kernel(
        "vrrp-virtual-mac",
        5,
        "the VIP moves with its MAC: by plan, and by power loss",
        scenarios::virtual_mac::run,
    ),
    kernel(
        "vrrp-faults",
        20,
        "who answers for the VIP when programs, hosts and neighbours misbehave, beside keepalived",
        scenarios::faults::run,
    ),
    kernel(
        "vrrp-interop",
        15,
        "keepalived and FRR as the other router, each as Active and as Backup",
        scenarios::interop::run,
    ),
    Scenario {
        needs_collector: true,
        ..kernel(
            "telemetry",
            6,
            "traces, metrics and logs arrive at a real OTLP collector",
            scenarios::telemetry::run,
        )
    },
    kernel(
        "ipvs-matrix",
        8,
        "everything that IPVS can do: programmed and read back by ipvsadm, then with traffic",
        scenarios::ipvs_matrix::run,
    ),
    kernel(
        "ipvs-diff",
        15,
        "two dozen random intents: what stays is never deleted, another program's hands in the table",
        scenarios::ipvs_diff::run,
    ),
    kernel(
        "ipvs-restarts",
        10,
        "10,000 connections through a director whose agent ends and starts again twenty times",
        scenarios::ipvs_restarts::run,
    ),
    kernel(
        "ipvs-drift",
        15,
        "10,000 entries, and what another program changes in them: found, put right, told",
        scenarios::ipvs_drift::run,
    ),
    kernel(
        "vrrp-load",
        12,
        "adverts while the host is busy: 100,000 rules, 1,000 probes, netlink",
        scenarios::load::run,
    ),
    Scenario {
        ground: Ground::Twin,
        ..kernel(
            "vrrp-pause",
            6,
            "the Active director's machine is paused and resumed, as a hypervisor does it",
            scenarios::pause::run,
        )
    },
];

/// The story for people; no part of `all`, which measures the same with more care.
pub(crate) const DEMO: Scenario = kernel(
    "demo",
    6,
    "the story of the cluster, told with its measured times",
    scenarios::demo::run,
);

/// No part of `all`: between its trials it waits minutes until the kernel has freed what was cleared.
const SCALE: Scenario = Scenario {
    ground: Ground::Timed,
    ..kernel(
        "ipvs-scale",
        30,
        "110,000 entries programmed, edited and taken over, beside ipvsadm, keepalived and a loop that only sends; not in all",
        scenarios::ipvs_scale::run,
    )
};

/// No part of `all` either, to keep it short: each compares with keepalived, or with fixed weights, what other scenarios show alone.
const BY_NAME: &[Scenario] = &[
    kernel(
        "health-flap",
        8,
        "a Tomcat that stalls and recovers eight times: damped, beside keepalived; not in all",
        scenarios::health_flap::run,
    ),
    kernel(
        "host-loss",
        10,
        "a real server's host loses power: out of the tables, beside keepalived; not in all",
        scenarios::host_loss::run,
    ),
    Scenario {
        ground: Ground::Timed,
        ..kernel(
            "health-cost",
            8,
            "1,000 checks: processor time, beside keepalived; not in all",
            scenarios::health_cost::run,
        )
    },
    kernel(
        "weights",
        10,
        "two unequal Tomcats under load: weights as planned, then weights that follow load; not in all",
        scenarios::weights::run,
    ),
];

/// All that can be named.
fn known() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().chain(BY_NAME).chain([&SCALE, &DEMO])
}

/// What `gate` leaves out of `all`: comparisons with keepalived of what other scenarios require by themselves.
const NOT_IN_GATE: [&str; 2] = ["handover", "side-by-side"];

/// The scenarios of those names; `all` stands for all, `gate` for those that a change must pass.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        bail!("name a scenario, gate or all; --list shows them");
    }
    let mut chosen = Vec::new();
    for name in names {
        if name == "all" || name == "gate" {
            let is_in =
                |scenario: &&Scenario| name == "all" || !NOT_IN_GATE.contains(&scenario.name);
            chosen.extend(ALL.iter().filter(is_in));
            continue;
        }
        let Some(scenario) = known().find(|scenario| scenario.name == name) else {
            let known: Vec<&str> = known().map(|known| known.name).collect();
            bail!("no scenario is called {name:?}; there are: gate, all, {}", known.join(", "));
        };
        chosen.push(scenario);
    }
    Ok(chosen)
}

/// Prints their list.
#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
pub(crate) fn print() {
    for scenario in known() {
        println!("{:<22} {}", scenario.name, scenario.summary);
    }
}
