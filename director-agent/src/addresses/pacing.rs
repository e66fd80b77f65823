//! When announcements go out: no two of an interface closer than the instance allows.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use fulcrum_vrrp::placement::Vip;

/// The announcements that wait, by interface. There are never more than VIPs: one that waits is not
/// asked for twice.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    lines: BTreeMap<String, Line>,
}

/// Those of one interface, first come, first served.
#[derive(Debug, Default)]
struct Line {
    last: Option<Instant>,
    waiting: VecDeque<(Vip, Duration)>,
}

impl Pacing {
    /// Asks for an announcement that keeps the gap to the one before it. One that waits keeps its
    /// place.
    pub(super) fn ask(&mut self, vip: Vip, gap: Duration) {
        let line = self.lines.entry(vip.interface.clone()).or_default();
        match line.waiting.iter_mut().find(|(waiting, _)| *waiting == vip) {
            Some(waiting) => waiting.1 = gap,
            None => line.waiting.push_back((vip, gap)),
        }
    }

    /// Drops those that are no longer to be made, and interfaces that nobody waits for.
    pub(super) fn retain(&mut self, now: Instant, is_wanted: impl Fn(&Vip) -> bool) {
        for line in self.lines.values_mut() {
            line.waiting.retain(|(vip, _)| is_wanted(vip));
        }
        // As long as any gap can be, the last one counts.
        self.lines.retain(|_, line| {
            let is_fresh = line.last.is_some_and(|last| now < last + LONGEST_GAP);
            is_fresh || !line.waiting.is_empty()
        });
    }

    /// Those that go out now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Vip> {
        self.lines.values_mut().flat_map(|line| line.take(now)).collect()
    }

    /// How long until the next may go out; none when none waits.
    pub(super) fn next_in(&self, now: Instant) -> Option<Duration> {
        let due = self.lines.values().filter_map(Line::due);
        due.min().map(|due| due.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
    }
}

/// The longest gap that the API takes.
const LONGEST_GAP: Duration = Duration::from_secs(1);

impl Line {
    /// When the first may go out: `Some(None)` is at once; none when none waits.
    #[expect(clippy::option_option, reason = "nothing waits, or it waits for nothing")]
    fn due(&self) -> Option<Option<Instant>> {
        let (_, gap) = self.waiting.front()?;
        let has_none_to_keep = self.waiting.iter().any(|(_, gap)| gap.is_zero());
        Some(self.last.map(|last| last + *gap).filter(|_| !has_none_to_keep))
    }

    fn take(&mut self, now: Instant) -> Vec<Vip> {
        // An instance without a gap does not wait for one that has it.
        let mut out = Vec::new();
        self.waiting.retain(|(vip, gap)| {
            let waits = !gap.is_zero();
            if !waits {
                out.push(vip.clone());
            }
            waits
        });
        if !out.is_empty() {
            self.last = Some(now);
        }
        if self.due().is_some_and(|due| due.is_none_or(|at| now >= at))
            && let Some((vip, _)) = self.waiting.pop_front()
        {
            out.push(vip);
            self.last = Some(now);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(name: &str) -> Vip {
        let (interface, last) = name.split_once('.').expect("interface and last byte");
        let last: u8 = last.parse().expect("a byte");
        Vip { interface: interface.to_owned(), address: [10, 0, 0, last].into(), prefix_length: 24 }
    }

    fn name(vip: &Vip) -> String {
        let address = vip.address.to_string();
        format!("{}.{}", vip.interface, address.rsplit('.').next().expect("a byte"))
    }

    /// Plays until nothing waits. `asked`: at which ms, gap in ms, which VIPs; `gone`: at which ms which
    /// VIP is moved away. Gives what goes out, and when.
    fn play(asked: &[(u64, u64, &[&str])], gone: &[(u64, &str)]) -> Vec<(u64, String)> {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pacing = Pacing::default();
        let mut out = Vec::new();
        for ms in 0..10_000 {
            for (_, gap, vips) in asked.iter().filter(|(at, _, _)| *at == ms) {
                for text in *vips {
                    pacing.ask(vip(text), Duration::from_millis(*gap));
                }
            }
            let is_gone = |vip: &Vip| gone.iter().any(|(at, text)| *at <= ms && name(vip) == *text);
            pacing.retain(at(ms), |vip| !is_gone(vip));
            let next = pacing.next_in(at(ms));
            let taken = pacing.take(at(ms));
            assert_eq!(next == Some(Duration::ZERO), !taken.is_empty(), "at {ms}: {next:?}");
            out.extend(taken.iter().map(|vip| (ms, name(vip))));
        }
        assert_eq!(pacing.next_in(at(10_000)), None);
        assert!(pacing.lines.is_empty(), "nothing is kept for good");
        out
    }

    fn check(asked: &[(u64, u64, &[&str])], gone: &[(u64, &str)], expected: &[(u64, &str)]) {
        let played = play(asked, gone);
        let played: Vec<(u64, &str)> = played.iter().map(|(at, name)| (*at, &**name)).collect();
        assert_eq!(played, expected, "{asked:?} {gone:?}");
    }

    #[test]
    fn without_a_gap_all_go_at_once() {
        check(&[(5, 0, &["a.1", "a.2", "b.1"])], &[], &[(5, "a.1"), (5, "a.2"), (5, "b.1")]);
    }

    #[test]
    fn an_interface_keeps_the_gap_and_others_do_not_wait_for_it() {
        check(
            &[(0, 100, &["a.1", "a.2", "a.3", "b.1"])],
            &[],
            &[(0, "a.1"), (0, "b.1"), (100, "a.2"), (200, "a.3")],
        );
    }

    #[test]
    fn a_later_one_keeps_the_gap_to_the_last() {
        check(&[(0, 1000, &["a.1"]), (400, 1000, &["a.2"])], &[], &[(0, "a.1"), (1000, "a.2")]);
        check(&[(0, 100, &["a.1"]), (400, 100, &["a.2"])], &[], &[(0, "a.1"), (400, "a.2")]);
    }

    #[test]
    fn who_waits_is_not_asked_for_twice() {
        check(
            &[(0, 100, &["a.1", "a.2", "a.3"]), (150, 100, &["a.1", "a.2", "a.3"])],
            &[],
            &[(0, "a.1"), (100, "a.2"), (200, "a.3"), (300, "a.1"), (400, "a.2")],
        );
    }

    #[test]
    fn an_instance_without_a_gap_passes_those_that_wait() {
        check(
            &[(0, 100, &["a.1", "a.2"]), (50, 0, &["a.9"])],
            &[],
            &[(0, "a.1"), (50, "a.9"), (150, "a.2")],
        );
    }

    #[test]
    fn a_gap_that_is_taken_away_holds_nobody() {
        check(&[(0, 1000, &["a.1", "a.2"]), (50, 0, &["a.2"])], &[], &[(0, "a.1"), (50, "a.2")]);
    }

    #[test]
    fn what_is_moved_away_is_not_announced_and_holds_nobody() {
        check(&[(0, 100, &["a.1", "a.2", "a.3"])], &[(99, "a.2")], &[(0, "a.1"), (100, "a.3")]);
    }
}
