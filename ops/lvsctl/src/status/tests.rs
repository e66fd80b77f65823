//! The classic cluster in sickness and in health, as text.

use std::path::Path;
use std::time::Duration;

use fulcrum_proto::finding::Code;
use fulcrum_proto::v1;

use super::fixtures::{REVISION, agent, before, now, plan};
use super::{
    chains_to_node, chains_to_text, director, director_problems, explain, problems, real_server,
    real_server_problems, subjects, topology, tunnels,
};
use crate::manifest;
use crate::paint::Paint;

fn decision(real_server: &str) -> v1::WeightDecision {
    v1::WeightDecision {
        virtual_server: "web".to_owned(),
        real_server: real_server.to_owned(),
        weight: 1,
        planned_weight: 1,
        reasons: vec!["own probe passes".to_owned(), "agent says up".to_owned()],
        probe: v1::ProbeResult::Passing.into(),
        verdict: v1::Verdict::Up.into(),
        since: before(600),
        ..v1::WeightDecision::default()
    }
}

fn observed(state: v1::VrrpState) -> v1::DirectorObserved {
    let is_active = state == v1::VrrpState::Active;
    let vrrp = v1::VrrpObserved {
        instance: "vi-1".to_owned(),
        state: state.into(),
        since: before(192),
        active_router: if is_active { String::new() } else { "192.168.1.135".to_owned() },
        vips_bound: if is_active { vec!["192.168.1.150/24".to_owned()] } else { Vec::new() },
        ..v1::VrrpObserved::default()
    };
    v1::DirectorObserved {
        vrrp_instances: vec![vrrp],
        weights: vec![decision("web1"), decision("web2")],
        ..v1::DirectorObserved::default()
    }
}

fn evidence(name: &str) -> v1::Evidence {
    v1::Evidence {
        agent: name.to_owned(),
        servers: vec![v1::ServerEvidence {
            real_server: name.to_owned(),
            verdict: v1::Verdict::Up.into(),
            reasons: vec!["GET / answered 200 in 3 ms".to_owned()],
            ..v1::ServerEvidence::default()
        }],
        vips: vec![v1::VipEvidence {
            vip: "192.168.1.150".to_owned(),
            bound: true,
            arp_safe: true,
            detail: String::new(),
        }],
        ..v1::Evidence::default()
    }
}

fn controller(number: u32) -> v1::ControllerStatus {
    let leads = number == 1;
    let role = if leads { v1::ControllerRole::Leader } else { v1::ControllerRole::Follower };
    v1::ControllerStatus {
        name: format!("c{number}"),
        endpoint: format!("192.168.1.{}:7400", 130 + number),
        role: role.into(),
        reachable: true,
        applied_revision: REVISION,
        program_version: "0.1.0".to_owned(),
        ..v1::ControllerStatus::default()
    }
}

/// Agents in this order: d1, d2, web1, web2.
fn healthy() -> v1::Topology {
    let mut mistakes = Vec::new();
    let seed = include_str!("../../../examples/seed.yaml");
    let resources = manifest::read("seed.yaml", seed, &mut mistakes);
    assert!(mistakes.is_empty());
    let directors = [("d1", v1::VrrpState::Active), ("d2", v1::VrrpState::Backup)];
    let directors = directors.map(|(name, state)| {
        let director = Some(observed(state));
        v1::AgentStatus { director, ..agent("director", name) }
    });
    let real_servers = ["web1", "web2"].map(|name| agent("realserver", name));
    v1::Topology {
        revision: REVISION,
        cluster_id: "6f1c".to_owned(),
        controllers: (1..=3).map(controller).collect(),
        agents: directors.into_iter().chain(real_servers).collect(),
        evidence: ["web1", "web2"].map(evidence).to_vec(),
        resources: resources.into_iter().map(|manifest| manifest.resource).collect(),
        unconfirmed: None,
        notifications: Vec::new(),
    }
}

fn observed_of(topology: &mut v1::Topology, agent: usize) -> &mut v1::DirectorObserved {
    topology.agents[agent].director.as_mut().expect("a director")
}

fn text(found: &v1::Topology) -> String {
    topology(found, &problems(found, now()), now(), Paint::default())
}

