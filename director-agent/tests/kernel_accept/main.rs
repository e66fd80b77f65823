//! `no_accept` on a real kernel: a director and a client, each in a network namespace that ends with this program.
//!
//! It needs root, `nf_tables`, `veth`, `ip` and `nft`; no IPVS. `kernel_accept run DIR` runs every case and prints one line for
//! each. (`kernel_accept hold STATE_DIR` is a director to be killed.) Without words it does nothing, so that test runners
//! may start it.

mod client;
mod director;
#[path = "../kernel/mod.rs"]
mod kernel;

use std::path::Path;
use std::process::ExitCode;

use crate::client::Client;
use crate::director::{Director, Part, V4, V6};
use crate::kernel::{Result, shell};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["run", dir] => runtime().and_then(|runtime| runtime.block_on(run(Path::new(dir)))),
        ["hold", dir] => {
            runtime().and_then(|runtime| runtime.block_on(director::hold(Path::new(dir))))
        }
        _ => Ok(()),
    };
    kernel::exit_code(result)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    // The namespace is this thread's, and those that it starts inherit it.
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn run(dir: &Path) -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    let client = Client::start()?;
    shell("ip link set lo up")?;
    shell("ip address add 10.0.0.1/24 dev eth0")?;
    shell("ip link set eth0 up")?;
    client.settle()?;

    let mut director = Director::spawn(dir)?;
    director.apply(true, 100)?;
    director.until("Active with all VIPs", director::is_held).await?;
    client.require("accepts by default", true)?;
    require("no table without no_accept", !tables()?.contains("fulcrum_vrrp"))?;

    director.apply(false, 100)?;
    until_rules(&[V4, V6]).await?;
    client.require("no_accept drops", false)?;
    client.require_neighbour(V6)?;
    println!("ok: neighbour discovery goes on");
    shell("nft flush ruleset")?;
    until_rules(&[V4, V6]).await?;
    client.require("rules that a firewall's reload has deleted are put back", false)?;

    director.apply(false, 255)?;
    director.until("the owner holds all VIPs", director::is_held).await?;
    until_no_rules().await?;
    client.require("an owner accepts all the same", true)?;

    director.apply(false, 100)?;
    until_rules(&[V4, V6]).await?;
    director.stop().await;
    require("a planned stop leaves no rules", !tables()?.contains("fulcrum_vrrp"))?;
    require("nor a VIP", !shell("ip address show dev eth0")?.contains(V4))?;

    let mut part = Part::spawn(dir, "hold", None)?;
    part.wait("held")?;
    client.require("another life drops, too", false)?;
    part.kill()?;
    require("rules outlive a killed agent", tables()?.contains("fulcrum_vrrp"))?;
    let mut director = Director::spawn(dir)?;
    director.apply(true, 100)?;
    director.until("Active with all VIPs", director::is_held).await?;
    until_no_rules().await?;
    client.require("the next life opens what is no longer to be closed", true)?;
    director.stop().await;

    let mut part = Part::spawn(dir, "hold", Some("/nonexistent"))?;
    part.wait("install nftables, or leave no_accept out")?;
    require("without nft no VIP is bound", !shell("ip address show dev eth0")?.contains(V4))?;
    part.kill()
}

/// Waits until the rules name all of these.
async fn until_rules(addresses: &[&str]) -> Result<()> {
    director::eventually("the rules stand", || {
        let rules = shell("nft list ruleset")?;
        Ok(addresses.iter().all(|address| rules.contains(address)))
    })
    .await
}

async fn until_no_rules() -> Result<()> {
    director::eventually("the rules are gone", || Ok(!tables()?.contains("fulcrum_vrrp"))).await
}

fn tables() -> Result<String> {
    shell("nft list tables")
}

fn require(what: &str, holds: bool) -> Result<()> {
    if !holds {
        return Err(what.into());
    }
    println!("ok: {what}");
    Ok(())
}
