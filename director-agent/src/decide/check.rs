//! When a check tries, and what its tries make of a real server: keepalived's semantics.
//!
//! ```text
//!             try passes                      tries fail, `retries` spent
//!  pending ───────────────> passing ────────────────────────────────────> failing
//!     │                        ^                                             │ ^
//!     │                        └─────────── `rise` tries pass in a row ──────┘ │
//!     └──────────────────────── tries fail, `retries` spent ───────────────────┘
//! ```

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use fulcrum_model::fuse::{OwnProbe, Remark, Tries};
use fulcrum_model::{Check, ForwardingMethod, Port, ProbeKind, ThroughVip};

/// One check: what is tried where. Virtual servers that want the same share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckKey {
    /// The real server's address.
    pub rip: IpAddr,
    /// The port that is tried: its own, or the VIP's.
    pub port: Port,
    /// How; its own `port` is resolved into the one beside.
    pub check: Check,
    /// It goes to a VIP, and the kernel forwards it to the real server; none where it goes to the RIP.
    pub via: Option<Via>,
}

/// The way of a check through a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Via {
    /// The VIP.
    pub vip: IpAddr,
    /// Firewall mark by which the kernel knows the real server.
    pub mark: NonZeroU32,
    /// The real server's own port.
    pub port: Port,
    /// How the kernel forwards.
    pub forwarding: ForwardingMethod,
}

impl CheckKey {
    /// The check of the real server at `rip` and `port`.
    pub fn new(rip: IpAddr, port: Port, check: &Check) -> Self {
        let tried = check.port.unwrap_or(port);
        let check = Check { port: None, through_vip: None, ..check.clone() };
        Self { rip, port: tried, check, via: None }
    }

    /// The check of a real server through a VIP, which takes `port`.
    pub fn through_vip(
        real_server: SocketAddr,
        port: Port,
        via: Via,
        check: &Check,
        through: ThroughVip,
    ) -> Self {
        let probe = if through.connect_only { ProbeKind::Tcp(None) } else { check.probe.clone() };
        let check = Check {
            probe,
            retries: through.retries,
            port: None,
            // A packet has one mark.
            fwmark: None,
            through_vip: None,
            ..check.clone()
        };
        Self { rip: real_server.ip(), port, check, via: Some(via) }
    }
}

impl CheckKey {
    /// The same try without the way through the VIP; none of a check that has none.
    pub fn at_rip(&self) -> Option<Self> {
        let port = self.via?.port;
        Some(Self { port, via: None, ..self.clone() })
    }
}

/// What a check has to tell.
#[derive(Clone, Debug)]
pub struct CheckNews {
    /// The check.
    pub key: CheckKey,
    /// What it makes of its real server now.
    pub probe: OwnProbe,
    /// How its tries were answered.
    pub tries: Tries,
}

/// A try that has ended.
#[derive(Clone, Debug)]
pub struct Tried {
    /// When it started.
    pub started: Duration,
    /// When it ended.
    pub ended: Duration,
    /// What is to be told where it passed, and what was seen when it failed, in words for people.
    pub outcome: Result<Option<Remark>, String>,
    /// The real server answered, be it with a refusal: the way there is open.
    pub is_answered: bool,
}

/// What a check knows between two tries.
#[derive(Clone, Debug)]
pub struct CheckState {
    probe: OwnProbe,
    tries: Tries,
    /// Failed tries that were tolerated so far.
    failed: u32,
    /// Tries that passed in a row while failing.
    passed: u32,
    /// Part of the first interval that is waited, so that checks that started together drift apart.
    first_share: Option<f64>,
}

impl CheckState {
    /// A check before its first try, which is due at once. `share`, from 0 to 1, is a random number of its own: the
    /// part of an interval after which its second try is due.
    pub fn new(share: f64) -> Self {
        let first_share = Some(share.clamp(0.0, 1.0));
        let (probe, tries) = (OwnProbe::Pending, Tries::default());
        Self { probe, tries, failed: 0, passed: 0, first_share }
    }

    /// What its tries have made of the real server.
    pub fn probe(&self) -> &OwnProbe {
        &self.probe
    }

    /// How its tries were answered.
    pub fn tries(&self) -> Tries {
        self.tries
    }

