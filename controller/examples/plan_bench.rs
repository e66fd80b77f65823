//! What one edit of a large intent costs a controller: from the committed entry to what its director is sent.
//!
//! `cargo run --release -p fulcrum-controller --example plan_bench -- --virtual-servers 10000 --real-servers 10` prints one JSON
//! line for each kind of edit: milliseconds, the median of some, until the leader has decided, and until the director's update
//! is made.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use fulcrum_controller::sessions::Planned;
use fulcrum_controller::sessions::planning;
use fulcrum_controller::sessions::update::Has;
use fulcrum_intent::{AgentId, AgentRole, Intent, Removal, prepare};
use fulcrum_model::resource::{
    AgentRequirement, Director, Pool, PoolMember, RealServer, Resource, Site, Spec, VirtualServer,
    VrrpChecksum, VrrpInstance, VrrpMember, VrrpVersion,
};
use fulcrum_model::{
    Check, Cidr, ForwardingMethod, IpvsSettings, Listen, Name, Port, Priority, Protocol, Quorum,
    Revision, Scheduler, ServerProbe, Thresholds, VirtualServerOptions, Vrid, VrrpOptions, Weight,
};

/// Virtual servers at one VIP.
const PORTS: u32 = 100;
/// The first port at a VIP.
const FIRST_PORT: u64 = 10_000;
const FIRST_VIP: u32 = u32::from_be_bytes([192, 168, 2, 1]);
const FIRST_RIP: u32 = u32::from_be_bytes([10, 66, 0, 1]);

#[derive(Debug, Parser)]
struct Arguments {
    /// Virtual servers.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    virtual_servers: u32,
    /// Real servers of the pool that all of them but one use. That one has a pool of a hundred.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    real_servers: u32,
    /// Edits of each kind.
    #[arg(long, default_value_t = 11)]
    edits: u32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut controller = Controller::new(resources(&arguments)?)?;
    let mut last = arguments.virtual_servers;
    controller.measure("one virtual server more", arguments.edits, |_| {
        last += 1;
        virtual_server(last, "ten")
    })?;
    let hundred = |round: u32| pool("hundred", arguments.real_servers, 100, round % 2 + 1);
    controller.measure("one weight changed", arguments.edits, hundred)?;
    let other = |round: u32| pool("hundred", arguments.real_servers + round % 2 * 100, 100, 1);
    controller.measure("pool of 100 replaced", arguments.edits, other)?;
    let ten = |round: u32| pool("ten", 0, arguments.real_servers, round % 2 + 1);
    controller.measure("a weight changed for all", arguments.edits, ten)
}

/// What a controller keeps for a director that is attached to it.
struct Controller {
    planned: Planned,
    director: AgentId,
    has: Has,
}

impl Controller {
    fn new(resources: Vec<Resource>) -> Result<Self> {
        let prepared = decide(&Intent::default(), resources)?;
        let mut intent = Intent::default();
        intent.apply(Revision(1), prepared.put, prepared.delete);
        let planned = Planned::new("bench".to_owned(), 1, intent, String::new(), None);
        let director = AgentId { role: AgentRole::Director, name: name("d1")? };
        let has = planning::make_one(&planned, &director, Has::Nothing).then;
        Ok(Self { planned, director, has })
    }

    fn measure(
        &mut self,
        kind: &str,
        edits: u32,
        mut edit: impl FnMut(u32) -> Result<Resource>,
    ) -> Result<()> {
        let (mut decided, mut made, mut objects) = (Vec::new(), Vec::new(), 0);
        for round in 0..edits {
            let resource = edit(round)?;
            let began = Instant::now();
            let prepared = decide(&self.planned.intent, vec![resource])?;
            decided.push(began.elapsed());
            let began = Instant::now();
            let mut intent = self.planned.intent.clone();
            let revision = Revision(intent.revision.0 + 1);
            intent.apply(revision, prepared.put, prepared.delete);
            let planned =
                Planned::new("bench".to_owned(), 1, intent, String::new(), Some(&self.planned));
            let _ = planned.changed_since(&self.planned);
            let update =
                planning::make_one(&planned, &self.director, std::mem::take(&mut self.has));
            made.push(began.elapsed());
            objects = update.update.objects.len();
            self.has = update.then;
            self.planned = planned;
        }
        println!(
            "{{\"edit\":\"{kind}\",\"decided_ms\":{:.2},\"update_made_ms\":{:.2},\"objects\":{objects}}}",
            median(&mut decided),
            median(&mut made)
        );
        Ok(())
    }
}

