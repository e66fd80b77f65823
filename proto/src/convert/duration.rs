//! Durations on the wire and as people write them.

use std::time::Duration;

/// Units of [`duration_to_text`] and [`duration_from_text`], the largest first, in nanoseconds.
const UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// As manifests write it: a whole number of the largest of s, ms, us and ns that loses nothing, such as `6s`, `100ms`.
pub fn duration_to_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    UNITS
        .iter()
        .skip_while(|(unit, _)| *unit != "s")
        .find(|(_, size)| nanos.is_multiple_of(*size))
        .map_or_else(|| format!("{nanos}ns"), |(unit, size)| format!("{}{unit}", nanos / size))
}

/// Reads a number, with decimals if need be, and a unit of h, m, s, ms, us or ns; `None` for anything else.
///
/// ```
/// use std::time::Duration;
/// use fulcrum_proto::convert::duration_from_text;
/// assert_eq!(duration_from_text("1.5s"), Some(Duration::from_millis(1500)));
/// assert_eq!(duration_from_text("6"), None);
/// ```
pub fn duration_from_text(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let whole: u128 = digits(whole)?;
    let numerator: u128 = digits(fraction)?;
    let denominator = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = numerator.checked_mul(*size)?;
    if !part.is_multiple_of(denominator) {
        return None;
    }
    let nanos = whole.checked_mul(*size)?.checked_add(part / denominator)?;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    // protobuf's Duration ends at 10,000 years.
    if seconds > MAX_SECONDS {
        return None;
    }
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}

/// Most seconds of a `google.protobuf.Duration`.
const MAX_SECONDS: u64 = 315_576_000_000;

/// As a protobuf message. Longer than its 10,000 years becomes that.
pub fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    let seconds = duration.as_secs().min(MAX_SECONDS);
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// `None` when negative or malformed.
pub(super) fn duration_from_wire(wire: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(wire.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(wire.seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_durations() {
        let cases: [(&str, Option<(u64, &str)>); 14] = [
            ("6s", Some((6_000_000_000, "6s"))),
            ("100ms", Some((100_000_000, "100ms"))),
            ("1.5s", Some((1_500_000_000, "1500ms"))),
            ("2m", Some((120_000_000_000, "120s"))),
            ("1h", Some((3_600_000_000_000, "3600s"))),
            ("0s", Some((0, "0s"))),
            ("250us", Some((250_000, "250us"))),
            ("7ns", Some((7, "7ns"))),
            ("6", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            ("1.0000000001s", None),
            ("99999999999999999999999999999999999999999h", None),
        ];
        for (text, expected) in cases {
            let read = duration_from_text(text);
            let expected_duration = expected.map(|(nanos, _)| Duration::from_nanos(nanos));
            assert_eq!(read, expected_duration, "{text}");
            assert_eq!(
                read.map(duration_to_text).as_deref(),
                expected.map(|(_, text)| text),
                "{text}"
            );
        }
    }
}