    /// Takes a try that has ended and returns when the next one starts, never before the end of this one.
    pub fn step(&mut self, check: &Check, tried: Tried) -> Duration {
        let share = self.first_share.take().unwrap_or(1.0);
        let regular = tried.started.saturating_add(check.interval.mul_f64(share));
        let repetition = tried.ended.saturating_add(check.retry_delay);
        if tried.is_answered {
            self.tries.answered(tried.ended);
        } else {
            self.tries.unanswered(tried.started, tried.ended);
        }
        let next = match (&self.probe, tried.outcome) {
            (OwnProbe::Failing(_), Ok(remark)) => {
                self.passed += 1;
                if self.passed >= check.rise {
                    self.enter(passing(remark));
                }
                regular
            }
            (_, Ok(remark)) => {
                self.enter(passing(remark));
                regular
            }
            (OwnProbe::Pending | OwnProbe::Passing | OwnProbe::Remarked(_), Err(_))
                if self.failed < check.retries =>
            {
                self.failed += 1;
                repetition
            }
            (OwnProbe::Failing(_), Err(seen)) => {
                self.enter(OwnProbe::Failing(seen));
                regular
            }
            (OwnProbe::Pending | OwnProbe::Passing | OwnProbe::Remarked(_), Err(seen)) => {
                self.tries.fell(tried.ended);
                self.enter(OwnProbe::Failing(seen));
                regular
            }
        };
        next.max(tried.ended)
    }

    fn enter(&mut self, probe: OwnProbe) {
        self.probe = probe;
        self.failed = 0;
        self.passed = 0;
    }
}

/// Coarsest grid of [`gathered`], in milliseconds: with a thousand checks a second some eight tries meet on each of its lines.
const COARSEST_GRID_MS: u32 = 8;
/// A try is moved by no more than one part in so many of its wait.
const GRID_SHARE: u32 = 100;

/// When a try that is due is made: a little early, together with others. A try costs little more than the wake-up of the program for it, so
/// tries meet on the lines of grids, of which each coarser one is part of the finer. Those of shorter intervals have finer ones.
pub fn gathered(now: Duration, due: Duration) -> Duration {
    let most = due.saturating_sub(now).as_millis() / u128::from(GRID_SHARE);
    let most = u32::try_from(most).unwrap_or(COARSEST_GRID_MS).min(COARSEST_GRID_MS);
    let Some(grid_ms) = most.checked_ilog2().map(|power| 1_u64 << power) else { return due };
    let grid = Duration::from_millis(grid_ms).as_nanos();
    let beyond = u64::try_from(due.as_nanos() % grid).unwrap_or_default();
    due.saturating_sub(Duration::from_nanos(beyond))
}

fn passing(remark: Option<Remark>) -> OwnProbe {
    remark.map_or(OwnProbe::Passing, OwnProbe::Remarked)
}

#[cfg(test)]
mod tests {
    use fulcrum_model::fuse::{EndedSilence, Silence};

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// The seed's check: a try each 6 s, 3 retries 8 s apart, tries that take `took` ms.
    fn run(retries: u32, rise: u32, tries: &[(bool, u64)]) -> Vec<(&'static str, u64)> {
        let check =
            Check { interval: MS(6000), retries, retry_delay: MS(8000), rise, ..Check::default() };
        let mut state = CheckState::new(1.0);
        let mut start = Duration::ZERO;
        tries
            .iter()
            .map(|(passes, took)| {
                let outcome = if *passes { Ok(None) } else { Err("refused".to_owned()) };
                let ended = start + MS(*took);
                let tried = Tried { started: start, ended, outcome, is_answered: true };
                let next = state.step(&check, tried);
                let gap = u64::try_from(next.saturating_sub(start).as_millis()).expect("small");
                start = next;
                let name = match state.probe() {
                    OwnProbe::Pending => "pending",
                    OwnProbe::Passing | OwnProbe::Remarked(_) => "passing",
                    OwnProbe::Failing(_) => "failing",
                };
                (name, gap)
            })
            .collect()
    }

