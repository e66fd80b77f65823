//! What a director tells of a VRRP instance beside its state: what is wrong, and what it rests on.

use fulcrum_proto::v1;

/// What is wrong with an instance at a director that takes part, each with its remedy.
pub(super) fn problems(vrrp: &v1::VrrpObserved) -> Vec<String> {
    let mut problems = Vec::new();
    if !vrrp.faults.is_empty() {
        problems.push(format!("it must not be Active: {}", vrrp.faults.join("; ")));
    }
    for track in vrrp.tracks.iter().filter(|track| !track.required && is_unwell(track)) {
        problems.push(format!("{} is not well: {}", track.target, track.detail));
    }
    for owner in &vrrp.duplicate_owners {
        let v1::DuplicateOwner { address, mac, interface, seen_by, count, .. } = owner;
        let mac = if mac.is_empty() { "an unknown MAC" } else { mac };
        problems.push(format!(
            "{address} has another owner, {mac} on {interface}, seen {count} times by {seen_by}: find it by its MAC \
             and take the address from it"
        ));
    }
    let sync = vrrp.connection_sync.iter().filter(|sync| !sync.detail.is_empty());
    problems.extend(sync.map(|sync| format!("connection synchronisation: {}", sync.detail)));
    problems
}

fn is_unwell(track: &v1::TrackObserved) -> bool {
    match track.state() {
        v1::TrackState::Unwell => true,
        v1::TrackState::Well | v1::TrackState::Pending | v1::TrackState::Unspecified => false,
    }
}

/// Behind the state, for people: priority where it is told, what is waited for, and connection synchronisation.
pub(super) fn details(vrrp: &v1::VrrpObserved) -> Vec<String> {
    let mut details = Vec::new();
    if vrrp.priority > 0 {
        details.push(format!("priority {}", vrrp.priority));
    }
    if !vrrp.waits_for.is_empty() {
        details.push(format!("waits for {}", vrrp.waits_for));
    }
    if let Some(sync) = &vrrp.connection_sync {
        details.extend(match sync.role() {
            v1::SyncRole::Sender => Some("sends connections".to_owned()),
            v1::SyncRole::Receiver if sync.compared => {
                Some(format!("lacks {} connections", sync.missing))
            }
            v1::SyncRole::Receiver => Some("receives connections".to_owned()),
            v1::SyncRole::Unspecified => None,
        });
    }
    details
}

/// An order in force, for people.
pub(super) fn order(instance: &str, order: &v1::Handover) -> String {
    let v1::Handover { to, reason, requested_by, .. } = order;
    let by = if requested_by.is_empty() { "somebody" } else { requested_by };
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    format!("{instance} is handed over to {to} by {by}{reason}")
}
