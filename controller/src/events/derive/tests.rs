//! Scenarios: what the leader comes to know, second by second, and what is told of it.

mod bench;
mod serving;
mod vrrp;

use fulcrum_proto::v1;

use super::{MOST_OFTEN, STAND, WINDOW};
use bench::Bench;

#[test]
fn silence_is_told_when_it_lasts_and_its_end_too() {
    let mut bench = Bench::new();
    bench.settle();
    bench.agent("director/d2", |status| status.attached = false);
    assert_eq!(bench.after(4), Vec::<String>::new());
    // It went to another controller.
    bench.agent("director/d2", |status| status.attached = true);
    assert_eq!(bench.after(9), Vec::<String>::new());
    bench.agent("director/d2", |status| status.attached = false);
    bench.agent("realserver/web1", |status| status.attached = false);
    bench.controller("c2", |status| status.reachable = false);
    assert_eq!(
        bench.after(5),
        [
            "ControllerLost Warning controller c2 is not reached by c1",
            "AgentLost Error director d2 is attached to no controller",
            "AgentLost Warning the real-server agent web1 is attached to no controller",
        ]
    );
    assert_eq!(bench.after(60), Vec::<String>::new(), "it is told once");
    bench.agent("director/d2", |status| status.attached = true);
    bench.controller("c2", |status| status.reachable = true);
    assert_eq!(
        bench.after(2),
        [
            "ControllerBack Info controller c2 is reached again by c1",
            "AgentBack Info director d2 is attached to c1 again",
        ]
    );
}

#[test]
fn an_agent_that_never_came_is_told_after_a_minute() {
    let mut bench = Bench::new();
    bench.settle();
    bench.forget_agent("realserver/web2");
    assert_eq!(bench.after(59), Vec::<String>::new());
    assert_eq!(
        bench.after(1),
        ["AgentLost Warning the real-server agent web2 was not heard since c1 leads"]
    );
}

#[test]
fn a_new_leader_tells_what_the_one_before_could_not_and_nothing_twice() {
    let mut bench = Bench::new();
    bench.settle();
    bench.agent("director/d2", |status| status.attached = false);
    assert_eq!(bench.after(5).len(), 1);
    bench.agent("realserver/web1", |status| status.attached = false);
    // The leader dies before it has told that.
    bench.change_leader("c2");
    assert_eq!(bench.after(0), ["LeaderChanged Info controller c2 leads, c1 did"]);
    assert_eq!(
        bench.after(5),
        ["AgentLost Warning the real-server agent web1 is attached to no controller"]
    );
}

#[test]
fn what_changes_all_the_time_is_told_a_few_times_and_then_when_it_stands() {
    let mut bench = Bench::new();
    bench.settle();
    let mut told = Vec::new();
    // Up and down each 10 s, for nearly seven minutes.
    for round in 0..41 {
        bench.finding("d1", round % 2 == 0);
        told.extend(bench.after(10));
    }
    let often = usize::try_from(MOST_OFTEN).expect("a small number");
    assert_eq!(told.len(), often + 1, "{told:#?}");
    assert!(told[often - 1].contains("it changes often"), "{told:#?}");
    // One that says that it goes on, with how much was left out.
    assert!(told[often].contains("untold"), "{told:#?}");
    // The last change stands.
    assert_eq!(bench.after(STAND.as_secs() - 11), Vec::<String>::new());
    assert_eq!(bench.after(2).len(), 1);
    // Long after it is told at once again.
    bench.finding("d1", false);
    assert_eq!(bench.after(WINDOW.as_secs()).len(), 1);
    bench.finding("d1", true);
    assert_eq!(bench.after(2).len(), 1);
}