    /// Name, retries, rise, tries, expected states and gaps.
    type Case<'a> = (&'a str, u32, u32, &'a [(bool, u64)], &'a [(&'a str, u64)]);

    #[test]
    fn every_transition() {
        const OK: (bool, u64) = (true, 10);
        const NO: (bool, u64) = (false, 10);
        let cases: &[Case<'_>] = &[
            ("passes at once", 3, 1, &[OK, OK], &[("passing", 6000), ("passing", 6000)]),
            ("no retries", 0, 1, &[OK, NO], &[("passing", 6000), ("failing", 6000)]),
            (
                "each retry is tolerated",
                3,
                1,
                &[OK, NO, NO, NO, NO],
                &[
                    ("passing", 6000),
                    ("passing", 8010),
                    ("passing", 8010),
                    ("passing", 8010),
                    ("failing", 6000),
                ],
            ),
            (
                "a pass forgives",
                1,
                1,
                &[OK, NO, OK, NO, OK],
                &[
                    ("passing", 6000),
                    ("passing", 8010),
                    ("passing", 6000),
                    ("passing", 8010),
                    ("passing", 6000),
                ],
            ),
            ("pending retries too", 1, 1, &[NO, NO], &[("pending", 8010), ("failing", 6000)]),
            ("pending passes on a retry", 1, 1, &[NO, OK], &[("pending", 8010), ("passing", 6000)]),
            (
                "failing stays failing without retries",
                1,
                1,
                &[NO, NO, NO, OK],
                &[("pending", 8010), ("failing", 6000), ("failing", 6000), ("passing", 6000)],
            ),
            (
                "rises by tries in a row",
                0,
                2,
                &[NO, OK, NO, OK, OK],
                &[
                    ("failing", 6000),
                    ("failing", 6000),
                    ("failing", 6000),
                    ("failing", 6000),
                    ("passing", 6000),
                ],
            ),
            (
                "a slow try delays the next",
                0,
                1,
                &[(false, 10_000), OK],
                &[("failing", 10_000), ("passing", 6000)],
            ),
        ];
        for (what, retries, rise, tries, expected) in cases {
            assert_eq!(run(*retries, *rise, tries), *expected, "{what}");
        }
    }

    #[test]
    fn the_second_try_is_spread() {
        for (share, gap) in [(0.0, 0), (0.25, 250), (1.0, 1000), (7.0, 1000)] {
            let mut state = CheckState::new(share);
            let try_at =
                |ms| Tried { started: MS(ms), ended: MS(ms), outcome: Ok(None), is_answered: true };
            assert_eq!(state.step(&Check::default(), try_at(0)), MS(gap), "{share}");
            assert_eq!(state.step(&Check::default(), try_at(gap)), MS(gap + 1000), "{share}");
        }
    }

    #[test]
    fn silence_begins_falls_and_ends() {
        let check =
            Check { interval: MS(1000), retries: 1, retry_delay: MS(1000), ..Check::default() };
        let mut state = CheckState::new(1.0);
        let mut tried = |ms, is_answered, passes: bool| {
            let outcome = if passes { Ok(None) } else { Err("no answer".to_owned()) };
            let tried = Tried { started: MS(ms), ended: MS(ms + 100), outcome, is_answered };
            state.step(&check, tried);
            state.tries()
        };
        assert_eq!(tried(0, true, true).heard, Some(MS(100)));
        let silence = |asked, fell| Some(Silence { since: MS(1100), asked: MS(asked), fell });
        assert_eq!(tried(1000, false, false).silence, silence(1000, None), "tolerated");
        assert_eq!(tried(2000, false, false).silence, silence(2000, Some(MS(2100))));
        assert_eq!(tried(3000, false, false).silence, silence(3000, Some(MS(2100))));
        let refused = tried(4000, true, false);
        assert_eq!((refused.silence, refused.heard), (None, Some(MS(4100))), "the way is open");
        let ended = Some(EndedSilence { since: MS(1100), until: MS(4100) });
        assert_eq!(refused.ended, ended);
        assert_eq!(tried(5000, false, false).silence.and_then(|s| s.fell), None, "fell before");
    }

    #[test]
    fn tries_that_are_due_within_a_moment_meet() {
        let cases = [
            // now, due, made; microseconds.
            (0, 0, 0),
            (5_000, 5_001, 5_001),
            (0, 99_999, 99_999),
            (0, 100_999, 100_000),
            (0, 203_999, 202_000),
            (0, 1_000_999, 1_000_000),
            (0, 1_007_999, 1_000_000),
            (0, 1_008_000, 1_008_000),
            (3_000_123, 9_000_123, 9_000_000),
            (9, 8, 8),
        ];
        for (now, due, made) in cases {
            let [now, due, made] = [now, due, made].map(Duration::from_micros);
            assert_eq!(gathered(now, due), made, "due {due:?} at {now:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_try_is_late_nor_much_too_early(now in 0_u64..1 << 40, wait in 0_u64..1 << 40) {
            let (now, wait) = (Duration::from_micros(now), Duration::from_micros(wait));
            let made = gathered(now, now + wait);
            proptest::prop_assert!(made <= now + wait);
            let early = (now + wait).saturating_sub(made);
            proptest::prop_assert!(early <= wait / GRID_SHARE);
            proptest::prop_assert!(early < MS(u64::from(COARSEST_GRID_MS)));
        }
    }

    #[test]
    fn virtual_servers_share_a_check() {
        let rip = "192.168.1.138".parse().expect("an address");
        let port = |n| Port::new(n).expect("a port");
        let other = Check { port: Some(port(8080)), ..Check::default() };
        let by_default = CheckKey::new(rip, port(8080), &Check::default());
        assert_eq!(by_default, CheckKey::new(rip, port(80), &other));
        assert_ne!(by_default, CheckKey::new(rip, port(80), &Check::default()));
    }
}
