//! What people and programs read.

use std::sync::Arc;

use super::*;

fn sender() -> Sender {
    Sender {
        policy: "ops".to_owned(),
        channel: "smtp",
        controller: "c1".to_owned(),
        cluster_id: "abc".to_owned(),
    }
}

fn message() -> Message {
    let event = |sequence: u64, severity: v1::EventSeverity, text: &str| v1::Event {
        sequence,
        severity: severity.into(),
        text: text.to_owned(),
        time: Some(prost_types::Timestamp { seconds: 10_691, nanos: 0 }),
        ..Default::default()
    };
    let mut first = event(1024, v1::EventSeverity::Warning, "real server web1 is out of web");
    "process 812 exited".clone_into(&mut first.cause);
    "main".clone_into(&mut first.site);
    let second = event(2048, v1::EventSeverity::Error, "director d1\r\nBcc: all");
    Message {
        events: vec![(Arc::new(first), 3), (Arc::new(second), 1)],
        upto: 2050,
        lost_some: false,
    }
}

#[test]
fn a_mail_says_the_worst_in_its_subject_and_all_in_its_text() {
    let subject = subject(&message(), "lvs-1");
    assert_eq!(subject, "[lvs-1] error: director d1  Bcc: all (and 1 more)");
    assert_eq!(
        body(&message(), &sender()),
        "1970-01-01T02:58:11Z  warning  real server web1 is out of web\n\
         \x20   because: process 812 exited\n\
         \x20   3 times; this is the latest\n\
         \x20   event 1024, site main\n\
         1970-01-01T02:58:11Z  error  director d1\r\nBcc: all\n\
         \x20   event 2048\n\
         \n-- \nFulcrum: policy ops, told by controller c1 of cluster abc.\n\
         All that is kept: lvsctl events\n"
    );
    assert_eq!(sender().id(&message()), "ops.smtp.1024-2050.abc");
}

#[test]
fn programs_get_the_api_s_own_fields() {
    let value = json(&message(), &sender());
    assert_eq!(value["id"], "ops.smtp.1024-2050.abc");
    let event = &value["events"][0];
    assert_eq!(event["sequence"], "1024");
    assert_eq!(event["severity"], "EVENT_SEVERITY_WARNING");
    assert_eq!((&event["site"], &event["count"]), (&json!("main"), &json!(3)));
}