/// Compares with `tests/golden/NAME`; with UPDATE=1 in the environment, writes it.
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&path, found).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "run with UPDATE=1 and review the difference of {name}");
}

#[test]
fn all_is_well() {
    let found = healthy();
    assert_eq!(problems(&found, now()), [""; 0]);
    golden("status-healthy.txt", &text(&found));
}

#[test]
fn a_bad_night() {
    let mut found = healthy();
    found.controllers[2].reachable = false;
    // A Tomcat is dead: d1 has seen it, d2 has not yet.
    let out = &mut observed_of(&mut found, 0).weights[1];
    out.weight = 0;
    out.reasons = vec!["agent says down: process 812 exited".to_owned()];
    found.evidence[1].servers[0].verdict = v1::Verdict::Down.into();
    found.evidence[1].servers[0].reasons = vec!["process 812 exited".to_owned()];
    // The other one is full.
    let full = &mut observed_of(&mut found, 0).weights[0];
    (full.weight, full.planned_weight) = (2, 8);
    // The backup is cut off, and one host's agent refuses its plan.
    found.agents[1].attached = false;
    found.agents[1].last_heard = before(75);
    found.agents[2].ack = Some(v1::PlanAck {
        version: Some(plan(REVISION)),
        applied: false,
        reason: "cannot write arp_ignore: permission denied; run with CAP_NET_ADMIN".to_owned(),
    });
    found.evidence[0].vips[0].arp_safe = false;
    found.evidence[0].vips[0].detail = "arp_ignore of eth0 is 0".to_owned();
    golden("status-bad-night.txt", &text(&found));
}

#[test]
fn a_weight_is_explained() {
    let mut found = healthy();
    let out = &mut observed_of(&mut found, 0).weights[0];
    out.weight = 0;
    out.since = before(3);
    out.reasons = vec!["agent says down: process 812 exited".to_owned()];
    found.agents[1].attached = false;
    let evidence = &mut found.evidence[0];
    (evidence.epoch, evidence.sequence) = (3, 17);
    (evidence.age_ms, evidence.valid_for_ms) = (3_400, 15_000);
    let server = &mut evidence.servers[0];
    server.verdict = v1::Verdict::Down.into();
    server.reasons = vec!["process 812 exited".to_owned()];
    server.exit_seen_at = before(4);
    let text = |subject: &str| chains_to_text(&explain(&found, subject, now()), Paint::default());
    golden("explain-real-server.txt", &text("web1"));
    assert_eq!(text("192.168.1.138"), text("web1"));
    assert_eq!(text("192.168.1.138:80"), text("web1"));
    assert_eq!(explain(&found, "nobody", now()), []);
    assert!(subjects(&found).contains(&"web1".to_owned()));
    let node = chains_to_node(&explain(&found, "web1", now()));
    golden("explain-real-server.json", &crate::text::to_json(&node));
}

#[test]
fn a_way_through_the_vip_is_explained() {
    let mut found = healthy();
    observed_of(&mut found, 0).weights[0].path = v1::ProbeResult::Failing.into();
    observed_of(&mut found, 1).weights[0].path = v1::ProbeResult::Passing.into();
    let text = chains_to_text(&explain(&found, "web1", now()), Paint::default());
    let told = |word: &str| text.matches(&format!("check through the VIP: {word}")).count();
    assert_eq!((told("fails"), told("passes"), told("not tried yet")), (1, 1, 0), "{text}");
}

#[test]
fn a_load_is_explained() {
    let mut found = healthy();
    found.evidence[0].servers[0].load = Some(v1::ServerLoad {
        busy_threads: 7,
        max_threads: 50,
        sessions: 40,
        gc_share_permille: 31,
        mean_request_us: 12_540,
        contexts_stopped: 1,
        ..v1::ServerLoad::default()
    });
    let chains = explain(&found, "web1", now());
    golden("explain-load.txt", &chains_to_text(&chains, Paint::default()));
}

