//! The machine of the Active director is paused for a while, as a hypervisor pauses a guest, and resumed: who speaks and
//! who answers ARP then? The first director is a kernel of its own, on the wire to the others' bridge.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cluster::config;
use crate::contest::{count, millis};
use crate::findings::Findings;
use crate::lab::Lab;
use crate::net::adverts::{Advert, AdvertEar};
use crate::net::mac::Mac;
use crate::net::topology::{self, CLIENT, DIRECTORS, SWITCH, VIP, ip_batch};
use crate::pair::{PROGRAM, Pair, Paths, Side};
use crate::peers::keepalived;
use crate::process::wait_until;
use crate::say;
use crate::settings::{FAST, Settings};
use crate::twin::{Order, Twin};
use crate::watch::arp::ArpWitness;

/// Pauses of each side.
const PAUSES: usize = 3;
/// How long a pause lasts once the other director has taken over.
const PAUSE: Duration = Duration::from_secs(2);
/// How long is looked at after a pause.
const AFTER: Duration = Duration::from_secs(3);
/// Longest wait for a boot or an election.
const LONG: Duration = Duration::from_mins(1);
/// Where the second machine keeps its files, in memory.
const HOME: &str = "/run/twin";
/// The second machine's hardware address, as the host gives it.
const TWIN: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Longest time in which two hosts may answer ARP after a pause: four of the witness's questions.
const TWO_OWNERS_MS: f64 = 100.0;
/// Adverts that a resumed director may send before it has heard the other: its kernel may not have taken in yet what
/// came during the pause.
const SPOKE_FIRST: usize = 1;

/// What a side did over its pauses.
#[derive(Debug, Default)]
struct Seen {
    two_owners: Duration,
    spoke_first: usize,
}

pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    lab.raise_network()?;
    plug_twin()?;
    let mut twin = Twin::find()?;
    for side in [Side::Fulcrum, Side::Keepalived] {
        let seen = trial(lab, &mut twin, side)?;
        let name = side.as_str();
        findings.figure(format!("{name}_pauses"), count(PAUSES));
        findings.figure(format!("{name}_two_owners_ms"), millis(seen.two_owners));
        findings.figure(format!("{name}_spoke_before_listening"), count(seen.spoke_first));
        if side == Side::Fulcrum {
            let bound = TWO_OWNERS_MS * count(PAUSES);
            findings.at_most("ms with two owners", millis(seen.two_owners), bound);
            let bound = count(SPOKE_FIRST * PAUSES);
            findings.at_most("adverts before listening", count(seen.spoke_first), bound);
        }
    }
    Ok(())
}

/// Takes the first director's place on the bridge with the wire to the second machine.
fn plug_twin() -> Result<()> {
    let port = topology::port_of(DIRECTORS[0].name);
    ip_batch(None, &[format!("link set vec0 netns {SWITCH}")])
        .context("this machine has no wire to a second one")?;
    ip_batch(
        Some(SWITCH),
        &[format!("link set {port} down"), "link set vec0 master lan0 up".to_owned()],
    )
}

