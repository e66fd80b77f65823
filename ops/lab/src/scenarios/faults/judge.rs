//! What is told of each fault, and what must hold.

use super::{Fault, Outcome};
use crate::contest::{count, millis};
use crate::findings::Findings;

/// Longest time that a VIP stays on a host whose program is gone or stopped, with adverts of 100 ms: the kernel's
/// lifetime of 3 s, its timer of about 1 s, and what the lab's one processor adds.
const WITHDRAWN_MS: f64 = 4_500.0;
/// Longest time of two owners after a segment is whole again: the higher priority's next advert, on a busy processor.
const HEALED_S: f64 = 0.3;
/// Longest time without an owner after another program removed the VIP.
const BACK_MS: f64 = 1_500.0;

/// A director whose program was killed must leave the VIP. keepalived's parent starts its child again at once.
pub(super) fn left(fault: &Fault, ours: &Outcome, _: &Outcome, findings: &mut Findings) {
    let name = fault.name;
    findings.figure(format!("withdrawn_ms_{name}"), ours.withdrawn_ms());
    findings.at_most(&format!("withdrawn_ms_{name}"), ours.withdrawn_ms(), WITHDRAWN_MS);
}

/// The same where nobody starts the program again: keepalived's VIP stays.
pub(super) fn left_sooner(
    fault: &Fault,
    ours: &Outcome,
    theirs: &Outcome,
    findings: &mut Findings,
) {
    left(fault, ours, theirs, findings);
    let (two, their_two) = (ours.whole.two_owners(), theirs.whole.two_owners());
    findings.require(
        two < their_two,
        format!("{}: two owners for {two:.2?}, less than keepalived's {their_two:.2?}", fault.name),
    );
}

/// After a partition one owner remains.
pub(super) fn healed(fault: &Fault, ours: &Outcome, theirs: &Outcome, findings: &mut Findings) {
    failures(fault, ours, theirs, findings);
    let two = ours.whole.two_owners().as_secs_f64();
    findings.at_most(&format!("two_owners_s_{}", fault.name), two, HEALED_S);
    let last = ours.whole.questions.last().map(|question| question.owners.clone());
    findings.require(
        last == Some(vec![ours.macs[0]]),
        format!("{}: the first director is the owner again, alone", fault.name),
    );
}

/// A VIP that was removed comes back.
pub(super) fn back(fault: &Fault, ours: &Outcome, theirs: &Outcome, findings: &mut Findings) {
    failures(fault, ours, theirs, findings);
    for (prefix, outcome) in [("", ours), ("keepalived_", theirs)] {
        let unowned = millis(outcome.whole.unowned());
        findings.figure(format!("{prefix}unowned_ms_{}", fault.name), unowned);
    }
    let unowned = millis(ours.whole.unowned());
    findings.at_most(&format!("unowned_ms_{}", fault.name), unowned, BACK_MS);
}

/// Nothing moves.
pub(super) fn unmoved(fault: &Fault, ours: &Outcome, theirs: &Outcome, findings: &mut Findings) {
    failures(fault, ours, theirs, findings);
    findings.at_most(&format!("failed_{}", fault.name), count(ours.client.failed()), 0.0);
    let changes = ours.whole.changes();
    findings.at_most(&format!("changes of owner, {}", fault.name), count(changes), 0.0);
}

/// What cannot be withstood is told all the same.
pub(super) fn told(fault: &Fault, ours: &Outcome, theirs: &Outcome, findings: &mut Findings) {
    failures(fault, ours, theirs, findings);
}

fn failures(fault: &Fault, ours: &Outcome, theirs: &Outcome, findings: &mut Findings) {
    for (prefix, outcome) in [("", ours), ("keepalived_", theirs)] {
        findings.figure(format!("{prefix}failed_{}", fault.name), count(outcome.client.failed()));
    }
}
