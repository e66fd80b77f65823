//! What is sent when, and what becomes of what fails.

use fulcrum_intent::Intent;
use fulcrum_proto::convert::resource_from_wire;
use fulcrum_proto::internal::v1::{EventBatch, EventChange};
use fulcrum_proto::v1::resource::Spec;
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};

use super::*;
use crate::events::notify::policy::channels;
use crate::testing::examples;

struct Bench {
    log: EventLog,
    planned: Planned,
    channel: Channel,
    queue: Queue,
    index: u64,
}

impl Bench {
    fn new(edit: impl FnOnce(&mut v1::NotificationPolicy)) -> Self {
        let mut policy = v1::NotificationPolicy {
            webhook: Some(v1::WebhookChannel {
                url: "http://ops/".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        edit(&mut policy);
        let metadata = v1::Metadata { name: "p".to_owned(), revision: 5, ..Default::default() };
        let policy =
            v1::Resource { metadata: Some(metadata), spec: Some(Spec::NotificationPolicy(policy)) };
        let mut wires = examples::cluster();
        for wire in &mut wires {
            let metadata = wire.metadata.as_mut().expect("it has a name");
            if metadata.name == "web1" {
                metadata.labels.insert("rack".to_owned(), "a".to_owned());
            }
        }
        wires.push(policy);
        let mut intent = Intent::default();
        for wire in wires {
            let mut read = resource_from_wire(0, &wire, &mut Vec::new()).expect("it is good");
            read.revision = fulcrum_model::Revision(5);
            intent.resources.insert(read.key(), read);
        }
        let planned = Planned::new("c".to_owned(), 1, intent, String::new(), None);
        let channel = channels(&planned).remove(0);
        let queue = Queue::new(&channel, None, at(0));
        Self { log: EventLog::default(), planned, channel, queue, index: 5 }
    }

    fn happens(&mut self, kind: EventKind, severity: EventSeverity, name: &str) {
        self.index += 1;
        let subject =
            v1::EventSubject { kind: EventSubjectKind::RealServer.into(), name: name.to_owned() };
        let event = v1::Event {
            kind: kind.into(),
            severity: severity.into(),
            subject: Some(subject),
            site: "main".to_owned(),
            ..Default::default()
        };
        let change = EventChange { event: Some(event), ..Default::default() };
        let batch = EventBatch { changes: vec![change], ..Default::default() };
        self.log.take(self.index, &batch, &mut Vec::new());
    }

    fn out(&mut self, name: &str) {
        self.happens(EventKind::RealServerOut, EventSeverity::Warning, name);
    }

    fn next(&mut self, seconds: u64) -> Next {
        self.queue.next(&self.channel, &self.log, &self.planned, at(seconds))
    }

    fn message(&mut self, seconds: u64) -> Message {
        match self.next(seconds) {
            Next::Send(message) => message,
            other => panic!("{other:?} at {seconds} s"),
        }
    }
}

fn at(seconds: u64) -> Now {
    Now { wall_ms: 1_000_000 + seconds * 1000, at: Duration::from_secs(seconds) }
}

fn names(message: &Message) -> Vec<(String, u32)> {
    let name = |event: &v1::Event| event.subject.clone().unwrap_or_default().name;
    message.events.iter().map(|(event, count)| (name(event), *count)).collect()
}

#[test]
fn events_that_come_together_are_one_message_and_repetitions_one_line() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.next(0), Next::Idle);
    bench.out("web1");
    assert_eq!(bench.next(0), Next::At(Duration::from_secs(1)));
    bench.out("web2");
    bench.out("web1");
    let message = bench.message(1);
    assert_eq!(names(&message), [("web2".to_owned(), 1), ("web1".to_owned(), 2)]);
    assert_eq!(bench.next(2), Next::Idle, "it is on its way");
    bench.queue.sent(&message, at(2));
    assert_eq!(bench.next(2), Next::Idle, "it was sent");
    // The next one waits its time, and has what comes meanwhile.
    bench.out("web1");
    assert_eq!(bench.next(3), Next::At(Duration::from_secs(32)));
    bench.out("web1");
    assert_eq!(names(&bench.message(32)), [("web1".to_owned(), 2)]);
}

#[test]
fn what_fails_is_tried_again_later_and_later_and_given_up_at_last() {
    let mut bench = Bench::new(|policy| {
        policy.give_up_after = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    });
    bench.out("web1");
    bench.next(0);
    let (mut now, mut tries, mut pauses) = (1, 0, Vec::new());
    loop {
        let message = bench.message(now);
        tries += 1;
        let given_up = bench.queue.failed(&message, "refused", &bench.channel, at(now));
        let status = bench.queue.to_note(at(now)).cloned().unwrap_or_default();
        assert_eq!(status.failing_since_ms > 0, tries > 1, "one try is no news");
        if given_up {
            assert_eq!((status.given_up, status.sent_to), (1, bench.log.newest()));
            break;
        }
        let Next::At(again) = bench.next(now) else { panic!("it waits") };
        pauses.push(again.as_secs() - now);
        now = again.as_secs();
    }
    assert_eq!(pauses[..8], [2, 4, 8, 16, 32, 64, 128, 256]);
    assert!(pauses[8..].iter().all(|pause| *pause == 300) && now >= 3600, "{pauses:?}");
    // The next message goes as if nothing had been, and ends the failure.
    bench.out("web2");
    bench.next(now);
    let message = bench.message(now + 1);
    bench.queue.sent(&message, at(now + 1));
    let status = bench.queue.to_note(at(now + 1)).expect("it is news");
    assert_eq!((status.failing_since_ms, status.error.as_str(), status.given_up), (0, "", 1));
}

#[test]
fn a_policy_that_was_corrected_is_tried_at_once() {
    let mut bench = Bench::new(|_| {});
    bench.out("web1");
    bench.next(0);
    let mut now = 1;
    for _ in 0..6 {
        let message = bench.message(now);
        bench.queue.failed(&message, "refused", &bench.channel, at(now));
        now += 64;
    }
    let Next::At(later) = bench.next(now - 64) else { panic!("it waits") };
    assert_eq!(later.as_secs(), now);
    bench.queue.try_now();
    bench.message(now - 64);
}

#[test]
fn a_new_leader_goes_on_from_what_was_noted() {
    let mut bench = Bench::new(|_| {});
    bench.out("web1");
    bench.next(0);
    let message = bench.message(1);
    bench.queue.sent(&message, at(1));
    let noted = bench.queue.to_note(at(1)).cloned().expect("what was sent is noted at once");
    bench.out("web2");
    let mut new = Queue::new(&bench.channel, Some(&noted), at(0));
    new.next(&bench.channel, &bench.log, &bench.planned, at(0));
    let Next::Send(message) = new.next(&bench.channel, &bench.log, &bench.planned, at(1)) else {
        panic!("it sends")
    };
    assert_eq!(names(&message), [("web2".to_owned(), 1)]);
    // One that knows of nothing sent begins with what came after the policy was written.
    bench.index = 4;
    let before = Queue::new(&bench.channel, None, at(0)).status.sent_to;
    assert_eq!(before, crate::events::log::first_of_entry(6) - 1);
}

#[test]
fn what_is_passed_over_is_noted_now_and_then() {
    let mut bench = Bench::new(|_| {});
    let first = bench.queue.to_note(at(0)).cloned().expect("a new channel is noted");
    bench.queue.noted(&first, at(0));
    bench.happens(EventKind::LeaderChanged, EventSeverity::Info, "c1");
    assert_eq!(bench.next(1), Next::Idle);
    assert_eq!(bench.queue.to_note(at(30)), None);
    assert_eq!(bench.queue.to_note(at(60)).map(|status| status.sent_to), Some(bench.log.newest()));
}

#[test]
fn policies_choose_by_kind_severity_site_and_label() {
    type Edit = fn(&mut v1::NotificationPolicy);
    let (out, back) = (EventKind::RealServerOut, EventKind::RealServerIn);
    let (info, warning) = (EventSeverity::Info, EventSeverity::Warning);
    let cases: [(Edit, EventKind, EventSeverity, &str, bool); 10] = [
        (|_| {}, out, warning, "web1", true),
        // What ends a trouble goes to who was told of it.
        (|_| {}, back, info, "web1", true),
        (|_| {}, EventKind::LeaderChanged, info, "c1", false),
        (|p| p.set_least_severity(EventSeverity::Error), out, warning, "web1", false),
        (|p| p.set_least_severity(EventSeverity::Info), EventKind::IntentChanged, info, "7", true),
        (|p| p.kinds = vec![EventKind::QuorumLost.into()], out, warning, "web1", false),
        (|p| p.sites = vec!["main".to_owned()], out, warning, "web1", true),
        (|p| p.sites = vec!["east".to_owned()], out, warning, "web1", false),
        (|p| p.label_selector = "rack=a".to_owned(), out, warning, "web1", true),
        (|p| p.label_selector = "rack=a".to_owned(), out, warning, "web2", false),
    ];
    for (edit, kind, severity, name, expected) in cases {
        let mut bench = Bench::new(edit);
        bench.happens(kind, severity, name);
        let is_sent = bench.next(0) != Next::Idle;
        assert_eq!(is_sent, expected, "{:?} {kind:?} {name}", bench.channel.spec);
    }
}
