//! How the kernel's table is gone through again and again, because IPVS tells nobody of changes.
//!
//! A round looks at every entry once, in looks of bounded length with pauses between them. Two promises are kept by
//! arithmetic: reading takes at most one part in [`SHARE`] of a processor, and where that leaves room a round takes at most
//! [`ROUND`]. A larger table, or a slower host, has longer rounds; how long they take is told.

use std::time::Duration;

/// Reading takes at most one part in so many of a processor: 2 %.
pub const SHARE: u32 = 50;
/// Longest round, as long as [`SHARE`] leaves room for it.
pub const ROUND: Duration = Duration::from_secs(10);
/// Shortest time from the beginning of one look to that of the next.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Looks of a round. One fewer than fit, for the last one takes its time, too, and a table may grow.
const LOOKS: usize = 8;
/// Fewest entries of a look: a small table is looked at whole each time.
const FEWEST: usize = 512;

/// Entries that the next look at a table of so many takes in.
pub fn slice(entries: usize) -> usize {
    entries.div_ceil(LOOKS).max(FEWEST)
}

/// The pause after a look that took so much of a processor.
pub fn pause(took: Duration) -> Duration {
    // Of SHARE parts the look is one.
    let rest = took.saturating_mul(SHARE - 1);
    rest.max(INTERVAL.saturating_sub(took))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time and work of a round through so many entries that take so long each.
    fn round(entries: usize, each: Duration) -> (Duration, Duration) {
        let (mut left, mut time, mut work) = (entries, Duration::ZERO, Duration::ZERO);
        while left > 0 {
            let looked_at = slice(entries).min(left);
            let took = each * u32::try_from(looked_at).expect("few");
            left -= looked_at;
            time += took + pause(took);
            work += took;
        }
        (time, work)
    }

    #[test]
    fn ten_thousand_entries_are_gone_through_in_ten_seconds() {
        // 16 us for each entry are 160 ms of work, of 8 s at least.
        for entries in [1, 511, 513, 4_095, 4_097, 9_999, 10_000] {
            for micros in [1, 5, 16] {
                let (time, _) = round(entries, Duration::from_micros(micros));
                assert!(time <= ROUND, "{entries} x {micros} us: {time:?}");
            }
        }
    }

    #[test]
    fn reading_takes_its_share_at_most() {
        for entries in [1, 1_000, 10_000, 110_000, 1_000_000] {
            for micros in [1, 16, 500] {
                let (time, work) = round(entries, Duration::from_micros(micros));
                assert!(work * SHARE <= time, "{entries} x {micros} us: {work:?} of {time:?}");
            }
        }
    }

    #[test]
    fn looks_begin_a_second_apart_where_they_are_short() {
        let ms = Duration::from_millis;
        for (took, expected) in [
            (ms(0), ms(1000)),
            (ms(10), ms(990)),
            (ms(20), ms(980)),
            (ms(21), ms(1029)),
            (ms(200), ms(9800)),
        ] {
            assert_eq!(pause(took), expected, "{took:?}");
        }
    }
}
