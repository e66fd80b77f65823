//! Restarts by order: defaults and bad fields.

use super::*;
use fulcrum_model::RestartEvidence;

fn order(edit: impl FnOnce(&mut v1::Restart)) -> v1::Resource {
    let mut order = v1::Restart { real_server: "web1".to_owned(), ..v1::Restart::default() };
    edit(&mut order);
    named("order", Wire::Restart(order))
}

#[test]
fn restarts_follow_their_rules() {
    type Edit = fn(&mut v1::Restart);
    let cases: [(Edit, &[&str]); 3] = [
        (|_| {}, &[]),
        (
            |r| r.real_server.clear(),
            &["spec.real_server: none: name the real server whose program is restarted"],
        ),
        (
            |r| {
                r.action = "rm -rf".to_owned();
                r.reason = "one\ntwo".to_owned();
            },
            &[
                "spec.action: \"rm -rf\": a name holds only a-z, 0-9, '-' and '.', not ' '",
                "spec.reason: 7 bytes: use one line of at most 255 bytes",
            ],
        ),
    ];
    for (edit, expected) in cases {
        assert_eq!(errors(&order(edit)), expected);
    }
}

#[test]
fn an_order_without_an_action_restarts() {
    let read = resource_from_wire(0, &order(|_| {}), &mut Vec::new()).expect("valid");
    let Spec::Restart(restart) = read.spec else { panic!("a restart") };
    assert_eq!((restart.action.as_str(), restart.even_if_serving), ("restart", false));
}

#[test]
fn evidence_of_a_restart_is_read_strictly() {
    let restart = v1::RestartEvidence {
        state: 9,
        finished_at: Some(prost_types::Timestamp { seconds: -1, nanos: 0 }),
        ..v1::RestartEvidence::default()
    };
    let server = v1::ServerEvidence {
        real_server: "web1".to_owned(),
        verdict: v1::Verdict::Up.into(),
        restart: Some(restart),
        ..v1::ServerEvidence::default()
    };
    let evidence =
        v1::Evidence { agent: "web1".to_owned(), servers: vec![server], ..v1::Evidence::default() };
    let error = Evidence::try_from(&evidence).expect_err("two bad fields");
    let told: Vec<String> = error.violations.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "servers[0].restart.state: 9: use waiting, running, done or failed",
            "servers[0].restart.finished_at: -1s: a time after 1970",
        ]
    );
}

#[test]
fn evidence_of_an_older_agent_tells_of_no_restart() {
    let server = v1::ServerEvidence {
        real_server: "web1".to_owned(),
        verdict: v1::Verdict::Up.into(),
        ..v1::ServerEvidence::default()
    };
    let evidence =
        v1::Evidence { agent: "web1".to_owned(), servers: vec![server], ..v1::Evidence::default() };
    let read = Evidence::try_from(&evidence).expect("valid");
    assert_eq!(read.servers[0].restart, None::<RestartEvidence>);
}
