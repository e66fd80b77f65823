//! Orders that are given at an agent itself, both ways.

use std::time::SystemTime;

use fulcrum_model::local_order::{
    DEFAULT_DURATION, LocalOrder, LocalRelease, LocalWish, MAX_DURATION, MIN_DURATION,
};
use fulcrum_model::{LocalRefusal, Name};

use super::ConvertError;
use super::fields::{DurationRule, Fields};
use crate::v1;

/// Longest name of an owner in bytes.
const MAX_OWNER_BYTES: usize = 63;

const DURATION: DurationRule =
    DurationRule { default: Some(DEFAULT_DURATION), min: MIN_DURATION, max: MAX_DURATION };

/// Reads what is asked for.
///
/// # Errors
/// [`ConvertError`] names every bad field.
pub fn local_wish_from_wire(wire: Option<&v1::LocalOrder>) -> Result<LocalWish, ConvertError> {
    Fields::read(|fields| wish(fields, wire))
}

/// Reads what is asked for, and of which real server.
///
/// # Errors
/// [`ConvertError`] names every bad field.
pub fn local_drain_from_wire(
    real_server: &str,
    wire: Option<&v1::LocalOrder>,
) -> Result<(Name, LocalWish), ConvertError> {
    Fields::read(|fields| {
        let name = fields.name("real_server", real_server, "name the real server");
        let wish = wish(fields, wire);
        Some((name?, wish?))
    })
}

/// Reads who asks for an end.
///
/// # Errors
/// [`ConvertError`] names every bad field.
pub fn local_release_from_wire(
    wire: Option<&v1::LocalRelease>,
) -> Result<LocalRelease, ConvertError> {
    Fields::read(|fields| release(fields, wire))
}

/// Reads who asks for the end of a drain, and of which real server.
///
/// # Errors
/// [`ConvertError`] names every bad field.
pub fn local_undrain_from_wire(
    real_server: &str,
    wire: Option<&v1::LocalRelease>,
) -> Result<(Name, LocalRelease), ConvertError> {
    Fields::read(|fields| {
        let name = fields.name("real_server", real_server, "name the real server");
        let release = release(fields, wire);
        Some((name?, release?))
    })
}

fn wish(fields: &mut Fields<'_>, wire: Option<&v1::LocalOrder>) -> Option<LocalWish> {
    let default = v1::LocalOrder::default();
    let wire = wire.unwrap_or(&default);
    let mut fields = fields.within("order");
    let owner = owner(&mut fields, &wire.owner);
    let reason = if wire.reason.is_empty() {
        fields.accept("reason", None, "none", "say why, for whoever finds the order")
    } else {
        fields.remarks([("reason", &wire.reason)]).map(|[reason]| reason)
    };
    let duration = fields.duration("duration", wire.duration.as_ref(), &DURATION);
    Some(LocalWish { owner: owner?, reason: reason?, duration: duration?, force: wire.force })
}

fn release(fields: &mut Fields<'_>, wire: Option<&v1::LocalRelease>) -> Option<LocalRelease> {
    let default = v1::LocalRelease::default();
    let wire = wire.unwrap_or(&default);
    let owner = owner(&mut fields.within("release"), &wire.owner)?;
    Some(LocalRelease { owner, force: wire.force })
}

