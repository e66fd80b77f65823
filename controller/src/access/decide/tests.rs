use std::collections::BTreeSet;
use std::time::SystemTime;

use fulcrum_intent::history::Resources;
use fulcrum_model::Revision;
use fulcrum_model::access::{AccessRole, AccessRule, Operators};
use fulcrum_model::resource::{Resource, Spec};

use super::*;

const APPLY: &str = "/fulcrum.v1.IntentService/Apply";
const CONFIRM: &str = "/fulcrum.v1.IntentService/Confirm";
const STATUS: &str = "/fulcrum.v1.TopologyService/GetStatus";
const EVENTS: &str = "/fulcrum.v1.EventService/ListEvents";
const BACKUP: &str = "/fulcrum.v1.ClusterService/Backup";
const TRANSFER: &str = "/fulcrum.v1.ClusterService/TransferLeadership";
const ATTACH: &str = "/fulcrum.v1.AgentService/Attach";
const JOIN: &str = "/fulcrum.v1.AccessService/Join";
const RENEW: &str = "/fulcrum.v1.AccessService/Renew";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const VOTE: &str = "/fulcrum.internal.v1.RaftService/Vote";

fn named(path: &str) -> Caller {
    let identity = format!("spiffe://fulcrum/{path}").parse().expect("it is good");
    let (issuer, addresses) = (Vec::new(), Vec::new());
    Caller::Named { identity, ends: SystemTime::UNIX_EPOCH, issuer, addresses }
}

fn unnamed() -> Caller {
    let fault = Some("its certificate has 2 identities, and must have one".to_owned());
    Caller::Unnamed { holder: Some("d1".to_owned()), fault, ends: SystemTime::UNIX_EPOCH }
}

fn rule(operator: &str, role: AccessRole, sites: &[&str]) -> Resource {
    let name = |text: &str| text.parse().expect("a name");
    let operators = Operators::Named(BTreeSet::from([name(operator)]));
    let sites = sites.iter().map(|site| name(site)).collect();
    Resource {
        name: name(&format!("of-{operator}")),
        labels: [].into(),
        revision: Revision(0),
        spec: Spec::AccessRule(AccessRule { operators, role, sites }),
    }
}

/// What is said to the caller; empty when the call is let in.
fn told(rows: &[Row], path: &str, caller: &Caller, required: bool) -> String {
    let policy = Policy {
        trust_domain: "fulcrum".to_owned(),
        identities_required: required,
        admins: vec!["admin".to_owned()],
    };
    let rules = [
        rule("vera", AccessRole::Viewer, &[]),
        rule("otto", AccessRole::Operator, &["east"]),
        rule("ada", AccessRole::Admin, &["east", "west"]),
    ];
    let resources: Resources = rules.into_iter().map(|rule| (rule.key(), rule)).collect();
    let grants = |operator: &str| Grants::of(operator, &resources, &policy.admins);
    match decide(rows, path, caller, &policy, grants) {
        Ok(()) => String::new(),
        Err(refused) => {
            let status = refused.status();
            format!("{:?}: {}", status.code(), status.message())
        }
    }
}

