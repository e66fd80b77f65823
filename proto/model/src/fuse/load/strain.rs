//! What slows a real server beside its threads: the pauses of its garbage collector, and requests that take longer than elsewhere.
//!
//! Both only lower a share further, by half together at most: threads are told exactly, while a pause may have been the last for an
//! hour, and requests take long for reasons of their own.

use super::{MILLION, Told};

/// Requests that take so many times what is usual in the pool are slow; from there on the share falls as their time grows.
const SLOW: u32 = 2;
/// Below this no difference counts: a single slow page makes more.
const LEAST_USUAL_US: u32 = 5_000;
/// Both take no more than this of a share, in millionths.
const MOST: u32 = MILLION / 2;
/// Pauses are worth a word from here on, in thousandths of the time.
const WORTH_TELLING_PERMILLE: u32 = 50;

/// What is told of both, as it was at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Strain {
    /// Time in pauses, in thousandths.
    pub(super) gc_permille: u32,
    /// Mean time of requests; 0 where none is told.
    pub(super) request_us: u32,
    /// What is usual in the pool; 0 where nobody can tell.
    pub(super) usual_us: u32,
}

impl Strain {
    /// What it takes of a share, in millionths.
    pub(super) fn drag(self) -> u32 {
        let works = u64::from(1000 - self.gc_permille.min(1000));
        let quick = match self.bearable_us() {
            Some(bearable) => u64::from(MILLION) * u64::from(bearable) / u64::from(self.request_us),
            None => MILLION.into(),
        };
        let left = u32::try_from(works * quick / 1000).unwrap_or(MILLION);
        MILLION.saturating_sub(left).min(MOST)
    }

    /// The longest time that is not slow; none where its requests are not.
    fn bearable_us(self) -> Option<u32> {
        let bearable = self.usual_us.max(LEAST_USUAL_US).saturating_mul(SLOW);
        (self.usual_us > 0 && self.request_us > bearable).then_some(bearable)
    }

    /// In words, each with a comma before; nothing where neither counts.
    pub(super) fn words(self) -> String {
        let pauses = (self.gc_permille >= WORTH_TELLING_PERMILLE).then(|| {
            format!(", {} % of the time in garbage collection", self.gc_permille.min(1000) / 10)
        });
        let slow = self.bearable_us().map(|_| {
            let [own, usual] = [self.request_us, self.usual_us].map(|us| us.div_ceil(1000));
            format!(", requests take {own} ms where {usual} ms are usual")
        });
        [pauses, slow].into_iter().flatten().collect()
    }
}

/// Has all know what is usual among those that are in rotation: the median of three or more, the upper one of an even number. Of
/// two nobody can say which is usual: the faster one may fail fast, or have nothing to do.
pub(super) fn compare(all: &mut [Option<Told>], is_in_rotation: impl Fn(usize) -> bool) {
    let known = all.iter().enumerate().filter(|(place, _)| is_in_rotation(*place));
    let times = known.filter_map(|(_, told)| Some(told.as_ref()?.strain.request_us));
    let mut times: Vec<u32> = times.filter(|time| *time > 0).collect();
    times.sort_unstable();
    let usual_us = if times.len() < 3 { 0 } else { times[times.len() / 2] };
    for told in all.iter_mut().flatten() {
        told.strain.usual_us = usual_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_take_a_part_of_the_share() {
        let cases = [
            // Thousandths in pauses, microseconds of requests and usual ones, millionths taken.
            (0, 0, 0, 0, ""),
            (20, 0, 0, 20_000, ""),
            (200, 0, 0, 200_000, ", 20 % of the time in garbage collection"),
            (900, 0, 0, 500_000, ", 90 % of the time in garbage collection"),
            (5000, 0, 0, 500_000, ", 100 % of the time in garbage collection"),
            (0, 40_000, 20_000, 0, ""),
            (0, 50_000, 20_000, 200_000, ", requests take 50 ms where 20 ms are usual"),
            (0, 400_000, 20_000, 500_000, ", requests take 400 ms where 20 ms are usual"),
            (0, 10_000, 1_000, 0, ""),
            (0, 400_000, 0, 0, ""),
            (
                100,
                50_000,
                20_000,
                280_000,
                ", 10 % of the time in garbage collection, requests take 50 ms where 20 ms are usual",
            ),
            (0, u32::MAX, u32::MAX, 0, ""),
        ];
        for (gc_permille, request_us, usual_us, drag, words) in cases {
            let strain = Strain { gc_permille, request_us, usual_us };
            assert_eq!((strain.drag(), strain.words().as_str()), (drag, words), "{strain:?}");
        }
    }
}