fn decide(current: &Intent, set: Vec<Resource>) -> Result<fulcrum_intent::Prepared> {
    let set = set.into_iter().enumerate().collect();
    prepare(current, set, &Removal::default(), true).context("the intent is refused")
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn resources(arguments: &Arguments) -> Result<Vec<Resource>> {
    let site = name("main")?;
    let mut all = vec![resource("main", Spec::Site(Site::default()))?];
    let mut members = Vec::new();
    for (number, priority) in [(1_u8, 100), (2, 90)] {
        let director = format!("d{number}");
        let spec = Director {
            site: site.clone(),
            dip: Ipv4Addr::new(192, 168, 1, number).into(),
            dip_ipv6: None,
            interface: "eth0".to_owned(),
            ipvs: IpvsSettings::default(),
        };
        all.push(resource(&director, Spec::Director(spec))?);
        let priority = Priority::new(priority)?;
        members.push(VrrpMember { director: name(&director)?, priority, interface: None });
    }
    let vips =
        (0..=arguments.virtual_servers / PORTS).map(|number| Cidr::host(vip(number * PORTS)));
    let instance = VrrpInstance {
        site: site.clone(),
        vrid: Vrid::new(51)?,
        version: VrrpVersion::V3,
        advert_interval: Duration::from_secs(1),
        vips: vips.collect(),
        members,
        preempt: true,
        auth_pass: None,
        unicast: false,
        checksum: VrrpChecksum::Deployed,
        options: VrrpOptions::default(),
    };
    all.push(resource("vi-1", Spec::VrrpInstance(instance))?);
    for number in 0..arguments.real_servers + 200 {
        let text = format!("r{number}");
        let spec = RealServer {
            site: site.clone(),
            rip: Ipv4Addr::from(FIRST_RIP + number).into(),
            port: Port::new(8080)?,
            agent: name(&text)?,
            probe: ServerProbe::default(),
        };
        all.push(resource(&text, Spec::RealServer(spec))?);
    }
    all.push(pool("ten", 0, arguments.real_servers, 1)?);
    all.push(pool("hundred", arguments.real_servers, 100, 1)?);
    for number in 1..=arguments.virtual_servers {
        all.push(virtual_server(number, if number == 1 { "hundred" } else { "ten" })?);
    }
    Ok(all)
}

/// The address of the virtual server of that number.
fn vip(number: u32) -> IpAddr {
    Ipv4Addr::from(FIRST_VIP + number / PORTS).into()
}

fn virtual_server(number: u32, pool: &str) -> Result<Resource> {
    let spec = VirtualServer {
        vrrp_instance: name("vi-1")?,
        listen: Listen::Address {
            vip: vip(number),
            port: Some(Port::new(FIRST_PORT + u64::from(number % PORTS))?),
            protocol: Protocol::Tcp,
        },
        scheduler: Scheduler::Rr,
        forwarding: ForwardingMethod::Nat,
        persistence_timeout: None,
        pool: name(pool)?,
        options: VirtualServerOptions::default(),
    };
    resource(&format!("v{number}"), Spec::VirtualServer(spec))
}

/// A pool of real servers in a row, of weight 1 but for its first.
fn pool(text: &str, first: u32, members: u32, weight: u32) -> Result<Resource> {
    let members: Result<Vec<PoolMember>> = (first..first + members)
        .map(|number| {
            let weight = if number == first { u64::from(weight) } else { 1 };
            Ok(PoolMember {
                real_server: name(&format!("r{number}"))?,
                weight: Weight::new(weight)?,
                thresholds: Thresholds::default(),
                forwarding: None,
            })
        })
        .collect();
    let spec = Pool {
        members: members?,
        check: Check::default(),
        agent: AgentRequirement::None,
        quorum: Quorum::default(),
        sorry_server: None,
        slow_start: None,
        dynamic_weights: None,
    };
    resource(text, Spec::Pool(spec))
}

fn resource(text: &str, spec: Spec) -> Result<Resource> {
    Ok(Resource { name: name(text)?, labels: [].into(), revision: Revision(0), spec })
}

fn name(text: &str) -> Result<Name> {
    Ok(text.parse()?)
}
