//! Firewall marks of checks through the VIP.
//!
//! A try that shall reach one real server by way of its virtual server's VIP bears a mark of its own, and an IPVS entry by that
//! mark, which holds this one real server, forwards it. The marks are a range that is ours by convention, so that nobody
//! else's entry is taken for ours, nor ours for a stranger's.

use std::num::NonZeroU32;

/// The first mark: "FU" in its upper half.
const FIRST: u32 = 0x4655_0000;

/// How many there are, which bounds the checks through VIPs of one director.
pub const MARKS: u32 = 0x1_0000;

/// The mark with this number, below [`MARKS`]; none beyond.
pub fn mark(number: u32) -> Option<NonZeroU32> {
    (number < MARKS).then(|| NonZeroU32::new(FIRST + number)).flatten()
}

/// Whether a mark is of the range.
pub fn is_mark(mark: NonZeroU32) -> bool {
    (FIRST..FIRST + MARKS).contains(&mark.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_has_its_edges() {
        let edges = [0, MARKS - 1].map(|number| mark(number).map(NonZeroU32::get));
        assert_eq!(edges, [Some(0x4655_0000), Some(0x4655_ffff)]);
        assert_eq!(mark(MARKS), None);
        let is_ours = |mark| NonZeroU32::new(mark).is_some_and(is_mark);
        let around = [0x4654_ffff, 0x4655_0000, 0x4655_ffff, 0x4656_0000];
        assert_eq!(around.map(is_ours), [false, true, true, false]);
    }
}
