//! Restarts by order both ways: the resource, its part in a plan, and what the agent tells.

use std::time::Duration;

use fulcrum_model::resource::Restart;
use fulcrum_model::{Name, RestartEvidence, RestartPlan, RestartState};

use super::fields::Fields;
use crate::v1;

pub(super) fn restart(fields: &mut Fields<'_>, wire: &v1::Restart) -> Option<Restart> {
    let missing = "name the real server whose program is restarted";
    let real_server = fields.name("real_server", &wire.real_server, missing);
    let action = action(fields, &wire.action);
    let remarks = fields
        .remarks([("reason", wire.reason.as_str()), ("requested_by", wire.requested_by.as_str())]);
    let [reason, requested_by] = remarks?;
    Some(Restart {
        real_server: real_server?,
        reason,
        requested_by,
        action: action?,
        even_if_serving: wire.even_if_serving,
    })
}

fn action(fields: &mut Fields<'_>, text: &str) -> Option<Name> {
    let text = if text.is_empty() { RestartPlan::DEFAULT_ACTION } else { text };
    fields.name("action", text, "name the action")
}

pub(super) fn restart_to_wire(restart: &Restart) -> v1::Restart {
    v1::Restart {
        real_server: restart.real_server.to_string(),
        reason: restart.reason.clone(),
        requested_by: restart.requested_by.clone(),
        action: restart.action.to_string(),
        even_if_serving: restart.even_if_serving,
    }
}

/// `Some(None)` when nothing is ordered.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn plan(
    fields: &mut Fields<'_>,
    wire: Option<&v1::RestartPlan>,
) -> Option<Option<RestartPlan>> {
    let Some(wire) = wire else { return Some(None) };
    let mut fields = fields.within("restart");
    let id = Some(&wire.id).filter(|id| !id.is_empty()).cloned();
    let id = fields.accept("id", id, "none", "an order has an identity");
    let action = fields.name("action", &wire.action, "name the action");
    Some(Some(RestartPlan { id: id?, action: action?, even_if_serving: wire.even_if_serving }))
}

pub(super) fn plan_to_wire(plan: &RestartPlan) -> v1::RestartPlan {
    v1::RestartPlan {
        id: plan.id.clone(),
        action: plan.action.to_string(),
        even_if_serving: plan.even_if_serving,
    }
}

/// `Some(None)` when nothing was told.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn evidence(
    fields: &mut Fields<'_>,
    wire: Option<&v1::RestartEvidence>,
) -> Option<Option<RestartEvidence>> {
    let Some(wire) = wire else { return Some(None) };
    let mut fields = fields.within("restart");
    let state = state(&mut fields, wire.state);
    let finished_at = match &wire.finished_at {
        None => Some(None),
        Some(at) => {
            let read = moment(*at).map(Some);
            fields.accept("finished_at", read, format_args!("{}s", at.seconds), "a time after 1970")
        }
    };
    Some(Some(RestartEvidence {
        id: wire.id.clone(),
        state: state?,
        detail: wire.detail.clone(),
        finished_at: finished_at?,
    }))
}

pub(super) fn evidence_to_wire(evidence: &RestartEvidence) -> v1::RestartEvidence {
    v1::RestartEvidence {
        id: evidence.id.clone(),
        state: state_to_wire(evidence.state).into(),
        detail: evidence.detail.clone(),
        finished_at: evidence.finished_at.map(|at| prost_types::Timestamp {
            seconds: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            nanos: at.subsec_nanos().cast_signed(),
        }),
    }
}

fn moment(at: prost_types::Timestamp) -> Option<Duration> {
    let (seconds, nanos) = (u64::try_from(at.seconds).ok()?, u32::try_from(at.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

fn state(fields: &mut Fields<'_>, found: i32) -> Option<RestartState> {
    let state = match v1::RestartState::try_from(found) {
        Ok(v1::RestartState::Unspecified) | Err(_) => None,
        Ok(v1::RestartState::Waiting) => Some(RestartState::Waiting),
        Ok(v1::RestartState::Running) => Some(RestartState::Running),
        Ok(v1::RestartState::Done) => Some(RestartState::Done),
        Ok(v1::RestartState::Failed) => Some(RestartState::Failed),
    };
    fields.accept("state", state, found, "use waiting, running, done or failed")
}

fn state_to_wire(state: RestartState) -> v1::RestartState {
    match state {
        RestartState::Waiting => v1::RestartState::Waiting,
        RestartState::Running => v1::RestartState::Running,
        RestartState::Done => v1::RestartState::Done,
        RestartState::Failed => v1::RestartState::Failed,
    }
}
