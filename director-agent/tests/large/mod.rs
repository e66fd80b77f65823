//! A large plan: ten thousand virtual servers with the same ten real servers.

use std::net::Ipv4Addr;
use std::time::Duration;

use fulcrum_proto::v1;

/// Virtual servers, and real servers of each.
pub(crate) const VIRTUAL_SERVERS: u32 = 10_000;
pub(crate) const REAL_SERVERS: u32 = 10;

/// The whole plan, of revision 1.
pub(crate) fn plan() -> v1::PlanUpdate {
    v1::PlanUpdate {
        whole: true,
        ..update(1, (0..VIRTUAL_SERVERS).map(|number| server(number, 1)))
    }
}

/// A change of the plan that makes it that of `revision`: these virtual servers, new or again.
pub(crate) fn update(
    revision: u64,
    servers: impl IntoIterator<Item = v1::VirtualServerPlan>,
) -> v1::PlanUpdate {
    let objects = servers.into_iter().map(|server| v1::PlanObject {
        key: format!("virtual-server/{}", server.name),
        object: Some(v1::plan_object::Object::VirtualServer(server)),
    });
    v1::PlanUpdate {
        version: Some(v1::PlanVersion {
            cluster_id: "x".to_owned(),
            incarnation: 1,
            revision,
            ..Default::default()
        }),
        objects: objects.collect(),
        ..v1::PlanUpdate::default()
    }
}

/// The virtual server of that number, a port of one of a hundred VIPs; `weight` is that of its first real server, the others
/// have 1.
pub(crate) fn server(number: u32, weight: u32) -> v1::VirtualServerPlan {
    let check = v1::Check {
        probe: Some(v1::check::Probe::Tcp(v1::TcpCheck::default())),
        interval: seconds(5),
        timeout: seconds(1),
        retries: Some(1),
        retry_delay: seconds(1),
        rise: 1,
        port: 0,
        ..v1::Check::default()
    };
    let destinations = (0..REAL_SERVERS).map(|number| v1::DestinationPlan {
        real_server: format!("r{number}"),
        rip: Ipv4Addr::from(0x0a42_0001 + number).to_string(),
        port: 8080,
        weight: if number == 0 { weight } else { 1 },
        agent: format!("r{number}"),
        ..v1::DestinationPlan::default()
    });
    v1::VirtualServerPlan {
        name: format!("v{number}"),
        vip: format!("192.168.2.{}", number % 100 + 1),
        port: 10_000 + number / 100,
        protocol: v1::Protocol::Tcp.into(),
        scheduler: v1::Scheduler::Rr.into(),
        forwarding: v1::ForwardingMethod::Nat.into(),
        destinations: destinations.collect(),
        check: Some(check),
        agent: v1::AgentRequirement::None.into(),
        ..v1::VirtualServerPlan::default()
    }
}

fn seconds<T: TryFrom<Duration>>(seconds: u64) -> Option<T> {
    T::try_from(Duration::from_secs(seconds)).ok()
}
