//! Real servers, quorums and drift.

use fulcrum_proto::v1;
use fulcrum_proto::v1::ProbeResult::{self, Failing, Passing, Pending};
use fulcrum_proto::v1::VrrpState::{Active, Backup};

use super::bench::Bench;

fn decide(bench: &mut Bench, director: &str, real_server: &str, weight: u32, probe: ProbeResult) {
    bench.director(director, |observed| {
        observed.weights.retain(|decision| decision.real_server != real_server);
        observed.weights.push(v1::WeightDecision {
            virtual_server: "web".to_owned(),
            real_server: real_server.to_owned(),
            weight,
            planned_weight: 1,
            reasons: vec!["agent: process 812 exited".to_owned()],
            probe: probe.into(),
            ..Default::default()
        });
    });
}

#[test]
fn a_real_server_out_and_in_is_told_with_its_evidence() {
    let mut bench = Bench::new();
    bench.settle();
    // What a Backup would do is not told, nor what was not tried yet.
    decide(&mut bench, "d2", "web1", 0, Failing);
    decide(&mut bench, "d1", "web2", 0, Pending);
    assert_eq!(bench.after(60), Vec::<String>::new());
    decide(&mut bench, "d1", "web1", 0, Failing);
    assert_eq!(
        bench.after(1),
        ["RealServerOut Warning real server web1 is out of web because agent: process 812 exited"]
    );
    let event = bench.state.events.kept_after(0).last().expect("it was told").clone();
    assert_eq!(event.traceparent, "trace-web1");
    let Some(v1::event::Details::Serving(serving)) = &event.details else { panic!("{event:?}") };
    let servers = serving.virtual_servers.join(",");
    assert_eq!((servers.as_str(), serving.director.as_str()), ("web", "d1"));
    // A failover changes nothing of it.
    bench.vrrp("d1", Backup);
    bench.vrrp("d2", Active);
    assert_eq!(bench.after(3).len(), 1, "who is Active");
    decide(&mut bench, "d2", "web1", 1, Passing);
    assert_eq!(bench.after(1), ["RealServerIn Info real server web1 is in rotation again"]);
}

#[test]
fn nobody_knows_of_real_servers_while_no_director_is_heard() {
    let mut bench = Bench::new();
    bench.settle();
    decide(&mut bench, "d1", "web1", 0, Failing);
    assert_eq!(bench.after(1).len(), 1);
    for director in ["director/d1", "director/d2"] {
        bench.agent(director, |status| status.attached = false);
    }
    let told = bench.after(30);
    assert!(told.iter().all(|told| told.starts_with("AgentLost")), "{told:?}");
}

#[test]
fn a_quorum_lost_and_back_is_told() {
    let mut bench = Bench::new();
    bench.settle();
    decide(&mut bench, "d1", "web1", 0, Failing);
    bench.director("d1", |observed| observed.quorum_lost = vec!["web".to_owned()]);
    assert_eq!(
        bench.after(2),
        [
            "RealServerOut Warning real server web1 is out of web because agent: process 812 exited",
            "QuorumLost Error virtual server web lost its quorum because web1: agent: process 812 exited",
        ]
    );
    bench.director("d1", |observed| observed.quorum_lost.clear());
    assert_eq!(bench.after(2), ["QuorumBack Info virtual server web has its quorum again"]);
}

#[test]
fn drift_is_told_once_each_and_what_comes_together_together() {
    let mut bench = Bench::new();
    bench.settle();
    let drift = |seconds: i64, entry: &str| v1::IpvsDrift {
        found_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        entry: entry.to_owned(),
        found: "scheduler rr".to_owned(),
        repair: "scheduler wrr".to_owned(),
    };
    bench.director("d1", |observed| observed.ipvs_drift = vec![drift(5, "a"), drift(4, "b")]);
    let because = "because another program changed it: scheduler rr";
    assert_eq!(
        bench.after(1),
        [format!("DriftRepaired Warning director d1 put a and 1 more right {because}")]
    );
    assert_eq!(bench.after(60), Vec::<String>::new());
    // A new leader knows what was told.
    bench.change_leader("c2");
    assert_eq!(bench.after(1).len(), 1, "that it leads");
    bench.director("d1", |observed| observed.ipvs_drift.insert(0, drift(9, "c")));
    assert_eq!(
        bench.after(1),
        [format!("DriftRepaired Warning director d1 put c right {because}")]
    );
    let kept = bench.state.events.kept_after(0).last().expect("it was told").clone();
    let Some(v1::event::Details::Drift(details)) = &kept.details else { panic!("{kept:?}") };
    assert_eq!((details.entry.as_str(), details.count), ("c", 1));
}
