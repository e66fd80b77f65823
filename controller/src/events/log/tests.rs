//! Bounds, repetitions, and what another replica makes of the same batches.

use proptest::prelude::*;

use super::*;

fn event(text: &str) -> Event {
    Event { text: text.to_owned(), ..Default::default() }
}

fn told(value: &str) -> ToldCondition {
    ToldCondition { value: value.to_owned(), ..Default::default() }
}

fn change(key: &str, value: &str) -> EventChange {
    EventChange { key: key.to_owned(), told: Some(told(value)), event: Some(event(value)) }
}

fn batch(changes: Vec<EventChange>) -> EventBatch {
    EventBatch { changes, ..Default::default() }
}

fn texts(log: &EventLog) -> Vec<&str> {
    log.kept_after(0).map(|event| event.text.as_str()).collect()
}

#[test]
fn what_is_told_already_is_not_told_again() {
    let mut log = EventLog::default();
    let steps = [
        (5, vec![change("a", "out"), change("b", "lost")]),
        // The leader did not hear that it was written, and wrote it again.
        (6, vec![change("a", "out")]),
        (7, vec![change("a", ""), change("a", "")]),
    ];
    for (index, changes) in steps {
        log.take(index, &batch(changes), &mut Vec::new());
    }
    assert_eq!(texts(&log), ["out", "lost", ""]);
    let sequences: Vec<u64> = log.kept_after(0).map(|event| event.sequence).collect();
    let first = first_of_entry(5);
    assert_eq!(sequences, [first, first + 1, first_of_entry(7)]);
    // Events without a key stand for themselves.
    let moment = EventChange { event: Some(event("held")), ..Default::default() };
    log.take(8, &batch(vec![moment.clone(), moment]), &mut Vec::new());
    assert_eq!(texts(&log).len(), 5);
}

#[test]
fn the_oldest_go_first_by_count_and_by_bytes() {
    let mut log = EventLog::default();
    let moments = |count: usize, text: &str| {
        let moment = EventChange { event: Some(event(text)), ..Default::default() };
        batch(vec![moment; count])
    };
    for index in 1..=11 {
        log.take(index, &moments(1000, "x"), &mut Vec::new());
    }
    assert_eq!(log.kept_after(0).count(), MOST_EVENTS);
    assert_eq!(log.dropped_to(), first_of_entry(1) + 999);
    let wanted = first_of_entry(1);
    let expected = EventsNotKept { wanted, oldest: log.dropped_to() };
    assert_eq!(log.after(wanted).err(), Some(expected));
    assert_eq!(log.after(log.dropped_to()).map(Iterator::count), Ok(MOST_EVENTS));
    for index in 12..=112 {
        log.take(index, &moments(100, &"x".repeat(1000)), &mut Vec::new());
    }
    let bytes: usize = log.kept_after(0).map(|event| event.encoded_len()).sum();
    assert!(bytes <= MOST_BYTES && bytes > MOST_BYTES / 2, "{bytes}");
}

#[test]
fn a_replica_that_lacks_the_beginning_says_so() {
    let mut log = EventLog::default();
    let late = EventBatch { after_sequence: 7000, ..batch(vec![change("a", "out")]) };
    log.take(9, &late, &mut Vec::new());
    assert_eq!(log.dropped_to(), 7000);
    assert!(log.after(6999).is_err());
    assert_eq!(texts(&log), ["out"]);
}

#[test]
fn channels_and_conditions_have_a_bound() {
    let mut log = EventLog::default();
    let status = |number: usize| NotificationStatus {
        policy: format!("p{number}"),
        channel: "smtp".to_owned(),
        ..Default::default()
    };
    let channels: Vec<_> = (0..=MOST_CHANNELS).map(status).collect();
    log.take(1, &EventBatch { channels, ..Default::default() }, &mut Vec::new());
    assert_eq!(log.channels().len(), MOST_CHANNELS);
    let forget_channels = vec!["p0/smtp".to_owned()];
    log.take(2, &EventBatch { forget_channels, ..Default::default() }, &mut Vec::new());
    assert!(!log.channels().contains_key("p0/smtp"));
    let changes = (0..=MOST_TOLD).map(|number| change(&number.to_string(), "out")).collect();
    log.take(3, &batch(changes), &mut Vec::new());
    assert_eq!(log.told().len(), MOST_TOLD);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One that is brought up to date by the keys that changed is what the newer one is.
    #[test]
    fn a_copy_follows_by_keys(
        batches in proptest::collection::vec((1_usize..400, 0_u8..6, 0_u8..3, any::<bool>()), 1..60),
    ) {
        let (mut log, mut copy) = (EventLog::default(), EventLog::default());
        let mut behind = Vec::new();
        for (index, (count, key, value, follows)) in (1..).zip(batches) {
            let mut changes = vec![change(&key.to_string(), &value.to_string())];
            let moment = EventChange { event: Some(event("held")), ..Default::default() };
            changes.extend(std::iter::repeat_n(moment, count));
            log.take(index, &batch(changes), &mut behind);
            if follows {
                for key in behind.drain(..) {
                    copy.follow(&log, &key);
                }
                copy.follow_dropped(&log);
                prop_assert_eq!(&copy, &log);
            }
        }
    }
}
