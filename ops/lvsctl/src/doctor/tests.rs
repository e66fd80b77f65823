//! The classic cluster and what may be wrong with its hosts, as text.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_proto::finding::Code;
use fulcrum_proto::v1;

use super::versions::VERSION;
use super::{
    Answer, Answers, Group, Outcome, certificates, count, director, real_server, summary, to_node,
    to_text,
};
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
        ..v1::ControllerStatus::default()
    }
}

/// What each controller answers that is not silent, in the words of the topology that was asked for.
fn answers(topology: &v1::Topology) -> Answers {
    let of = |controller: &v1::ControllerStatus| {
        let answer = if controller.reachable {
            Answer::Told(topology.controllers.clone())
        } else {
            Answer::Silent("Connection refused (os error 111)".to_owned())
        };
        (controller.name.clone(), answer)
    };
    topology.controllers.iter().map(of).collect()
}

fn topology(found: &v1::Topology) -> Vec<Group> {
    super::topology(found, &answers(found), None, now())
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
    let groups = topology(&healthy());
    assert_eq!(count(&groups, Outcome::Error) + count(&groups, Outcome::Warning), 0);
    golden("doctor-healthy.txt", &to_text(&groups, false, Paint::default()));
}

fn a_bad_night() -> v1::Topology {
    let mut found = healthy();
    found.controllers[2].reachable = false;
    found.controllers[1].program_version = "0.0.9".to_owned();
    found.controllers[0].findings = vec![Code::DiskSpace.error(
        "/var/lib/fulcrum/controller",
        "its disk is full",
        "free space",
    )];
    let unheard = "the clock of controller c3 was not compared with: it is out of reach";
    found.controllers[0].unchecked = vec![Code::ClockSkew.unchecked(unheard)];
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
    let groups = topology(&a_bad_night());
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
    let cases: [(&str, Edit, &[&str]); 12] = [
        (
            "a controller is away",
            |t| t.controllers[1].reachable = false,
            &[
                "controller/c2 controller-reachable Error",
                "controller/c2 program-version Unknown",
                "controller/c2 disk-space Unknown",
                "controller/c2 certificate Unknown",
                "controller/c2 clock-skew Unknown",
            ],
        ),
        (
            "nobody leads",
            |t| t.controllers[0].role = v1::ControllerRole::Candidate.into(),
            &["cluster controller-leader Error"],
        ),
        (
            "a controller of before",
            |t| t.controllers[0].program_version.clear(),
            &[
                "controller/c1 program-version Warning",
                "controller/c1 disk-space Unknown",
                "controller/c1 certificate Unknown",
                "controller/c1 clock-skew Unknown",
            ],
        ),
        (
            "a controller that has found something",
            |t| {
                let finding = Code::DiskSpace.error("/var/lib/fulcrum", "x", "y");
                t.controllers[2].findings.push(finding);
                t.controllers[2].unchecked.push(Code::ClockSkew.unchecked("x"));
            },
            &["controller/c3 disk-space Error", "controller/c3 clock-skew Unknown"],
        ),
        (
            "what an agent could not look at",
            |t| {
                let seen = t.agents[2].real_server.as_mut().expect("it told");
                seen.unchecked = vec![Code::TomcatPort.unchecked("x")];
            },
            &["realserver/web1 tomcat-port Unknown"],
        ),
        (
            "alone at its controller",
            |t| t.agents[1].controller = "c2".to_owned(),
            &["director/d2 agent-fresh Unknown"],
        ),
        (
            "whose controller's clock is an hour ahead",
            |t| {
                t.agents.extend([agent("director", "d3"), agent("director", "d4")]);
                for of_c2 in &mut t.agents[3..] {
                    of_c2.controller = "c2".to_owned();
                    of_c2.director = Some(v1::DirectorObserved::default());
                    of_c2.last_heard = Some((now() + Duration::from_hours(1)).into());
                }
            },
            &[],
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
        let groups = topology(&found);
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
        let group = &topology(&found)[4 + agent];
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
fn a_real_servers_agent_tells_of_itself() {
    let observed = v1::RealServerObserved {
        findings: vec![Code::ListenAddress.error("port 80", "x", "y")],
        unchecked: vec![Code::TomcatPort.unchecked("web1: nobody listens on port 80")],
        ..v1::RealServerObserved::default()
    };
    let found = v1::GetRealServerStatusResponse {
        name: "web1".to_owned(),
        controller: "c1".to_owned(),
        observed: Some(observed),
        ..v1::GetRealServerStatusResponse::default()
    };
    let groups = real_server(&found);
    let not_well = groups[0].checks.iter().filter(|check| check.outcome != Outcome::Well);
    let told: Vec<_> = not_well.map(|check| (check.code.as_str(), check.outcome)).collect();
    let expected = [
        ("plan-applied", Outcome::Error),
        ("listen-address", Outcome::Error),
        ("tomcat-port", Outcome::Unknown),
    ];
    assert_eq!(told, expected);
    assert!(groups[0].is_called("realserver/web1"));
}

/// Who reaches a controller decides how bad it is: lvsctl and the others are asked apart.
#[test]
fn reach_is_told_from_both_sides() {
    type Edit = fn(&mut v1::Topology, &mut Answers);
    let cases: [(&str, Edit, Outcome, &str); 6] = [
        ("all reach it", |_, _| {}, Outcome::Well, ""),
        (
            "lvsctl alone does not",
            |_, answers| {
                answers.insert("c3".to_owned(), Answer::Silent("timed out".to_owned()));
            },
            Outcome::Warning,
            "it does not answer lvsctl (timed out), and the other controllers reach it",
        ),
        (
            "nobody does",
            |t, answers| {
                t.controllers[2].reachable = false;
                *answers = self::answers(t);
            },
            Outcome::Error,
            "it does not answer lvsctl (Connection refused (os error 111)), and controller c1, controller c2 do not \
             reach it either",
        ),
        (
            "one of the others does not",
            |t, answers| {
                let mut known = t.controllers.clone();
                known[2].reachable = false;
                answers.insert("c2".to_owned(), Answer::Told(known));
            },
            Outcome::Error,
            "it answers lvsctl, but controller c2 does not reach it",
        ),
        (
            "nobody was asked beside",
            |t, answers| {
                t.controllers[2].reachable = false;
                answers.clear();
            },
            Outcome::Error,
            "the controller that was asked does not reach it",
        ),
        (
            "it has its hands full",
            |_, answers| {
                answers.insert("c3".to_owned(), Answer::Told(Vec::new()));
            },
            Outcome::Well,
            "",
        ),
    ];
    for (what, edit, outcome, expected) in cases {
        let mut found = healthy();
        let mut answers = answers(&found);
        edit(&mut found, &mut answers);
        let groups = super::topology(&found, &answers, None, now());
        let (c3, others): (Vec<&Group>, Vec<&Group>) = groups
            .iter()
            .filter(|group| group.role == "controller")
            .partition(|group| group.name == "c3");
        let check = &c3[0].checks[0];
        assert_eq!(
            (check.code.as_str(), check.outcome),
            ("controller-reachable", outcome),
            "{what}"
        );
        let told = check.troubles.first().map_or("", |trouble| trouble.found.as_str());
        assert_eq!(told, expected, "{what}");
        let mut others = others.iter().flat_map(|group| &group.checks);
        assert!(others.all(|check| check.outcome == Outcome::Well), "{what}");
    }
}

#[test]
fn the_cluster_is_all_controllers() {
    let groups = topology(&healthy());
    let called = |word: &str| {
        let called = groups.iter().filter(|group| group.is_called(word));
        called.map(Group::title).collect::<Vec<_>>()
    };
    let all = ["cluster", "controller/c1", "controller/c2", "controller/c3"];
    assert_eq!(called("cluster"), all);
    assert_eq!(called("c2"), ["controller/c2"]);
    assert_eq!(called("controller/c2"), ["controller/c2"]);
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