fn trial(lab: &mut Lab, twin: &mut Twin, side: Side) -> Result<Seen> {
    if side == Side::Fulcrum {
        lab.raise_cluster(&FAST)?;
    }
    let mut pair = Pair::new(side, FAST)?;
    let (dir, logs, bin_dir) = (lab.dir.clone(), lab.logs.clone(), lab.bin_dir.clone());
    pair.start(1, Paths { dir: &dir, logs: &logs, bin_dir: &bin_dir })?;
    twin.start(&script(side, &FAST, &bin_dir))?;
    let ear = AdvertEar::at(CLIENT.name)?;
    ear.next_of(DIRECTORS[0].address, LONG).context("the second machine's director")?;
    let witness = ArpWitness::start(CLIENT, VIP)?;
    let mut seen = Seen::default();
    for pause in 1..=PAUSES {
        witness.wait_sole(TWIN, Duration::from_secs(1), LONG)?;
        let from = Instant::now();
        twin.order(Order::Pause)?;
        ear.next_of(DIRECTORS[1].address, LONG)?;
        let took_over = from.elapsed();
        std::thread::sleep(PAUSE);
        twin.order(Order::Resume)?;
        let resumed = Instant::now();
        let heard = ear.until(resumed + AFTER)?;
        // What was asked before is answered late by the one that was paused, which tells nothing.
        let watched = witness.settled(resumed, resumed + AFTER)?;
        let (two_owners, spoke) = (watched.two_owners(), spoke_first(&heard, resumed));
        say!(
            "{} pause {pause}: taken over after {:.0} ms; after the resume {spoke} adverts before \
             listening, two owners for {:.0} ms",
            side.as_str(),
            millis(took_over),
            millis(two_owners)
        );
        seen.two_owners += two_owners;
        seen.spoke_first += spoke;
    }
    twin.order(Order::End)?;
    pair.take_down()?;
    wait_until("the VIP is gone", LONG, || {
        let watched =
            witness.settled(Instant::now(), Instant::now() + Duration::from_millis(200))?;
        Ok((watched.unowned() > Duration::from_millis(150)).then_some(()))
    })?;
    Ok(seen)
}

/// Adverts by which the resumed director still claims its role. One that has heard the other first is silent for longer:
/// it takes over again, being of higher priority, a whole `Active_Down_Interval` later at the earliest.
fn spoke_first(heard: &[Advert], resumed: Instant) -> usize {
    let silent = FAST.advert * 3;
    heard
        .iter()
        .filter(|advert| advert.source == DIRECTORS[0].address && advert.priority > 0)
        .filter(|advert| advert.heard.saturating_duration_since(resumed) < silent)
        .count()
}

/// The second machine's first program: a network, then the first director's program.
fn script(side: Side, settings: &Settings, bin_dir: &Path) -> String {
    let node = DIRECTORS[0];
    let home = Path::new(HOME);
    let (file, text, program, arguments) = match side {
        Side::Fulcrum => {
            let file = home.join("director.toml");
            let arguments = vec!["--config".to_owned(), file.to_string_lossy().into_owned()];
            let program = bin_dir.join(PROGRAM).to_string_lossy().into_owned();
            (file, config::agent(node, home, "director"), program, arguments)
        }
        Side::Keepalived => {
            let (file, arguments) = keepalived::arguments(home);
            (file, keepalived::config(node, settings), "keepalived".to_owned(), arguments)
        }
    };
    let mut script = format!(
        "#!/bin/sh\n\
         export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LANG=C.UTF-8\n\
         mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run\n\
         mkdir -p {HOME}/{} /run/modules/lib/modules\n\
         ln -s \"/usr/lib/uml/modules/$(uname -r)\" /run/modules/lib/modules/\n\
         for module in ip_vs ip_vs_rr; do modprobe -q -d /run/modules $module; done\n\
         ip link set lo up; ip link set vec0 name eth0\n\
         ip addr add {}/24 dev eth0; ip link set eth0 up\n",
        node.name, node.address
    );
    // Writing to a String cannot fail.
    let _ = write!(script, "cat > {} <<'END'\n{text}\nEND\n", file.display());
    let _ = writeln!(script, "exec '{program}' {} >/dev/null 2>&1", arguments.join(" "));
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_claims_the_role_at_once_is_too_early() {
        let resumed = Instant::now();
        let advert = |node: usize, ms: u64, priority| Advert {
            heard: resumed + Duration::from_millis(ms),
            source: DIRECTORS[node].address,
            priority,
        };
        let heard = [
            advert(0, 5, 100),
            advert(1, 6, 90),
            advert(0, 7, 0),
            advert(0, 299, 100),
            advert(0, 301, 100),
        ];
        assert_eq!(spoke_first(&heard, resumed), 2);
    }
}
