//! A story, told line by line.

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_topology_response::Event;

use super::Seen;

fn director(state: v1::VrrpState, weight: u32, reason: &str) -> v1::AgentStatus {
    let vrrp = v1::VrrpObserved {
        instance: "vi-1".to_owned(),
        state: state.into(),
        ..v1::VrrpObserved::default()
    };
    let decision = v1::WeightDecision {
        virtual_server: "web".to_owned(),
        real_server: "web2".to_owned(),
        weight,
        planned_weight: 1,
        reasons: vec![reason.to_owned()],
        ..v1::WeightDecision::default()
    };
    v1::AgentStatus {
        role: "director".to_owned(),
        name: "d1".to_owned(),
        attached: true,
        controller: "c1".to_owned(),
        director: Some(v1::DirectorObserved {
            vrrp_instances: vec![vrrp],
            weights: vec![decision],
            ..v1::DirectorObserved::default()
        }),
        ..v1::AgentStatus::default()
    }
}

fn evidence(verdict: v1::Verdict, reason: &str) -> v1::Evidence {
    let server = v1::ServerEvidence {
        real_server: "web2".to_owned(),
        verdict: verdict.into(),
        reasons: vec![reason.to_owned()],
        ..v1::ServerEvidence::default()
    };
    v1::Evidence { agent: "web2".to_owned(), servers: vec![server], ..v1::Evidence::default() }
}

fn site(revision: u64) -> v1::Resource {
    v1::Resource {
        metadata: Some(v1::Metadata {
            name: "main".to_owned(),
            revision,
            ..v1::Metadata::default()
        }),
        spec: Some(v1::resource::Spec::Site(v1::Site::default())),
    }
}

fn controller(role: v1::ControllerRole, reachable: bool) -> v1::ControllerStatus {
    v1::ControllerStatus {
        name: "c1".to_owned(),
        role: role.into(),
        reachable,
        ..v1::ControllerStatus::default()
    }
}

#[test]
fn a_tomcat_dies_while_somebody_watches() {
    use v1::{ControllerRole as Role, Verdict, VrrpState};
    let mut seen = Seen::default();
    seen.begin();
    let mut tell = |events: Vec<Event>| -> Vec<String> {
        events.iter().flat_map(|event| seen.take(event)).collect()
    };
    let up = director(VrrpState::Backup, 1, "own probe passes");
    assert_eq!(
        tell(vec![
            Event::Controller(controller(Role::Follower, true)),
            Event::Agent(up.clone()),
            Event::Resource(site(7)),
            Event::Evidence(evidence(Verdict::Up, "GET / answered 200")),
            Event::Synced(v1::Synced { revision: 7 }),
        ]),
        ["watching from revision 7: 1 controllers, 1 agents, 1 resources"]
    );
    assert_eq!(tell(vec![Event::Agent(up)]), [""; 0], "told again, nothing is new");
    let mut refusing = director(VrrpState::Active, 0, "agent says down: process 812 exited");
    refusing.ack = Some(v1::PlanAck {
        version: Some(v1::PlanVersion { revision: 8, ..v1::PlanVersion::default() }),
        applied: false,
        reason: "no interface eth9".to_owned(),
    });
    assert_eq!(
        tell(vec![
            Event::Evidence(evidence(Verdict::Down, "process 812 exited")),
            Event::Agent(refusing),
            Event::Controller(controller(Role::Leader, false)),
            Event::Resource(site(8)),
            Event::Deleted(v1::watch_topology_response::Change {
                kind: v1::Kind::Site.into(),
                name: "main".to_owned(),
            }),
        ]),
        [
            "web2 up → down: process 812 exited",
            "director/d1 refuses revision 8: no interface eth9",
            "director/d1 vi-1 Backup → Active",
            "director/d1 web web2 weight 1 → 0: agent says down: process 812 exited",
            "controller c1 follower → leader",
            "controller c1 in reach → out of reach",
            "Site main changed at revision 8",
            "Site main deleted",
        ]
    );
}

#[test]
fn after_a_new_stream_what_is_gone_is_told() {
    let mut seen = Seen::default();
    seen.begin();
    seen.take(&Event::Resource(site(7)));
    seen.take(&Event::Synced(v1::Synced { revision: 7 }));
    seen.begin();
    assert_eq!(seen.take(&Event::Synced(v1::Synced { revision: 8 })), ["Site main deleted"]);
}
