//! Follows Raft: what it applies becomes plans, who leads becomes health and status.

use std::sync::Arc;

use fulcrum_intent::Intent;
use fulcrum_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::api::{health, revisions};
use crate::raft::{IntentState, Leadership, Role};
use crate::sessions::{Hub, Planned};

/// What the sessions plan from, at this state of the intent.
pub(super) fn plan(state: &IntentState, before: Option<&Planned>) -> Planned {
    let intent = Intent { revision: state.revision, resources: state.resources.clone() };
    let traceparent = state.last_traceparent.clone();
    let mut planned =
        Planned::new(state.cluster_id.clone(), state.incarnation, intent, traceparent, before);
    planned.unconfirmed = revisions::unconfirmed(state);
    planned
}

/// Hands each new state of the intent to the hub and the sessions, until Raft is gone.
pub(super) async fn intent(
    mut states: watch::Receiver<Arc<IntentState>>,
    hub: Arc<Hub>,
    plans: watch::Sender<Arc<Planned>>,
) {
    states.mark_changed();
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        let known = hub.planned();
        // What happened is a part of the state, too, and makes no plan.
        if (known.version.revision, known.version.incarnation)
            == (state.revision.0, state.incarnation)
        {
            continue;
        }
        drop(known);
        let (hub, plans) = (Arc::clone(&hub), plans.clone());
        // On a thread of its own: a large intent takes a while, and evidence must not wait for it.
        let planned = tokio::task::spawn_blocking(move || {
            let before = hub.planned();
            let planned = Arc::new(plan(&state, Some(&before)));
            if planned.version == before.version {
                return;
            }
            tracing::info!(
                revision = planned.version.revision,
                resources = planned.intent.resources.len(),
                agents = planned.named.len(),
                "intent applied"
            );
            // Whoever learns of the revision from the hub finds its agents welcome.
            plans.send_replace(Arc::clone(&planned));
            hub.intent_changed(planned);
        });
        if let Err(error) = planned.await {
            tracing::error!(%error, "planning broke off; please report it");
        }
    }
}

/// Tells health and the hub who leads, until this controller stops.
pub(super) async fn leadership(
    mut leadership: watch::Receiver<Leadership>,
    hub: Arc<Hub>,
    reporter: HealthReporter,
    stopping: CancellationToken,
) {
    let mut told = None;
    loop {
        let (role, is_serving) = {
            let now = leadership.borrow_and_update();
            (role_to_wire(now.role), now.leader_id.is_some())
        };
        if told != Some((role, is_serving)) {
            hub.set_my_role(role);
            health::report(&reporter, is_serving).await;
            told = Some((role, is_serving));
        }
        let changed = tokio::select! {
            () = stopping.cancelled() => break,
            changed = leadership.changed() => changed,
        };
        if changed.is_err() {
            break;
        }
    }
    health::report(&reporter, false).await;
}

fn role_to_wire(role: Role) -> v1::ControllerRole {
    match role {
        Role::Learner => v1::ControllerRole::Learner,
        Role::Follower => v1::ControllerRole::Follower,
        Role::Candidate => v1::ControllerRole::Candidate,
        Role::Leader => v1::ControllerRole::Leader,
        Role::Stopped => v1::ControllerRole::Unspecified,
    }
}
