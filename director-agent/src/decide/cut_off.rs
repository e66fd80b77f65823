//! Whether this director is cut off from the real servers, for VRRP instances that track it.
//!
//! Real servers that stop answering all at once are seldom dead all at once (`fulcrum_model::fuse::silence` holds their
//! weights for that). Another director may still reach them, so an instance may say that its Active hands the VIP over then:
//!
//! ```text
//!             as many as stated fell silent together, none of them long before
//!  open ────────────────────────────────────────────────────────────────────────▶ cut off
//!    ▲                                                                               │
//!    └───────────── so many answered, in whatever way, for BACK without a break ─────┘
//! ```
//! An answer of any kind counts as one, be it a refusal: real servers whose programs died cut nobody off. It only ever lowers a
//! priority, so where every director is cut off, or the real servers are gone with their hosts, all are lowered alike and the VIP
//! stays where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::fuse::{LEAST_WINDOW, Tries};
use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::vrrp::TrackTarget;
use fulcrum_model::{Cidr, Name, ProbeKind};
use fulcrum_vrrp::track::{Health, Probe, TargetState};

use super::check::CheckKey;
use super::weights::Decider;

/// A director that hears real servers again is taken to reach them after so long: one whose link flaps does not take the VIP at
/// each turn.
const BACK: Duration = Duration::from_secs(5);

/// The instances that want to know, and what is known for each.
#[derive(Debug, Default)]
pub struct CutOff {
    instances: BTreeMap<Name, Watched>,
    /// The decider's count of turns at which [`Watched::way`] was found.
    found_at: Option<u64>,
}

#[derive(Debug)]
struct Watched {
    /// VIPs of the instance.
    vips: BTreeSet<IpAddr>,
    /// Share of the real servers that must have fallen silent, in percent.
    silent_percent: u8,
    way: Way,
    /// The state that is told.
    state: TargetState,
    /// It was cut off, and hears real servers again: it counts as open then.
    open_from: Option<Duration>,
}

/// What the tries say of the way to the real servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// There is nobody who could be silent, or nobody was tried yet.
    #[default]
    Untried,
    /// Enough of them answer.
    Open,
    /// So many fell silent within this time, of those that say anything.
    Cut { silent: usize, of: usize, within: Duration },
}

impl CutOff {
    /// A plan was put in force. An instance that stays keeps what is known.
    pub fn put_in_force(&mut self, instances: &BTreeMap<Name, VrrpInstancePlan>) {
        let mut before = std::mem::take(&mut self.instances);
        for (name, plan) in instances {
            let Some(track) = &plan.options.track_real_servers else { continue };
            let known = before.remove(name);
            let (state, open_from) =
                known.map(|known| (known.state, known.open_from)).unwrap_or_default();
            let watched = Watched {
                vips: plan.vips.iter().map(Cidr::address).collect(),
                silent_percent: track.silent_percent,
                way: Way::Untried,
                state,
                open_from,
            };
            self.instances.insert(name.clone(), watched);
        }
        self.found_at = None;
    }

    /// When [`Self::states`] will change by itself.
    pub fn deadline(&self) -> Option<Duration> {
        self.instances.values().filter_map(|watched| watched.open_from).min()
    }

    /// What it comes to for each instance that tracks it.
    pub fn states(&mut self, now: Duration, decider: &Decider) -> BTreeMap<Probe, TargetState> {
        let turns = decider.turns();
        if self.found_at != Some(turns) {
            self.found_at = Some(turns);
            for watched in self.instances.values_mut() {
                watched.way = watched.look(decider);
            }
        }
        let states = self.instances.iter_mut().map(|(name, watched)| {
            watched.step(now);
            let target = TrackTarget::RealServers(watched.silent_percent);
            (Probe::own(target, name.clone()), watched.state.clone())
        });
        states.collect()
    }
}