#[test]
fn a_weight_that_follows_load_is_explained() {
    let mut found = healthy();
    let busy = &mut observed_of(&mut found, 0).weights[0];
    (busy.weight, busy.planned_weight, busy.load_permille) = (70, 100, 700);
    busy.reasons = vec!["60 of 200 threads busy: weight 70 of 100".to_owned()];
    let text = chains_to_text(&explain(&found, "web1", now()), Paint::default());
    let told = "weight 70 of 100, load leaves 70 %: 60 of 200 threads busy: weight 70 of 100";
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_vip_is_explained() {
    let mut found = healthy();
    observed_of(&mut found, 1).vrrp_instances[0].tracks = vec![v1::TrackObserved {
        target: "gateway 192.168.1.1".to_owned(),
        state: v1::TrackState::Unwell.into(),
        adds: -20,
        detail: "no answer for 1s".to_owned(),
        ..v1::TrackObserved::default()
    }];
    let chains = explain(&found, "192.168.1.150", now());
    golden("explain-vip.txt", &chains_to_text(&chains, Paint::default()));
}

/// Each way to be unhealthy, alone.
#[test]
fn each_problem_has_its_words() {
    type Edit = fn(&mut v1::Topology);
    let cases: [(Edit, &[&str]); 15] = [
        (
            |t| observed_of(t, 1).vrrp_instances[0].state = v1::VrrpState::Active.into(),
            &["vi-1 has 2 Actives: d1, d2; they do not hear"],
        ),
        (
            |t| observed_of(t, 0).vrrp_instances[0].state = v1::VrrpState::Initialize.into(),
            &["vi-1 has no Active: nobody holds 192.168.1.150/24", "vi-1 is in Initialize on d1"],
        ),
        (
            |t| {
                let vrrp = &mut observed_of(t, 1).vrrp_instances[0];
                vrrp.state = v1::VrrpState::Initialize.into();
                vrrp.faults = vec!["interface eth1 is down".to_owned()];
            },
            &["vi-1 on d2: it must not be Active: interface eth1 is down"],
        ),
        (
            |t| {
                observed_of(t, 1).vrrp_instances[0].tracks = vec![v1::TrackObserved {
                    target: "gateway 192.168.1.1".to_owned(),
                    state: v1::TrackState::Unwell.into(),
                    detail: "no answer for 1s".to_owned(),
                    ..v1::TrackObserved::default()
                }];
            },
            &["vi-1 on d2: gateway 192.168.1.1 is not well: no answer for 1s"],
        ),
        (
            |t| {
                observed_of(t, 0).vrrp_instances[0].duplicate_owners = vec![v1::DuplicateOwner {
                    address: "192.168.1.150".to_owned(),
                    mac: "02:00:00:00:00:09".to_owned(),
                    interface: "eth0".to_owned(),
                    seen_by: "ARP".to_owned(),
                    count: 3,
                    last_seen: before(1),
                }];
            },
            &[
                "vi-1 on d1: 192.168.1.150 has another owner, 02:00:00:00:00:09 on eth0, seen 3 times by ARP",
            ],
        ),
        (
            |t| t.agents[0].attached = false,
            &["vi-1 has no Active that is attached; d1 was it", "director/d1 is not attached"],
        ),
        (|t| observed_of(t, 1).vrrp_instances.clear(), &["d2 tells nothing of vi-1"]),
        (
            |t| {
                observed_of(t, 1).vrrp_instances.clear();
                t.agents[1].ack = None;
            },
            &["director/d2 has not answered any plan yet"],
        ),
        (
            |t| t.agents[2].ack.as_mut().expect("acked").version = Some(plan(11)),
            &["realserver/web1 is at revision 11 of 12"],
        ),
        (
            |t| {
                for director in [0, 1] {
                    observed_of(t, director).weights[0].weight = 0;
                    observed_of(t, director).weights[0].reasons = vec!["refused".to_owned()];
                }
            },
            &["web1 is out of rotation of web on d1, d2: refused"],
        ),
        (
            |t| observed_of(t, 0).weights[0].planned_weight = 4,
            // Lowered, not out: told in the table alone.
            &[],
        ),
        (
            |t| t.evidence[0].servers[0].verdict = v1::Verdict::Down.into(),
            &["web1 is down: GET / answered 200 in 3 ms"],
        ),
        (|t| t.evidence[0].vips[0].bound = false, &["VIP 192.168.1.150 is not bound on web1"]),
        (
            |t| {
                t.agents[3].real_server = Some(v1::RealServerObserved {
                    problems: vec!["lo is down".to_owned()],
                    ..Default::default()
                });
            },
            &["realserver/web2: lo is down"],
        ),
        (
            |t| t.controllers[0].role = v1::ControllerRole::Candidate.into(),
            &["no controller leads, so nothing can be written: 2 of 3"],
        ),
    ];
    for (edit, expected) in cases {
        let mut found = healthy();
        edit(&mut found);
        let told = problems(&found, now());
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told:?} begins with {expected:?}");
        }
    }
}

