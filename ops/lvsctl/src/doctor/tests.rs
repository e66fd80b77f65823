//! The classic cluster and what may be wrong with its hosts, as text.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_proto::finding::Code;
use fulcrum_proto::v1;

use super::cluster::VERSION;
use super::{Outcome, certificates, count, director, summary, to_node, to_text, topology};
use crate::paint::Paint;
use crate::status::fixtures::{self, REVISION, before, now, plan};
use crate::text::to_json;

/// One that is of this version, too.
fn agent(role: &str, name: &str) -> v1::AgentStatus {
    v1::AgentStatus { program_version: VERSION.to_owned(), ..fixtures::agent(role, name) }
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
        program_version: VERSION.to_owned(),
    }
}

/// Agents in this order: d1, d2, web1.
fn healthy() -> v1::Topology {
    let directors = ["d1", "d2"].map(|name| v1::AgentStatus {
        director: Some(v1::DirectorObserved::default()),
        ..agent("director", name)
    });
    let web = v1::AgentStatus {
        real_server: Some(v1::RealServerObserved::default()),
        // Its reports differ seldom; its evidence is fresh.
        last_heard: before(900),
        ..agent("realserver", "web1")
    };
    v1::Topology {
        revision: REVISION,
        cluster_id: "6f1c".to_owned(),
        controllers: (1..=3).map(controller).collect(),
        agents: directors.into_iter().chain([web]).collect(),
        evidence: vec![v1::Evidence {
            agent: "web1".to_owned(),
            age_ms: 3_000,
            valid_for_ms: 15_000,
            ..v1::Evidence::default()
        }],
        ..v1::Topology::default()
    }
}

