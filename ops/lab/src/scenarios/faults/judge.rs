//! What is told of each fault, and what must hold.

use super::{Both, Fault};
use crate::contest::{count, millis};
use crate::findings::Findings;

/// Longest time that a VIP stays on a host whose program is gone or stopped, with adverts of 100 ms: the kernel's
/// lifetime of 3 s, its timer of about 1 s, and what the lab's one processor adds.
const WITHDRAWN_MS: f64 = 4_500.0;
/// Longest time of two owners after a segment is whole again: the higher priority's next advert, on a busy processor.
const HEALED_S: f64 = 0.3;
/// Longest time without an owner after another program removed the VIP.
const BACK_MS: f64 = 1_500.0;
/// Longest time until the status names a second owner of the VIP.
const TOLD_MS: f64 = 10_000.0;

/// A director whose program was killed must leave the VIP. keepalived's parent starts its child again at once.
pub(super) fn left(fault: &Fault, both: &Both, findings: &mut Findings) {
    let name = fault.name;
    findings.figure(format!("withdrawn_ms_{name}"), both.ours.withdrawn_ms());
    findings.at_most(&format!("withdrawn_ms_{name}"), both.ours.withdrawn_ms(), WITHDRAWN_MS);
}

/// The same where nobody starts the program again: keepalived's VIP stays.
pub(super) fn left_sooner(fault: &Fault, both: &Both, findings: &mut Findings) {
    left(fault, both, findings);
    let two = both.ours.whole.two_owners();
    let their_two = both.theirs.as_ref().map(|theirs| theirs.whole.two_owners());
    let their_two = their_two.unwrap_or_default();
    findings.require(
        two < their_two,
        format!("{}: two owners for {two:.2?}, less than keepalived's {their_two:.2?}", fault.name),
    );
}

/// After a partition one owner remains.
pub(super) fn healed(fault: &Fault, both: &Both, findings: &mut Findings) {
    failures(fault, both, findings);
    for (prefix, outcome) in both.sides() {
        let failed = count(outcome.client_after.failed());
        findings.figure(format!("{prefix}failed_after_{}", fault.name), failed);
    }
    let two = both.ours.whole.two_owners().as_secs_f64();
    findings.at_most(&format!("two_owners_s_{}", fault.name), two, HEALED_S);
    let last = both.ours.whole.questions.last().map(|question| question.owners.clone());
    findings.require(
        last == Some(vec![both.ours.macs[0]]),
        format!("{}: the first director is the owner again, alone", fault.name),
    );
}

/// A VIP that was removed comes back.
pub(super) fn back(fault: &Fault, both: &Both, findings: &mut Findings) {
    failures(fault, both, findings);
    for (prefix, outcome) in both.sides() {
        let unowned = millis(outcome.whole.unowned());
        findings.figure(format!("{prefix}unowned_ms_{}", fault.name), unowned);
    }
    let unowned = millis(both.ours.whole.unowned());
    findings.at_most(&format!("unowned_ms_{}", fault.name), unowned, BACK_MS);
}

/// Nothing moves, and no request fails.
pub(super) fn untouched(fault: &Fault, both: &Both, findings: &mut Findings) {
    unmoved(fault, both, findings);
    findings.at_most(&format!("failed_{}", fault.name), count(both.ours.client.failed()), 0.0);
}

/// Nothing moves. Requests may fail all the same: Tomcat counts some of its own timeouts by the wall clock.
pub(super) fn unmoved(fault: &Fault, both: &Both, findings: &mut Findings) {
    failures(fault, both, findings);
    let changes = both.ours.whole.changes();
    findings.at_most(&format!("changes of owner, {}", fault.name), count(changes), 0.0);
}

/// What cannot be withstood is told all the same.
pub(super) fn told(fault: &Fault, both: &Both, findings: &mut Findings) {
    failures(fault, both, findings);
}

/// A problem names the second owner and where it is.
pub(super) fn noticed(fault: &Fault, both: &Both, findings: &mut Findings) {
    let told_ms = both.ours.told.map(millis);
    if let Some(told_ms) = told_ms {
        findings.figure(format!("told_ms_{}", fault.name), told_ms);
    }
    findings.require(
        told_ms.is_some_and(|told_ms| told_ms <= TOLD_MS),
        format!("{}: lvsctl status names the VIP and the other's MAC in time", fault.name),
    );
}

fn failures(fault: &Fault, both: &Both, findings: &mut Findings) {
    for (prefix, outcome) in both.sides() {
        findings.figure(format!("{prefix}failed_{}", fault.name), count(outcome.client.failed()));
    }
}