#[test]
fn orders_and_details_are_told() {
    let mut found = healthy();
    let order = v1::Handover {
        vrrp_instance: "vi-1".to_owned(),
        to: "d2".to_owned(),
        reason: "d1 gets a new kernel".to_owned(),
        requested_by: "ann".to_owned(),
    };
    let metadata = v1::Metadata { name: "vi-1".to_owned(), ..v1::Metadata::default() };
    found.resources.push(v1::Resource {
        metadata: Some(metadata),
        spec: Some(v1::resource::Spec::Handover(order)),
    });
    let vrrp = &mut observed_of(&mut found, 1).vrrp_instances[0];
    vrrp.priority = 254;
    vrrp.waits_for = "120 connections of d1".to_owned();
    vrrp.connection_sync = Some(v1::ConnectionSyncObserved {
        role: v1::SyncRole::Receiver.into(),
        missing: 120,
        compared: true,
        ..v1::ConnectionSyncObserved::default()
    });
    let told = text(&found);
    let words = [
        "\nHAND-OVERS\n  vi-1 is handed over to d2 by ann: d1 gets a new kernel\n",
        "hears 192.168.1.135, priority 254, waits for 120 connections of d1, lacks 120 connections\n",
    ];
    for word in words {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_cluster_without_intent_is_healthy() {
    let empty = v1::Topology {
        cluster_id: "6f1c".to_owned(),
        controllers: vec![controller(1)],
        ..v1::Topology::default()
    };
    golden("status-empty.txt", &text(&empty));
}

#[test]
fn a_change_that_waits_is_told_but_is_no_problem() {
    let mut found = healthy();
    let healthy = text(&found);
    found.unconfirmed = Some(v1::Revision {
        revision: REVISION,
        who: "anna".to_owned(),
        reason: "second VIP".to_owned(),
        confirm_by: Some(prost_types::Timestamp { seconds: 10_691, nanos: 0 }),
        ..v1::Revision::default()
    });
    let line = format!(
        "  revision {REVISION} by anna (second VIP) waits to be confirmed until 02:58:11Z, and is undone then: \
         `lvsctl confirm {REVISION}` keeps it\n"
    );
    let (head, rest) = healthy.split_once('\n').expect("more than a line");
    assert_eq!(text(&found), format!("{head}\n{line}{rest}"));
}

#[test]
fn a_director_tells_of_itself() {
    let mut found = v1::GetDirectorStatusResponse {
        name: "d1".to_owned(),
        plan: Some(plan(REVISION)),
        controller: "c1".to_owned(),
        observed: Some(observed(v1::VrrpState::Active)),
    };
    let text = |found: &v1::GetDirectorStatusResponse| {
        director(found, &director_problems(found), now(), Paint::default())
    };
    golden("status-director.txt", &text(&found));
    found.controller = String::new();
    let observed = found.observed.as_mut().expect("observed");
    observed.weights[1].weight = 0;
    observed.weights[1].reasons = vec!["own probe fails: connection refused".to_owned()];
    observed.problems = vec!["a foreign entry 10.0.0.1:25/tcp is left alone".to_owned()];
    golden("status-director-alone.txt", &text(&found));
}

fn freeze() -> v1::Freeze {
    v1::Freeze {
        owner: "ann".to_owned(),
        reason: "new disk".to_owned(),
        since: before(60),
        expires_at: Some((now() + Duration::from_secs(723)).into()),
        held_edits: 3,
    }
}

fn drain() -> v1::LocalDrain {
    v1::LocalDrain {
        real_server: "web1".to_owned(),
        owner: "bob".to_owned(),
        reason: "slow".to_owned(),
        since: before(30),
        expires_at: Some((now() + Duration::from_mins(1)).into()),
    }
}

#[test]
fn orders_at_a_director_are_told_and_explained() {
    let mut found = healthy();
    let observed = observed_of(&mut found, 0);
    (observed.frozen, observed.local_drains) = (Some(freeze()), vec![drain()]);
    let decision = &mut observed.weights[0];
    decision.weight = 0;
    decision.reasons = vec!["drained by bob: slow (drain local/bob)".to_owned()];
    let observed = observed.clone();
    let chains = explain(&found, "web1", now());
    golden("explain-local-orders.txt", &chains_to_text(&chains, Paint::default()));
    let found = v1::GetDirectorStatusResponse {
        name: "d1".to_owned(),
        plan: Some(plan(REVISION)),
        controller: "c1".to_owned(),
        observed: Some(observed),
    };
    let problems = director_problems(&found);
    golden("status-director-orders.txt", &director(&found, &problems, now(), Paint::default()));
}

fn tunnel_ends() -> Vec<v1::TunnelEnd> {
    let end = |packets: &str, taken_by: &str, foreign, problem: &str| v1::TunnelEnd {
        packets: packets.to_owned(),
        taken_by: taken_by.to_owned(),
        foreign,
        vips: vec!["192.168.1.150".to_owned()],
        problem: problem.to_owned(),
    };
    vec![
        end("GUE at UDP port 6080 of IPv4", "fou", true, ""),
        end("ipip to 192.168.1.138", "fulcrum-ipip-0", false, ""),
        end("gre to 192.168.1.138", "", false, "no device takes gre to 192.168.1.138 out"),
    ]
}

#[test]
fn a_vip_has_its_tunnels_in_words() {
    let ends = tunnel_ends();
    assert_eq!(
        tunnels::of_vip("192.168.1.150", &ends),
        [
            "its packets in GUE at UDP port 6080 of IPv4 are taken out by fou, another program's",
            "its packets in ipip to 192.168.1.138 are taken out by fulcrum-ipip-0",
            "its packets in gre to 192.168.1.138 do not arrive: no device takes gre to 192.168.1.138 out",
        ]
    );
    assert_eq!(tunnels::of_vip("192.168.1.151", &ends), [""; 0]);
}

#[test]
fn a_real_servers_agent_tells_of_itself() {
    let mut found = v1::GetRealServerStatusResponse {
        name: "web1".to_owned(),
        plan: Some(plan(REVISION)),
        controller: "c1".to_owned(),
        evidence: Some(evidence("web1")),
        observed: Some(v1::RealServerObserved::default()),
    };
    let text = |found: &v1::GetRealServerStatusResponse| {
        real_server(found, &real_server_problems(found), now(), Paint::default())
    };
    golden("status-realserver.txt", &text(&found));
    found.controller = String::new();
    found.observed = Some(v1::RealServerObserved {
        frozen: Some(freeze()),
        local_drains: vec![drain()],
        problems: vec!["frozen by ann".to_owned()],
        tunnel_ends: tunnel_ends(),
        findings: vec![
            Code::ListenAddress.error(
                "port 80",
                "it listens on 10.0.0.8 alone",
                "let it listen on 0.0.0.0",
            ),
            Code::ClockSkew.warning("", "this host's clock is 3.2 s behind", "let it follow NTP"),
        ],
        unchecked: vec![Code::TomcatPort.unchecked("web1: nobody listens on port 80")],
    });
    let evidence = found.evidence.as_mut().expect("given");
    evidence.servers[0].verdict = v1::Verdict::Draining.into();
    evidence.servers[0].reasons = vec!["drained by bob: slow (drain local/bob)".to_owned()];
    evidence.vips[0].arp_safe = false;
    evidence.vips[0].detail = "arp_ignore of eth0 is 0".to_owned();
    golden("status-realserver-orders.txt", &text(&found));
}