#[test]
fn who_may_call_what() {
    let (plain, nobody, unnamed) = (Caller::PlainText, Caller::Nobody, unnamed());
    let (d1, web1, c1) = (named("director/d1"), named("realserver/web1"), named("controller/c1"));
    let operators =
        ["admin", "vera", "otto", "ada", "eve"].map(|it| named(&format!("operator/{it}")));
    let [admin, vera, otto, ada, eve] = &operators;
    let everyone: Vec<&Caller> =
        [&plain, &nobody, &unnamed, &d1, &web1, &c1].into_iter().chain(&operators).collect();
    let with_identity: Vec<&Caller> =
        [&plain, &d1, &web1, &c1].into_iter().chain(&operators).collect();
    let cases: [(&[Row], &str, Vec<&Caller>); 13] = [
        (methods::API, APPLY, vec![&plain, admin, vera, otto, ada]),
        (methods::API, STATUS, vec![&plain, admin, vera, otto, ada]),
        (methods::API, EVENTS, vec![&plain, admin, vera, otto, ada]),
        (methods::API, CONFIRM, vec![&plain, admin, otto, ada]),
        // Not she who is admin of some sites.
        (methods::API, BACKUP, vec![&plain, admin]),
        (methods::API, TRANSFER, vec![&plain, admin]),
        (methods::API, ATTACH, vec![&plain, &d1, &web1]),
        (methods::API, JOIN, everyone.clone()),
        (methods::API, HEALTH, everyone.clone()),
        (methods::API, RENEW, with_identity),
        (methods::API, VOTE, vec![]),
        (methods::PEERS, VOTE, vec![&plain, &c1]),
        (methods::PEERS, APPLY, vec![]),
    ];
    for (rows, path, let_in) in cases {
        for caller in &everyone {
            let told = told(rows, path, caller, true);
            let expected = let_in.contains(caller);
            assert_eq!(told.is_empty(), expected, "{path} by {caller:?}: {told}");
        }
        // Where identities are optional, a certificate without one may do what there is; others are held to theirs.
        for caller in &everyone {
            let told = told(rows, path, caller, false);
            let is_known = methods::of(rows, path).is_some();
            let expected = let_in.contains(caller) || (*caller == &unnamed && is_known);
            assert_eq!(told.is_empty(), expected, "{path} by {caller:?}: {told}");
        }
    }
    assert!(told(methods::API, STATUS, eve, false).contains("operator/eve"));
}

#[test]
fn refusals_tell_who_calls_and_what_it_needs() {
    let cases = [
        (
            told(methods::API, APPLY, &named("director/d1"), true),
            "PermissionDenied: director/d1 may not call fulcrum.v1.IntentService/Apply, which is for operator/NAME",
        ),
        (
            told(methods::API, CONFIRM, &named("operator/vera"), true),
            "PermissionDenied: operator/vera is granted viewer, and fulcrum.v1.IntentService/Confirm needs operator: an administrator \
             grants it by an AccessRule",
        ),
        (
            told(methods::API, BACKUP, &named("operator/ada"), true),
            "PermissionDenied: operator/ada is granted admin of east and west, and fulcrum.v1.ClusterService/Backup needs admin of \
             all sites: an administrator grants it by an AccessRule",
        ),
        (
            told(methods::API, STATUS, &named("operator/eve"), true),
            "PermissionDenied: operator/eve is granted nothing, and fulcrum.v1.TopologyService/GetStatus needs viewer: an \
             administrator grants it by an AccessRule",
        ),
        (
            told(methods::API, ATTACH, &unnamed(), true),
            "Unauthenticated: d1 has no identity: its certificate has 2 identities, and must have one; \
             fulcrum.v1.AgentService/Attach needs a certificate that names spiffe://fulcrum/director/NAME or realserver/NAME",
        ),
        (
            told(methods::API, STATUS, &Caller::Nobody, false),
            "Unauthenticated: fulcrum.v1.TopologyService/GetStatus needs a certificate, and none was shown: give yours \
             (--tls-cert, or [tls] of the configuration)",
        ),
        (
            told(methods::API, "/fulcrum.v1.IntentService/Drop", &named("operator/admin"), true),
            "Unimplemented: this controller's release knows no fulcrum.v1.IntentService/Drop",
        ),
    ];
    for (told, expected) in cases {
        assert_eq!(told, expected);
    }
}

#[test]
fn an_agent_is_itself_alone() {
    let agent = |role, name: &str| AgentId { role, name: name.parse().expect("a name") };
    let (director, real_server) = (AgentRole::Director, AgentRole::RealServer);
    let cases = [
        (named("director/d1"), agent(director, "d1"), true),
        (named("director/d1"), agent(director, "d2"), false),
        (named("director/d1"), agent(real_server, "d1"), false),
        (named("realserver/web1"), agent(real_server, "web1"), true),
        (named("realserver/web1"), agent(director, "web1"), false),
        // Only where these are let in at all.
        (Caller::PlainText, agent(director, "d2"), true),
        (unnamed(), agent(director, "d2"), true),
    ];
    for (caller, agent, expected) in cases {
        assert_eq!(may_be(&caller, &agent).is_ok(), expected, "{caller:?} as {agent}");
    }
    assert!(may_speak_for(&named("controller/c1"), "c1").is_ok());
    assert!(may_speak_for(&named("controller/c1"), "c2").is_err());
    assert!(may_speak_for(&Caller::PlainText, "c2").is_ok());
}
