//! Fulcrum's agent beside VRRP routers of other programs: each pair elects, fails over and returns, once with Fulcrum as
//! the higher router and once as the lower one. No IPVS takes part.

mod pairs;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

pub(crate) use self::pairs::Pairing;
use self::pairs::{PAIRS, Program};
use crate::cluster::{Cluster, manifest};
use crate::contest::millis;
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::link::Cable;
use crate::net::mac::Mac;
use crate::net::routers::{Heard, RouterEars};
use crate::net::topology::{self, DIRECTORS};
use crate::pair::{Paths, launch_director, signal_all};
use crate::peers::frr::Frr;
use crate::peers::keepalived;
use crate::peers::router::RouterSettings;
use crate::process::Process;
use crate::say;
use crate::settings::{PRIORITY, PRIORITY_BACKUP, vrrp_outage};

/// Place of Fulcrum's router among [`DIRECTORS`], and the other's.
const OURS: usize = 0;
const THEIRS: usize = 1;
/// How long programs may take to start and elect.
const ELECT: Duration = Duration::from_secs(40);
/// Adverts in a row of one router alone that make it the elected one.
const IN_A_ROW: usize = 3;
/// What a failover may take longer than the standard's time. How near to it each side comes is measured over many trials by
/// `vrrp-failover`; here it must happen at all, once, with all programs on one processor.
const LATE: Duration = Duration::from_secs(2);

/// The other program.
enum Peer {
    Keepalived(Process),
    Frr(Frr),
}

/// The segment with both routers' ports.
struct Wire {
    ears: RouterEars,
    cables: [Cable; 2],
}

/// Every pair, both ways.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    let (cluster, paths) = lab.controllers()?;
    let wire =
        Wire { ears: RouterEars::at(&DIRECTORS)?, cables: [Cable::of("d1")?, Cable::of("d2")?] };
    let mut failed = 0_u8;
    for pairing in PAIRS {
        for higher in [OURS, THEIRS] {
            if pairing.is_ipv6 {
                topology::enable_ipv6(&DIRECTORS)?;
            }
            let who = if higher == OURS { "fulcrum" } else { "peer" };
            say!("{}, {who} has the higher priority", pairing.name);
            match trial(cluster, paths, &wire, pairing, higher) {
                Ok(took) => {
                    let name = format!("failover_ms_{}_{who}_fails", pairing.name);
                    findings.figure(name, millis(took));
                    let most = millis(pairing.outage() + LATE);
                    findings.at_most(&format!("{}, {who} fails", pairing.name), millis(took), most);
                }
                Err(error) => {
                    failed += 1;
                    findings.require(false, format!("{}, {who} higher: {error:#}", pairing.name));
                }
            }
        }
        if pairing.is_ipv6 {
            topology::disable_ipv6(&DIRECTORS)?;
        }
    }
    findings.figure("pairs", crate::contest::count(PAIRS.len()));
    findings.figure("failed_elections", f64::from(failed));
    lab.take_down();
    Ok(())
}

/// Election, failover and return of one pair; answers with how long the failover took.
fn trial(
    cluster: &mut Cluster,
    paths: Paths<'_>,
    wire: &Wire,
    pairing: &Pairing,
    higher: usize,
) -> Result<Duration> {
    let mut priorities = [PRIORITY_BACKUP; 2];
    priorities[higher] = PRIORITY;
    cluster.apply_text(&manifest::router(pairing, priorities))?;
    let launch = launch_director(DIRECTORS[OURS], paths, &[])?;
    let agent = Process::start(paths.logs, launch)?;
    let peer = start_peer(pairing, priorities[THEIRS], paths)?;
    let result = measure(wire, pairing, higher);
    if result.is_err() {
        say!("the agent's last words:\n{}", agent.tail(12));
    }
    // Ends go on after a failure: the next pair must meet neither of them.
    wire.cables[higher].unblock()?;
    let stopped = peer.stop();
    agent.kill()?;
    for router in DIRECTORS {
        signal_all(router, Signal::SIGKILL)?;
        topology::forget_like_a_reboot(router)?;
    }
    let took = result?;
    stopped.map(|()| took)
}

