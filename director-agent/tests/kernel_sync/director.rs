//! A director without a controller: the drivers, and a plan that is written here.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use fulcrum_director::clock::Clock;
use fulcrum_director::ipvs::{Desired, HostSettings, IpvsHandle};
use fulcrum_director::sync::{SyncHandle, SyncSnapshot};
use fulcrum_director::vrrp::{VrrpHandle, VrrpSnapshot};
use fulcrum_ipvs::{
    AddressFamily, Destination, DestinationKey, DestinationSettings, Forwarding, Table,
    VirtualServer, VirtualServerKey, VirtualServerSettings,
};
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::vrrp::ConnectionSync;
use fulcrum_model::{Cidr, Scheduler, VrrpOptions};

use crate::kernel::{self, Result};
use crate::peers::say;

/// Runs until its input ends, then stops as planned; prints each change.
pub(crate) fn run(address: &str, priority: &str, state_dir: &Path) -> Result<()> {
    std::fs::create_dir_all(state_dir)?;
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {}
        // The director has ended by itself.
        let _ = ended.send(());
    });
    let plan = plan(address, priority.parse()?)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let (ipvs, ipvs_seen) = IpvsHandle::spawn(state_dir).await?;
        ipvs.set_settings(HostSettings { synchronises: true, ..HostSettings::default() });
        ipvs.set_desired(Desired { generation: 1, table: table()?, ..Desired::default() });
        ipvs.converged(1).await?;
        let (vrrp, mut vrrp_seen) = VrrpHandle::spawn(state_dir)?;
        let (sync, mut sync_seen) = SyncHandle::spawn(
            state_dir,
            Clock::start(),
            vrrp.clone(),
            vrrp_seen.clone(),
            ipvs_seen.clone(),
        )?;
        let plans = BTreeMap::from([(plan.name.clone(), plan)]);
        sync.apply(&plans);
        vrrp.apply(plans);
        let mut told = String::new();
        tokio::pin!(end);
        loop {
            tokio::select! {
                _ = &mut end => break,
                changed = vrrp_seen.changed() => changed?,
                changed = sync_seen.changed() => changed?,
            }
            let line = words(&vrrp_seen.borrow(), &sync_seen.borrow());
            if line != told {
                say(&line)?;
                told = line;
            }
        }
        vrrp.stop().await;
        drop((sync, ipvs));
        Ok(())
    })
}

fn words(vrrp: &VrrpSnapshot, sync: &SyncSnapshot) -> String {
    let role = vrrp.instances.values().next().map(|status| format!("{:?}", status.role));
    let relays = vrrp.relays.len();
    let Some(status) = sync.instances.values().next() else {
        return format!("role {} relays {relays}", role.unwrap_or_default());
    };
    let missing = status.missing.map_or(-1, |(missing, _)| i64::from(missing));
    format!(
        "role {} relays {relays} hold {:?} missing {missing} sent {} received {} {:?}",
        role.unwrap_or_default(),
        status.hold,
        status.connections_sent,
        status.connections_received,
        sync.problems
    )
}

fn table() -> Result<Table> {
    let key = DestinationKey { address: "10.0.0.11".parse()?, port: 80 };
    let settings = DestinationSettings::new(1, Forwarding::Route);
    let server = VirtualServer {
        settings: VirtualServerSettings::new(Scheduler::Rr, AddressFamily::V4),
        destinations: [(key, Destination { settings, connections: None })].into(),
        foreign: false,
    };
    Ok([(VirtualServerKey::tcp("10.0.0.100".parse()?, 80), server)].into_iter().collect())
}

fn plan(address: &str, priority: u64) -> Result<VrrpInstancePlan> {
    let vips = vec![Cidr::new("10.0.0.100".parse()?, 32)?];
    let connection_sync = Some(ConnectionSync::default());
    let options = VrrpOptions { connection_sync, ..VrrpOptions::default() };
    kernel::plan("web", address, vips, priority, options)
}
