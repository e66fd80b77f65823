//! Arbitrary restarts by order.

use std::time::Duration;

use fulcrum_model::resource::Restart;
use fulcrum_model::{RestartEvidence, RestartPlan, RestartState};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::name;

pub(super) fn restart() -> impl Strategy<Value = Restart> {
    (name(), "[ -~]{0,9}", "[a-z/]{0,9}", name(), any::<bool>()).prop_map(
        |(real_server, reason, requested_by, action, even_if_serving)| Restart {
            real_server,
            reason,
            requested_by,
            action,
            even_if_serving,
        },
    )
}

pub(super) fn plan() -> impl Strategy<Value = Option<RestartPlan>> {
    let plan = ("[a-z]{1,9}@[0-9]{1,3}", name(), any::<bool>())
        .prop_map(|(id, action, even_if_serving)| RestartPlan { id, action, even_if_serving });
    option::of(plan)
}

pub(super) fn evidence() -> impl Strategy<Value = Option<RestartEvidence>> {
    let state = select(vec![
        RestartState::Waiting,
        RestartState::Running,
        RestartState::Done,
        RestartState::Failed,
    ]);
    let moment = (0_u64..1 << 40, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let told = (".{0,9}", state, ".{0,9}", option::of(moment)).prop_map(
        |(id, state, detail, finished_at)| RestartEvidence { id, state, detail, finished_at },
    );
    option::of(told)
}