impl Watched {
    /// What the checks of the instance's virtual servers say together, each check once.
    fn look(&self, decider: &Decider) -> Way {
        let servers = decider.servers().values();
        let is_ours = |vip: &IpAddr| self.vips.contains(vip);
        let checks: BTreeSet<&CheckKey> = servers
            .filter(|server| server.vips.iter().any(is_ours))
            .flat_map(|server| decider.checks(&server.name))
            .map(AsRef::as_ref)
            .filter(|key| can_be_silent(&key.check.probe))
            .collect();
        let tries = checks.into_iter();
        let tries = tries.filter_map(|key| {
            let tries = decider.tries(key)?;
            Some(Tried { rip: key.rip, interval: key.check.interval, tries })
        });
        judge(tries, self.silent_percent, self.state.health == Health::Unwell)
    }

    fn step(&mut self, now: Duration) {
        match (self.state.health, self.way) {
            // What was known of real servers that are not tried any more says nothing of those that come.
            (Health::Untried | Health::Well | Health::Unwell, Way::Untried) => {
                self.enter(Health::Untried, String::new());
            }
            (Health::Untried | Health::Well | Health::Unwell, Way::Cut { silent, of, within }) => {
                let seen = format!(
                    "{silent} of {of} real servers fell silent within {:.1} s: this director is cut off from them",
                    within.as_secs_f64()
                );
                self.enter(Health::Unwell, seen);
            }
            (Health::Untried | Health::Well, Way::Open) => self.open(),
            (Health::Unwell, Way::Open) => {
                let from = *self.open_from.get_or_insert(now + BACK);
                if now >= from {
                    self.open();
                }
            }
        }
    }

    fn open(&mut self) {
        self.enter(Health::Well, "real servers answer this director".to_owned());
    }

    fn enter(&mut self, health: Health, seen: String) {
        self.state = TargetState { health, seen };
        self.open_from = None;
    }
}

/// A check that is answered on the director itself, or that silence passes, says nothing of the way.
fn can_be_silent(probe: &ProbeKind) -> bool {
    match probe {
        ProbeKind::Udp(udp) => udp.min_reply.is_some(),
        ProbeKind::Command(_) | ProbeKind::File(_) => false,
        ProbeKind::Tcp(_)
        | ProbeKind::Http(_)
        | ProbeKind::Grpc(_)
        | ProbeKind::Icmp
        | ProbeKind::Dns(_)
        | ProbeKind::Smtp(_)
        | ProbeKind::Redis(_)
        | ProbeKind::Mysql => true,
    }
}

/// A check, and how it was answered of late.
struct Tried {
    rip: IpAddr,
    interval: Duration,
    tries: Tries,
}

/// `was_cut` tells that the director was cut off until now.
fn judge(checks: impl Iterator<Item = Tried>, silent_percent: u8, was_cut: bool) -> Way {
    let (mut silent, mut answering, mut longest) = (Vec::new(), 0_usize, Duration::ZERO);
    for Tried { rip, interval, tries } in checks {
        match (tries.silence, tries.heard) {
            (Some(silence), _) if silence.fell.is_some() => {
                silent.push((silence.since, rip));
                longest = longest.max(interval);
            }
            // Its retries are not spent: one lost packet is no silence.
            (Some(_) | None, Some(_)) => answering += 1,
            // It was never heard, or not tried yet: it says nothing.
            (Some(_) | None, None) => {}
        }
    }
    let Some((newest, _)) = silent.iter().max().copied() else {
        return if answering == 0 { Way::Untried } else { Way::Open };
    };
    if !was_cut {
        // Whoever has been silent for long was so without the others. Not of one that is cut off: a real server that the plan
        // adds meanwhile begins its silence late.
        let window = LEAST_WINDOW.max(longest * 2);
        silent.retain(|(since, _)| newest.saturating_sub(*since) <= window);
    }
    let of = silent.len() + answering;
    // One host alone is dead rather than out of reach, whatever ports it has.
    let hosts: BTreeSet<IpAddr> = silent.iter().map(|(_, rip)| *rip).collect();
    let is_several = was_cut || hosts.len() > 1;
    let is_cut = is_several && silent.len() * 100 >= of * usize::from(silent_percent);
    if is_cut {
        let first = silent.iter().min().map_or(newest, |(since, _)| *since);
        return Way::Cut { silent: silent.len(), of, within: newest.saturating_sub(first) };
    }
    Way::Open
}

#[cfg(test)]
mod tests;
