//! Times for people.

use std::time::{Duration, SystemTime};

/// How long ago, in its two largest units: `3m12s`, `2d4h`; `0s` for the future, since clocks differ a little.
pub(crate) fn ago(then: prost_types::Timestamp, now: SystemTime) -> String {
    let then = SystemTime::try_from(then).unwrap_or(now);
    span(now.duration_since(then).unwrap_or_default())
}

pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds}s"),
        (0, _, _) => format!("{hours}h{minutes}m"),
        (_, _, _) => format!("{days}d{hours}h"),
    }
}

/// The time of day in UTC, `02:58:11Z`.
pub(crate) fn clock(time: SystemTime) -> String {
    let text = prost_types::Timestamp::from(time).to_string();
    let time = text.split_once('T').map_or(text.as_str(), |(_, time)| time);
    format!("{}Z", time.trim_end_matches('Z').split('.').next().unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (192, "3m12s"),
            (3600, "1h0m"),
            (7384, "2h3m"),
            (187_200, "2d4h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_clock_is_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(10_691_500);
        assert_eq!(clock(time), "02:58:11Z");
    }
}
