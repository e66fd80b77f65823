//! Events for people: a line for what happened, and one for why.

use std::fmt::Write as _;
use std::sync::LazyLock;

use fulcrum_proto::v1;

use crate::manifest::{descriptor, enum_word};

/// The kinds of events by their words.
pub(crate) static KINDS: LazyLock<Vec<(String, v1::EventKind)>> = LazyLock::new(|| {
    words("kind")
        .into_iter()
        .filter_map(|(word, number)| Some((word, v1::EventKind::try_from(number).ok()?)))
        .collect()
});

/// Severities by their words.
pub(crate) static SEVERITIES: LazyLock<Vec<(String, v1::EventSeverity)>> = LazyLock::new(|| {
    words("severity")
        .into_iter()
        .filter_map(|(word, number)| Some((word, v1::EventSeverity::try_from(number).ok()?)))
        .collect()
});

/// The words of the enumeration in a field of an event, but for the one that is not given.
fn words(field: &str) -> Vec<(String, i32)> {
    let field = descriptor("fulcrum.v1.Event").get_field_by_name(field);
    let field = field.expect("an event has it").kind();
    let values = field.as_enum().expect("it is an enumeration").values();
    values
        .filter(|value| value.number() != 0)
        .map(|value| (enum_word(&value), value.number()))
        .collect()
}

/// All of them, oldest first.
pub(crate) fn lines(events: &[v1::Event]) -> String {
    if events.is_empty() {
        return "nothing happened\n".to_owned();
    }
    events.iter().map(line).collect()
}

/// One of them: when, how much it matters, and what; below it why.
pub(crate) fn line(event: &v1::Event) -> String {
    let time = event.time.map(|time| time.to_string()).unwrap_or_default();
    // To the second: what happened within one is in order all the same.
    let time = time.split('.').next().unwrap_or_default().trim_end_matches('Z');
    let severity = match event.severity() {
        v1::EventSeverity::Unspecified | v1::EventSeverity::Info => "info   ",
        v1::EventSeverity::Warning => "warning",
        v1::EventSeverity::Error => "error  ",
    };
    let site = if event.site.is_empty() { String::new() } else { format!(" [{}]", event.site) };
    let untold = match event.untold {
        0 => String::new(),
        count => format!(" ({count} changes before it were not told)"),
    };
    let mut text = format!("{time}Z  {severity}  {}{site}{untold}\n", event.text);
    if !event.cause.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:23}because: {}", "", event.cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_and_why_it_happened_another() {
        let event = v1::Event {
            time: Some(prost_types::Timestamp { seconds: 10_691, nanos: 500_000_000 }),
            severity: v1::EventSeverity::Warning.into(),
            site: "main".to_owned(),
            text: "director d2 is Active in vi-1".to_owned(),
            cause: "director d1 is not heard any more".to_owned(),
            untold: 2,
            ..Default::default()
        };
        assert_eq!(
            lines(&[event]),
            "1970-01-01T02:58:11Z  warning  director d2 is Active in vi-1 [main] (2 changes before it were not told)\n\
             \x20                      because: director d1 is not heard any more\n"
        );
        assert_eq!(lines(&[]), "nothing happened\n");
    }

    #[test]
    fn every_kind_has_a_word() {
        assert!(KINDS.iter().any(|(word, kind)| word == "became_active" && *kind == v1::EventKind::BecameActive));
        assert_eq!(SEVERITIES.len(), 3);
    }
}
