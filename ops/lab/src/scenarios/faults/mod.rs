//! What becomes of the VIP when a director's program, its host, its segment or its neighbours do what they should not:
//! each fault on Fulcrum and on keepalived, with the time in which two hosts answered ARP for the VIP.

mod does;
mod judge;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::client::Window;
use crate::findings::Findings;
use crate::lab::{Lab, Stage};
use crate::net::mac::Mac;
use crate::net::topology::{self, DIRECTORS, VIP, WITNESS};
use crate::pair::Side;
use crate::say;
use crate::settings::{FAST, SEED, Settings};
use crate::watch::arp::ArpWitness;
use crate::watch::owners::Watched;

/// How long one director must be the sole owner before something is done to it.
const STEADY: Duration = Duration::from_millis(500);
/// How long it may take until it is.
const SETTLE: Duration = Duration::from_secs(20);

/// A fault of the first director or around it.
struct Fault {
    /// For figures.
    name: &'static str,
    /// For people.
    summary: &'static str,
    settings: &'static Settings,
    /// Brings it about.
    begin: fn(&mut Scene<'_>) -> Result<()>,
    /// How long it is watched.
    lasts: Duration,
    /// Takes it back; a program that was killed stays dead.
    end: fn(&mut Scene<'_>) -> Result<()>,
    /// How long the return is watched.
    after: Duration,
    /// keepalived has nothing to compare.
    is_ours_alone: bool,
    /// What is told beside the time of two owners, and what must hold.
    judge: fn(&Fault, &Both, &mut Findings),
}

/// Where a fault happens.
struct Scene<'a> {
    stage: Stage<'a>,
    /// How long the problem took to stand in the status, where one must.
    told: Option<Duration>,
}

/// What both sides did with the same fault; keepalived where it has what the fault is about.
struct Both {
    ours: Outcome,
    theirs: Option<Outcome>,
}

/// What one side did.
struct Outcome {
    begun: Instant,
    /// From the fault's begin to the end of its return.
    whole: Watched,
    /// Until the fault was taken back.
    during: Watched,
    client: Window,
    /// The requests since the fault was taken back.
    client_after: Window,
    told: Option<Duration>,
    macs: [Mac; 2],
}

const fn fault(
    name: &'static str,
    summary: &'static str,
    begin: fn(&mut Scene<'_>) -> Result<()>,
    judge: fn(&Fault, &Both, &mut Findings),
) -> Fault {
    Fault {
        name,
        summary,
        settings: &FAST,
        begin,
        lasts: Duration::from_secs(7),
        end: |_| Ok(()),
        after: Duration::ZERO,
        is_ours_alone: false,
        judge,
    }
}

const FAULTS: &[Fault] = &[
    fault("kill_agent", "kill -9 of the program that runs VRRP", does::kill_agent, judge::left),
    fault(
        "kill_all",
        "kill -9 of every process of the director",
        does::kill_all,
        judge::left_sooner,
    ),
    Fault {
        end: does::resume,
        after: Duration::from_secs(3),
        ..fault(
            "stop_agent",
            "SIGSTOP of the program that runs VRRP",
            does::stop_agent,
            judge::left_sooner,
        )
    },
    Fault {
        end: does::resume,
        after: Duration::from_secs(3),
        ..fault(
            "stop_all",
            "SIGSTOP of every process of the director",
            does::stop_all,
            judge::left_sooner,
        )
    },
    Fault {
        lasts: Duration::from_secs(3),
        end: does::unblock,
        after: Duration::from_secs(3),
        ..fault(
            "partition",
            "the director's port passes nothing for 3 s",
            does::block,
            judge::healed,
        )
    },
    Fault {
        lasts: Duration::from_secs(4),
        ..fault("vip_removed", "another program removes the VIP", does::remove_vip, judge::back)
    },
    Fault {
        lasts: Duration::ZERO,
        end: does::restore_clock,
        after: Duration::from_secs(1),
        ..fault(
            "clock_step",
            "the wall clock steps by -2 h, then by +1 h",
            does::step_clock,
            judge::unmoved,
        )
    },
    Fault {
        lasts: Duration::from_secs(3),
        ..fault(
            "spoof_v3",
            "a third host sends v3 adverts of priority 255",
            does::spoof_v3,
            judge::told,
        )
    },
    Fault {
        settings: &SEED,
        lasts: Duration::from_secs(3),
        ..fault(
            "spoof_pass",
            "the same in v2, and it knows the password",
            does::spoof_pass,
            judge::told,
        )
    },
    Fault {
        settings: &SIGNED,
        lasts: Duration::from_secs(1),
        is_ours_alone: true,
        ..fault(
            "spoof_hmac",
            "the same in v3, and the directors sign their adverts",
            does::spoof_v3,
            judge::untouched,
        )
    },
    Fault {
        lasts: Duration::from_secs(1),
        end: does::disown,
        is_ours_alone: true,
        ..fault(
            "second_owner",
            "a third host takes the VIP too, and answers ARP for it",
            does::own_too,
            judge::noticed,
        )
    },
];

/// Adverts signed with a key; no others count.
const SIGNED: Settings = Settings {
    name: "100 ms adverts, signed",
    options: "  auth_hmac: {keys: [{id: 1, secret: \"a secret of the lab, 32 bytes or more\"}]}\n",
    ..FAST
};

/// Each fault on both sides.
pub(crate) fn run(lab: &mut Lab, findings: &mut Findings) -> Result<()> {
    for fault in FAULTS {
        if fault.name == "clock_step" && !does::owns_the_clock()? {
            say!("clock_step is left out: this kernel's clock is not the lab's own");
            continue;
        }
        let ours = trial(lab, Side::Fulcrum, fault)?;
        let theirs =
            if fault.is_ours_alone { None } else { Some(trial(lab, Side::Keepalived, fault)?) };
        let both = Both { ours, theirs };
        for (prefix, outcome) in both.sides() {
            let seconds = outcome.whole.two_owners().as_secs_f64();
            findings.figure(format!("{prefix}two_owners_s_{}", fault.name), seconds);
        }
        (fault.judge)(fault, &both, findings);
    }
    Ok(())
}

fn trial(lab: &mut Lab, side: Side, fault: &Fault) -> Result<Outcome> {
    say!("{}: {}, {}", fault.name, fault.summary, side.as_str());
    let stage = lab.stage(side, fault.settings)?;
    let macs = [topology::mac_of(DIRECTORS[0])?, topology::mac_of(DIRECTORS[1])?];
    let witness = ArpWitness::start(WITNESS, VIP)?;
    witness.wait_sole(macs[0], STEADY, SETTLE)?;
    let mut scene = Scene { stage, told: None };
    let begun = Instant::now();
    (fault.begin)(&mut scene)?;
    std::thread::sleep(fault.lasts);
    let undone = Instant::now();
    (fault.end)(&mut scene)?;
    std::thread::sleep(fault.after);
    let ended = Instant::now();
    let outcome = Outcome {
        begun,
        whole: witness.settled(begun, ended)?,
        during: witness.settled(begun, undone)?,
        client: scene.stage.client.settled(begun, ended),
        client_after: scene.stage.client.settled(undone, ended),
        told: scene.told,
        macs,
    };
    let Stage { client, pair, .. } = scene.stage;
    say!(
        "  two owners for {:.2} s, none for {:.2} s, {} changes; {} of {} requests failed: {}",
        outcome.whole.two_owners().as_secs_f64(),
        outcome.whole.unowned().as_secs_f64(),
        outcome.whole.changes(),
        outcome.client.failed(),
        outcome.client.count(),
        outcome.client.failures()
    );
    drop(witness);
    client.stop()?;
    // The next trial brings both directors up anew, whichever side it is.
    pair.take_down().context("cannot take the directors down")?;
    Ok(outcome)
}

impl Both {
    /// Each side with the prefix of its figures.
    fn sides(&self) -> impl Iterator<Item = (&'static str, &Outcome)> {
        [("", &self.ours)].into_iter().chain(self.theirs.iter().map(|it| ("keepalived_", it)))
    }
}

impl Outcome {
    /// Milliseconds from the fault until the first director answered for the last time while it lasted.
    fn withdrawn_ms(&self) -> f64 {
        let last = self.during.last_of(self.macs[0]).unwrap_or(self.begun);
        crate::contest::millis(last.saturating_duration_since(self.begun))
    }
}
