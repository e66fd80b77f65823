//! Channels of notifications that fail.

use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::event::{DeliveryDetails, Details};
use fulcrum_proto::v1::{EventKind, EventSeverity, EventSubjectKind};

use super::{Conditions, Ended, condition, event, told_value, with};
use crate::events::world::World;
use crate::raft::IntentState;

/// A channel that fails is told at once: it was tried more than once by then.
const HOLD: Duration = Duration::ZERO;

pub(super) fn list(world: &World, state: &IntentState, conditions: &mut Conditions) {
    for (key, status) in state.events.channels() {
        if status.failing_since_ms > 0 {
            let text = format!("notifications by {key} fail");
            let failed = channel(world, EventKind::NotificationFailed, key, text, status);
            let key = format!("notification/{key}");
            conditions.insert(key, condition("failing", 9, HOLD, failed));
        }
        let given_up = status.given_up.to_string();
        let key_of_count = format!("given-up/{key}");
        if status.given_up > 0 && told_value(state.events.told(), &key_of_count) != given_up {
            let text = format!("{given_up} messages by {key} were given up");
            let event = channel(world, EventKind::NotificationGivenUp, key, text, status);
            conditions.insert(key_of_count, condition(&given_up, 9, HOLD, event));
        }
    }
}

fn channel(
    world: &World,
    kind: EventKind,
    key: &str,
    text: String,
    status: &v1::NotificationStatus,
) -> v1::Event {
    let what = (kind, EventSeverity::Warning);
    let event = event(world, what, (EventSubjectKind::Notification, key), text);
    let details = DeliveryDetails {
        first_sequence: status.sent_to,
        last_sequence: 0,
        attempts: 0,
        error: status.error.clone(),
    };
    with(event, status.error.clone(), Details::Delivery(details))
}

pub(super) fn ended(world: &World, state: &IntentState, family: &str, key: &str) -> Ended {
    let Some(status) = state.events.channels().get(key) else { return Ended::Gone };
    if family == "given-up" || status.failing_since_ms > 0 {
        return Ended::Unknown;
    }
    let what = (EventKind::NotificationWorks, EventSeverity::Info);
    let text = format!("notifications by {key} work again");
    let about = (EventSubjectKind::Notification, key);
    Ended::Well(Box::new(condition("", 9, HOLD, event(world, what, about, text))))
}
