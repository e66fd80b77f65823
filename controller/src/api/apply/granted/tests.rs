use std::time::Duration;

use fulcrum_intent::Intent;
use fulcrum_proto::v1;
use tonic::Code;

use super::*;
use crate::api::apply::confirm::decide_confirm;
use crate::api::apply::decide::{decide, read};
use crate::testing::examples;
use crate::testing::states::take;

fn rule(name: &str, operator: &str, role: v1::AccessRole) -> v1::Resource {
    let rule = v1::AccessRule {
        operators: vec![operator.to_owned()],
        role: role.into(),
        sites: Vec::new(),
    };
    let metadata = Some(v1::Metadata { name: name.to_owned(), ..Default::default() });
    v1::Resource { metadata, spec: Some(v1::resource::Spec::AccessRule(rule)) }
}

fn ask(state: &IntentState, request: &v1::ApplyRequest) -> Decision {
    let intent = Intent { revision: state.revision, resources: state.resources.clone() };
    let ask = read(request, "anna", &intent).expect("each resource is good");
    decide(&ask, &intent, None, std::convert::identity)
}

fn set(resources: Vec<v1::Resource>) -> v1::ApplyRequest {
    v1::ApplyRequest { resources, ..Default::default() }
}

/// The example set with an operator and a viewer.
fn state() -> IntentState {
    let mut state = IntentState::default();
    let mut resources = examples::cluster();
    resources.push(rule("night", "otto", v1::AccessRole::Operator));
    resources.push(rule("looks", "vera", v1::AccessRole::Viewer));
    let Decision::Write(write, _) = ask(&state, &set(resources)) else { panic!("it differs") };
    take(&mut state, 5, *write);
    state
}

/// What becomes of a decision when an identity asks for it: whether it is written, or what is said.
fn told(decision: Decision, identity: &str, state: &IntentState) -> Result<bool, String> {
    let identity = format!("spiffe://fulcrum/{identity}").parse().expect("it is good");
    match guard(decision, Some(&identity), state, &["admin".to_owned()]) {
        Decision::Write(..) => Ok(true),
        Decision::Answer(_) | Decision::Repeated(_) => Ok(false),
        Decision::Refuse(status) => {
            assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
            Err(status.message().to_owned())
        }
    }
}

#[test]
fn a_write_is_judged_by_what_it_changes() {
    let state = state();
    let change = set(vec![examples::web_by_least_connections()]);
    let refused = |part: &str, told: Result<bool, String>| {
        let text = told.expect_err("it may not be written");
        assert!(text.contains(part), "{text}");
    };
    assert_eq!(told(ask(&state, &change), "operator/admin", &state), Ok(true));
    refused(
        "VirtualServer web needs admin of site",
        told(ask(&state, &change), "operator/otto", &state),
    );
    refused("is granted viewer", told(ask(&state, &change), "operator/vera", &state));
    refused("is granted nothing", told(ask(&state, &change), "operator/eve", &state));
    refused("director/d1 may not write", told(ask(&state, &change), "director/d1", &state));
    // To try it out changes nothing.
    let dry = v1::ApplyRequest { validate_only: true, ..change.clone() };
    assert_eq!(told(ask(&state, &dry), "operator/vera", &state), Ok(false));
    // Nobody asks for an identity over plain text.
    let decision = guard(ask(&state, &change), None, &state, &[]);
    assert!(matches!(decision, Decision::Write(..)), "{decision:?}");
    // Nobody raises himself.
    let raise = set(vec![rule("night", "otto", v1::AccessRole::Admin)]);
    refused("AccessRule night needs admin", told(ask(&state, &raise), "operator/otto", &state));
    // An order of the day is an operator's.
    let order = v1::Drain { real_server: "web1".to_owned(), ..Default::default() };
    let metadata = Some(v1::Metadata { name: "now".to_owned(), ..Default::default() });
    let order = v1::Resource { metadata, spec: Some(v1::resource::Spec::Drain(order)) };
    let order = set(vec![order]);
    assert_eq!(told(ask(&state, &order), "operator/otto", &state), Ok(true));
    refused("Drain now needs operator", told(ask(&state, &order), "operator/vera", &state));
}

#[test]
fn who_may_not_make_a_change_may_not_confirm_it() {
    let mut state = state();
    let confirm_within = prost_types::Duration::try_from(Duration::from_mins(1)).ok();
    let change = set(vec![examples::web_by_least_connections()]);
    let change = v1::ApplyRequest { confirm_within, ..change };
    let Decision::Write(write, _) = ask(&state, &change) else { panic!("it differs") };
    take(&mut state, 7, *write);
    let confirm = v1::ConfirmRequest { revision: 7, ..Default::default() };
    let confirm = || decide_confirm(&confirm, "otto", &state);
    let text = told(confirm(), "operator/otto", &state).expect_err("it was an administrator's");
    assert!(text.contains("VirtualServer web needs admin"), "{text}");
    assert_eq!(told(confirm(), "operator/admin", &state), Ok(true));
}