fn findings_of(topology: &mut v1::Topology, agent: usize) -> &mut Vec<v1::Finding> {
    let agent = &mut topology.agents[agent];
    match (&mut agent.director, &mut agent.real_server) {
        (Some(observed), _) => &mut observed.findings,
        (None, Some(observed)) => &mut observed.findings,
        (None, None) => panic!("it has told nothing"),
    }
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

/// Texts do not change with each release.
fn of_no_version(text: &str) -> String {
    text.replace(VERSION, "VERSION")
}

#[test]
fn all_is_well() {
    let groups = topology(&healthy(), None, now());
    assert_eq!(count(&groups, Outcome::Error) + count(&groups, Outcome::Warning), 0);
    golden("doctor-healthy.txt", &to_text(&groups, false, Paint::default()));
}

fn a_bad_night() -> v1::Topology {
    let mut found = healthy();
    found.controllers[2].reachable = false;
    found.controllers[1].program_version = "0.0.9".to_owned();
    *findings_of(&mut found, 0) = vec![
        Code::ConntrackInvalid.error("inet filter input", "a rule drops", "accept before"),
        Code::VridCollision.error(
            "vi-1",
            "adverts of 192.168.1.9 have another password",
            "make equal",
        ),
        Code::DiskSpace.warning(
            "/var/lib/fulcrum/director",
            "its disk has 12 MiB left",
            "free space",
        ),
        v1::Finding {
            code: "from-the-future".to_owned(),
            severity: v1::Severity::Warning.into(),
            found: "something new".to_owned(),
            remedy: "upgrade lvsctl".to_owned(),
            ..v1::Finding::default()
        },
    ];
    found.agents[1].attached = false;
    found.agents[1].last_heard = before(75);
    found.agents[2].ack = Some(v1::PlanAck {
        version: Some(plan(REVISION)),
        applied: false,
        reason: "192.168.1.150 is not bound to lo".to_owned(),
    });
    found
}

#[test]
fn a_bad_night_is_told_with_remedies() {
    let groups = topology(&a_bad_night(), None, now());
    golden("doctor-bad-night.txt", &of_no_version(&to_text(&groups, false, Paint::default())));
    golden(
        "doctor-bad-night-terminal.txt",
        &of_no_version(&to_text(&groups, true, Paint::default())),
    );
    golden("doctor-bad-night.json", &of_no_version(&to_json(&to_node(&groups))));
}

/// Each way to be unwell, alone: `host code result` of the checks that are not.
#[test]
fn each_trouble_is_at_its_host() {
    type Edit = fn(&mut v1::Topology);
    let cases: [(&str, Edit, &[&str]); 8] = [
        (
            "a controller is away",
            |t| t.controllers[1].reachable = false,
            &["cluster controller-reachable Error"],
        ),
        (
            "nobody leads",
            |t| t.controllers[0].role = v1::ControllerRole::Candidate.into(),
            &["cluster controller-leader Error"],
        ),
        (
            "a controller of before",
            |t| t.controllers[0].program_version.clear(),
            &["cluster program-version Warning"],
        ),
        ("no plan answered", |t| t.agents[0].ack = None, &["director/d1 plan-applied Error"]),
        (
            "a plan behind",
            |t| t.agents[0].ack.as_mut().expect("acked").version = Some(plan(11)),
            &["director/d1 plan-applied Warning"],
        ),
        (
            "no intent",
            |t| {
                t.revision = 0;
                t.agents[0].ack = None;
            },
            &[],
        ),
        (
            "a finding",
            |t| {
                let finding = Code::ListenAddress.error("port 80", "x", "y");
                findings_of(t, 2).push(finding);
            },
            &["realserver/web1 listen-address Error"],
        ),
        (
            "a finding beside another",
            |t| {
                let warning = Code::DiskSpace.warning("/var", "x", "y");
                findings_of(t, 1).extend([warning, Code::DiskSpace.error("/srv", "x", "y")]);
            },
            &["director/d2 disk-space Error"],
        ),
    ];
    for (what, edit, expected) in cases {
        let mut found = healthy();
        edit(&mut found);
        let groups = topology(&found, None, now());
        let told: Vec<String> = groups
            .iter()
            .flat_map(|group| group.checks.iter().map(move |check| (group, check)))
            .filter(|(_, check)| check.outcome != Outcome::Well)
            .map(|(group, check)| format!("{} {} {:?}", group.title(), check.code, check.outcome))
            .collect();
        assert_eq!(told, expected, "{what}");
    }
}

/// What nobody has looked at lately is not told to be well.
#[test]
fn doubt_is_not_health() {
    type Edit = fn(&mut v1::Topology);
    let cases: [(&str, Edit, usize); 6] = [
        ("not attached", |t| t.agents[0].attached = false, 0),
        ("a director that is silent", |t| t.agents[0].last_heard = before(62), 0),
        ("nothing told yet", |t| t.agents[0].director = None, 0),
        ("another version", |t| t.agents[0].program_version = "9.9.9".to_owned(), 0),
        ("a real server without evidence", |t| t.evidence.clear(), 2),
        ("one of old evidence", |t| t.evidence[0].age_ms = 61_000, 2),
    ];
    for (what, edit, agent) in cases {
        let mut found = healthy();
        edit(&mut found);
        let group = &topology(&found, None, now())[1 + agent];
        let is_of_host = |code: &str| Code::ALL.iter().any(|known| known.as_str() == code);
        let of_host = group.checks.iter().filter(|check| is_of_host(&check.code));
        assert!(of_host.clone().count() > 5, "{what}");
        assert!(
            of_host.clone().all(|check| check.outcome == Outcome::Unknown),
            "{what}: {group:?}"
        );
    }
}

#[test]
fn a_director_tells_of_itself() {
    let observed = v1::DirectorObserved {
        findings: vec![Code::VipOwner.error("192.168.1.150", "x", "y")],
        ..v1::DirectorObserved::default()
    };
    let found = v1::GetDirectorStatusResponse {
        name: "d1".to_owned(),
        plan: Some(plan(REVISION)),
        controller: String::new(),
        observed: Some(observed),
    };
    let groups = director(&found);
    assert_eq!((count(&groups, Outcome::Error), count(&groups, Outcome::Warning)), (1, 1));
    assert!(groups[0].is_called("d1") && groups[0].is_called("director/d1"));
    assert!(!groups[0].is_called("director") && !groups[0].is_called(""));
}

#[test]
fn own_certificates_are_looked_at() {
    let day = Duration::from_hours(24);
    let files: [(&Path, Result<SystemTime, String>); 4] = [
        (Path::new("/a.pem"), Ok(now() + 15 * day)),
        (Path::new("/b.pem"), Ok(now() + 3 * day)),
        (Path::new("/c.pem"), Ok(now() - day)),
        (Path::new("/d.pem"), Err("cannot read it".to_owned())),
    ];
    let check = certificates(&files, now());
    let told: Vec<_> = check.troubles.iter().map(|t| (t.subject.as_str(), t.severity)).collect();
    let expected =
        [("/b.pem", Outcome::Warning), ("/c.pem", Outcome::Error), ("/d.pem", Outcome::Error)];
    assert_eq!(told, expected);
}

#[test]
fn the_status_points_here() {
    assert_eq!(summary(&[]), None);
    let warning = Code::DiskSpace.warning("/var", "x", "y");
    let error = Code::VipOwner.error("10.0.0.1", "x", "y");
    let told = summary(&[warning.clone(), error, warning]).expect("something");
    assert_eq!(told, "findings: 1 error, 2 warnings: see lvsctl doctor");
}