fn owner(fields: &mut Fields<'_>, text: &str) -> Option<String> {
    if text.is_empty() {
        return fields.accept("owner", None, "none", "say who you are");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    let is_owner = text.len() <= MAX_OWNER_BYTES && text.chars().all(is_plain);
    let remedy = "use 1 to 63 letters, digits and any of . _ @ + -";
    fields.accept("owner", is_owner.then(|| text.to_owned()), format_args!("{text:?}"), remedy)
}

/// A freeze as it is told.
pub fn freeze_to_wire(order: &LocalOrder, held_edits: u64) -> v1::Freeze {
    v1::Freeze {
        owner: order.owner.clone(),
        reason: order.reason.clone(),
        since: Some(order.since.into()),
        expires_at: Some(order.expires_at.into()),
        held_edits,
    }
}

/// A drain as it is told.
pub fn local_drain_to_wire(real_server: &Name, order: &LocalOrder) -> v1::LocalDrain {
    v1::LocalDrain {
        real_server: real_server.to_string(),
        owner: order.owner.clone(),
        reason: order.reason.clone(),
        since: Some(order.since.into()),
        expires_at: Some(order.expires_at.into()),
    }
}

/// An order in words: `ann until 2026-11-28T03:15:00Z: disk is being replaced`.
pub fn local_order_to_text(order: &LocalOrder) -> String {
    let LocalOrder { owner, reason, expires_at, .. } = order;
    format!("{owner} until {}: {reason}", instant(*expires_at))
}

/// Why an order is not taken, in words with the remedy.
pub fn local_refusal_to_text(refusal: &LocalRefusal) -> String {
    match refusal {
        LocalRefusal::Owned { real_server: None, order } => format!(
            "frozen by {}; ask them, or take it over by force (lvsctl: --force)",
            local_order_to_text(order)
        ),
        LocalRefusal::Owned { real_server: Some(name), order } => format!(
            "{name} is drained by {}; ask them, or take it over by force (lvsctl: --force)",
            local_order_to_text(order)
        ),
        LocalRefusal::Frozen(order) => format!(
            "frozen by {}: a drain would not reach the kernel; thaw first, or set the weight by hand with ipvsadm",
            local_order_to_text(order)
        ),
        LocalRefusal::TooMany => {
            "as many real servers are drained here as may be; undrain some, or drain by intent"
                .to_owned()
        }
    }
}

/// RFC 3339, in whole seconds.
fn instant(time: SystemTime) -> String {
    let time = prost_types::Timestamp::from(time);
    prost_types::Timestamp { nanos: 0, ..time }.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fulcrum_model::local_order::{LocalOrders, Moment};

    use super::*;
    use crate::convert::duration_to_wire;

    fn order(owner: &str, reason: &str, seconds: Option<u64>) -> v1::LocalOrder {
        v1::LocalOrder {
            owner: owner.to_owned(),
            reason: reason.to_owned(),
            duration: seconds.map(|seconds| duration_to_wire(Duration::from_secs(seconds))),
            force: false,
        }
    }

    #[test]
    fn every_bad_field_is_named() {
        let long = "x".repeat(64);
        let cases = [
            (Some(order("ann", "slow", Some(60))), vec![]),
            (Some(order("root@lb-1.example", "slow", None)), vec![]),
            (None, vec!["order.owner: none: say who", "order.reason: none: say why"]),
            (
                Some(order("ann b", "two\nlines", Some(0))),
                vec![
                    "order.owner: \"ann b\"",
                    "order.reason: 9 bytes",
                    "order.duration: 0s: use 1s to 86400s",
                ],
            ),
            (
                Some(order(&long, "slow", Some(86_401))),
                vec!["order.owner", "order.duration: 86401s"],
            ),
        ];
        for (wire, expected) in cases {
            let read = local_wish_from_wire(wire.as_ref());
            let found = read.err().map_or(Vec::new(), |error| error.violations);
            assert_eq!(found.len(), expected.len(), "{wire:?}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.to_string().starts_with(expected), "{found} instead of {expected}");
            }
        }
        let wish = local_wish_from_wire(Some(&order("ann", "slow", None))).expect("valid");
        assert_eq!(wish.duration, DEFAULT_DURATION);
        let drain = local_drain_from_wire("Web 1", None).expect_err("nothing of it is valid");
        assert_eq!(drain.violations.len(), 3, "{drain}");
        let undrain = local_undrain_from_wire("", None).expect_err("nothing of it is valid");
        assert_eq!(undrain.violations.len(), 2, "{undrain}");
        let release = local_release_from_wire(None).expect_err("nobody asks");
        assert_eq!(release.to_string(), "release.owner: none: say who you are");
    }

    #[test]
    fn orders_are_told_in_words() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_834_800_700);
        let now = Moment { wall, up: Duration::ZERO };
        let wish = local_wish_from_wire(Some(&order("ann", "slow disk", None))).expect("valid");
        let mut orders = LocalOrders::default();
        let freeze = orders.freeze(now, &wish).expect("nothing is in the way").clone();
        assert_eq!(local_order_to_text(&freeze), "ann until 2026-11-28T03:15:00Z: slow disk");
        let refusal = orders.thaw(&LocalRelease { owner: "bob".to_owned(), force: false });
        let words = local_refusal_to_text(&refusal.expect_err("it is ann's"));
        assert!(
            words.starts_with("frozen by ann until 2026-11-28T03:15:00Z: slow disk;"),
            "{words}"
        );
        let told = freeze_to_wire(&freeze, 7);
        assert_eq!((told.owner.as_str(), told.held_edits), ("ann", 7));
        assert_eq!(told.expires_at, Some(freeze.expires_at.into()));
    }
}
