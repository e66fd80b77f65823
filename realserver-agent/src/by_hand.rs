//! `start`, `stop` and `status` for the person who knows the script.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use fulcrum_model::VipEvidence;
use fulcrum_runtime::boot;

use crate::loopback::driver::{Loopback, Wanted};
use crate::loopback::netlink::Addresses;
use crate::loopback::plan::{self, Desired, Failures, Memory, Observed};

fn open(state_dir: &Path) -> anyhow::Result<Loopback> {
    let (addresses, _changes) = Addresses::open().context("open netlink")?;
    Ok(Loopback::new(addresses, state_dir, &boot::boot_id().context("read the kernel's boot id")?))
}

/// Silences ARP, then binds `vips` beside those that are ours already; releases a hold.
///
/// # Errors
/// What could not be done, with the remedy.
pub async fn start(state_dir: &Path, vips: &[IpAddr]) -> anyhow::Result<ExitCode> {
    let mut loopback = open(state_dir)?;
    let (_, memory) = loopback.look(&Wanted::default()).await?;
    let wanted: BTreeSet<IpAddr> = memory.ours.iter().chain(vips).copied().collect();
    if wanted.is_empty() && !memory.held {
        bail!("no VIP is known: give --vip ADDRESS");
    }
    loopback.hold(false)?;
    let turn = loopback.reconcile(&Wanted { vips: wanted, ..Wanted::default() }).await?;
    if turn.evidence.is_empty() {
        println!("released: a running agent binds what its plan orders");
    }
    for vip in &turn.evidence {
        println!("{}: {}", vip.vip, if vip.arp_safe { "bound to lo, quiet" } else { &vip.detail });
    }
    Ok(success(turn.evidence.iter().all(|vip| vip.arp_safe)))
}

/// Unbinds every VIP of ours and restores the ARP settings. A running agent keeps its hands off until `start`.
///
/// # Errors
/// What could not be done, with the remedy.
pub async fn stop(state_dir: &Path) -> anyhow::Result<ExitCode> {
    let mut loopback = open(state_dir)?;
    loopback.hold(true)?;
    let turn = loopback.reconcile(&Wanted::default()).await?;
    for step in &turn.steps {
        match step {
            plan::Step::Unbind(vip) => println!("{vip}: unbound from lo"),
            plan::Step::Set(setting, value) => println!("{setting}: back to {value}"),
            plan::Step::Bind(vip) => println!("{vip}: bound"),
            plan::Step::Tunnel(step) => println!("{step}"),
        }
    }
    for why in &turn.left_behind {
        println!("{why}");
    }
    if turn.steps.is_empty() && turn.left_behind.is_empty() {
        println!("nothing of ours was bound");
    }
    Ok(success(turn.left_behind.is_empty()))
}

/// Tells what is bound and whether ARP is quiet. Changes nothing.
///
/// # Errors
/// What could not be read.
pub async fn status(state_dir: &Path) -> anyhow::Result<ExitCode> {
    let loopback = open(state_dir)?;
    let (observed, memory) = loopback.look(&Wanted::default()).await?;
    for (setting, value) in &observed.settings {
        let quiet = *value >= setting.key.wanted();
        println!("{setting} = {value}{}", if quiet { "" } else { "  (loud)" });
    }
    let known: BTreeSet<IpAddr> = memory.ours.union(&observed.bound).copied().collect();
    for vip in evidence(&observed, &memory) {
        println!("{}: {}", vip.vip, if vip.arp_safe { "bound to lo, quiet" } else { &vip.detail });
    }
    for vip in known.difference(&memory.ours) {
        println!("{vip}: bound to lo by another program; `start --vip {vip}` takes it over");
    }
    for name in &memory.tunnels.devices {
        println!("{name}: takes packets out of a tunnel, made by the agent");
    }
    for port in &memory.tunnels.ports {
        println!("{port}: opened by the agent");
    }
    if memory.held {
        println!("stopped by hand: run `fulcrum-realserver start` to go on");
    } else if known.is_empty() {
        println!(
            "no VIP is bound: run `fulcrum-realserver start --vip ADDRESS`, or attach the agent to a controller"
        );
    }
    let well =
        !memory.ours.is_empty() && evidence(&observed, &memory).iter().all(|vip| vip.arp_safe);
    Ok(success(well))
}

/// Of what is ours. What tunnels are wanted is known to the running agent alone.
fn evidence(observed: &Observed, memory: &Memory) -> Vec<VipEvidence> {
    let desired = Desired { vips: memory.ours.clone(), ..Desired::default() };
    plan::evidence(&desired, observed, memory, &Failures::default())
}

fn success(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