fn start_peer(pairing: &Pairing, priority: u8, paths: Paths<'_>) -> Result<Peer> {
    let settings = RouterSettings {
        node: DIRECTORS[THEIRS],
        other: DIRECTORS[OURS],
        version: pairing.version,
        is_ipv6: pairing.is_ipv6,
        advert: pairing.advert,
        priority,
        password: pairing.password,
        is_unicast: pairing.is_unicast,
        has_virtual_mac: pairing.peer_has_virtual_mac,
    };
    match pairing.program {
        Program::Keepalived => {
            let launch = keepalived::launch_router(&settings, paths.dir)?;
            Process::start(paths.logs, launch).map(Peer::Keepalived)
        }
        Program::Frr => Frr::start(&settings, paths.dir, paths.logs).map(Peer::Frr),
    }
}

impl Peer {
    fn stop(self) -> Result<()> {
        match self {
            Self::Keepalived(mut process) => {
                // By SIGTERM, so that it takes its macvlan devices away.
                process.signal_first(Signal::SIGTERM)?;
                process.wait(ELECT).map(|_| ())
            }
            Self::Frr(frr) => frr.stop(),
        }
    }
}

fn measure(wire: &Wire, pairing: &Pairing, higher: usize) -> Result<Duration> {
    let lower = 1 - higher;
    let elected = wire.wait_elected(higher)?;
    pairing.require_form(&elected)?;
    wire.ears.forget()?;
    let last = wire.ears.next_claim(higher, ELECT)?;
    wire.cables[higher].block()?;
    let taken = wire.ears.next_claim(lower, ELECT)?;
    pairing.require_form(&taken)?;
    wire.cables[higher].unblock()?;
    wire.wait_elected(higher)?;
    let took = taken.at - last.at;
    say!("  elected; failover after {:.0} ms; returned", millis(took));
    Ok(took)
}

impl Wire {
    /// Waits until one router alone claims the address some times in a row; answers with its last advert.
    fn wait_elected(&self, router: usize) -> Result<Heard> {
        self.ears.forget()?;
        let begin = Instant::now();
        let mut in_a_row = 0;
        let mut last = "nobody";
        while let Some(left) = ELECT.checked_sub(begin.elapsed()) {
            let Some(heard) = self.ears.next(left)? else { break };
            if heard.advert.priority == 0 {
                continue;
            }
            last = DIRECTORS[heard.router].name;
            in_a_row = if heard.router == router { in_a_row + 1 } else { 0 };
            if in_a_row == IN_A_ROW {
                return Ok(heard);
            }
        }
        bail!("{} was not elected within {ELECT:?}; heard last: {last}", DIRECTORS[router].name)
    }
}

impl Pairing {
    /// The standard's time from the last advert heard to the Backup's first.
    fn outage(&self) -> Duration {
        vrrp_outage(self.version, self.advert, PRIORITY_BACKUP)
    }

    /// The advert has the version that was asked for, and the virtual MAC where one is used.
    fn require_form(&self, heard: &Heard) -> Result<()> {
        let advert = &heard.advert;
        let virtual_mac = Mac::of_virtual_router(self.is_ipv6);
        let has_virtual_mac = if heard.router == OURS {
            self.ours_has_virtual_mac
        } else {
            self.peer_has_virtual_mac
        };
        if advert.version != self.version || advert.source.is_ipv6() != self.is_ipv6 {
            bail!("{} sends version {} from {}", heard.router, advert.version, advert.source);
        }
        if (advert.mac == virtual_mac) != has_virtual_mac {
            bail!("{} sends from {}", DIRECTORS[heard.router].name, advert.mac);
        }
        Ok(())
    }
}