#[test]
fn findings_certificates_and_clocks_are_told_by_their_own_kinds() {
    let codes = [
        ("clock-skew", "ClockSkewed", "ClockWell"),
        ("certificate", "CertificateEnds", "CertificateWell"),
        ("server-certificate", "CertificateEnds", "CertificateWell"),
        ("disk-space", "FindingRaised", "FindingCleared"),
    ];
    for (code, raised, cleared) in codes {
        let mut bench = Bench::new();
        bench.settle();
        let finding = |severity: v1::Severity, found: &str| v1::Finding {
            code: code.to_owned(),
            severity: severity.into(),
            subject: "/etc/x".to_owned(),
            found: found.to_owned(),
            remedy: "do it".to_owned(),
        };
        let set = |bench: &mut Bench, findings: Vec<v1::Finding>| {
            bench.director("d1", |observed| observed.findings = findings);
        };
        set(&mut bench, vec![finding(v1::Severity::Warning, "6 days left")]);
        let told =
            format!("{raised} Warning director d1: /etc/x: 6 days left because remedy: do it");
        assert_eq!(bench.after(2), [told]);
        // Other words are no news, and neither is what nobody looked at.
        set(&mut bench, vec![finding(v1::Severity::Warning, "5 days left")]);
        assert_eq!(bench.after(5), Vec::<String>::new());
        bench.director("d1", |observed| {
            observed.findings.clear();
            let why = "not looked at yet".to_owned();
            observed.unchecked = vec![v1::Unchecked { code: code.to_owned(), why }];
        });
        assert_eq!(bench.after(60), Vec::<String>::new());
        bench.director("d1", |observed| observed.unchecked.clear());
        set(&mut bench, vec![finding(v1::Severity::Error, "it has ended")]);
        assert_eq!(bench.after(2).len(), 1, "it is worse");
        set(&mut bench, Vec::new());
        let told = format!("{cleared} Info director d1: {code} of /etc/x is well again");
        assert_eq!(bench.after(2), [told]);
    }
}

#[test]
fn a_plan_that_an_agent_holds_is_told_with_its_reason() {
    let mut bench = Bench::new();
    bench.settle();
    let ack = |applied: bool, reason: &str| {
        let version = v1::PlanVersion { revision: 7, ..Default::default() };
        Some(v1::PlanAck { version: Some(version), applied, reason: reason.to_owned() })
    };
    bench.agent("director/d1", |status| status.ack = ack(false, "it would empty the table"));
    assert_eq!(
        bench.after(2),
        [
            "PlanRefused Error director d1 holds its plan of revision 7 because it would empty the table"
        ]
    );
    bench.agent("director/d1", |status| status.ack = ack(true, ""));
    assert_eq!(bench.after(2), ["PlanTaken Info director d1 applied its plan of revision 7"]);
}

#[test]
fn channels_that_fail_are_told_of_and_so_is_what_they_gave_up() {
    let mut bench = Bench::new();
    bench.settle();
    let status = |failing_since_ms, given_up| v1::NotificationStatus {
        policy: "mail".to_owned(),
        channel: "smtp".to_owned(),
        failing_since_ms,
        error: if failing_since_ms > 0 { "refused".to_owned() } else { String::new() },
        given_up,
        ..Default::default()
    };
    bench.state.events.add_channel(status(5, 0));
    assert_eq!(
        bench.after(1),
        ["NotificationFailed Warning notifications by mail/smtp fail because refused"]
    );
    bench.state.events.add_channel(status(5, 1));
    assert_eq!(
        bench.after(1),
        ["NotificationGivenUp Warning 1 messages by mail/smtp were given up because refused"]
    );
    bench.state.events.add_channel(status(0, 1));
    assert_eq!(bench.after(1), ["NotificationWorks Info notifications by mail/smtp work again"]);
    assert_eq!(bench.after(60), Vec::<String>::new());
}

#[test]
fn long_words_are_cut_and_leave_the_details_out() {
    let mut bench = Bench::new();
    bench.settle();
    let long = "ä".repeat(100_000);
    bench.director("d1", |observed| {
        observed.findings = vec![v1::Finding {
            code: "disk-space".to_owned(),
            severity: v1::Severity::Warning.into(),
            subject: long.clone(),
            found: long.clone(),
            remedy: long,
        }];
    });
    assert_eq!(bench.after(2).len(), 1);
    let event = bench.state.events.kept_after(0).last().expect("it was told").clone();
    assert!(prost::Message::encoded_len(&*event) < super::MOST_EVENT_BYTES);
    assert_eq!(event.details, None);
    assert!(bench.state.events.told().keys().all(|key| key.len() < 256));
}

#[test]
fn moments_are_told_once_and_a_batch_has_a_bound() {
    let mut bench = Bench::new();
    bench.settle();
    for number in 0..1000 {
        let text = format!("write {number} was held");
        bench.deriver.note(v1::Event { text, ..Default::default() });
    }
    assert_eq!(bench.after(0).len(), super::MOST_CHANGES);
    assert_eq!(bench.after(1), Vec::<String>::new());
}
