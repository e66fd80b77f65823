//! Checks through the VIP both ways.

use std::fmt::Display;

use fulcrum_model::{Check, ProbeKind, ThroughVip};

use crate::convert::fields::Fields;
use crate::v1;

/// `Some(None)` where none is asked for; `None` when refused. `probe` is what the check asks, and `retries` are its own.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn through_vip(
    fields: &mut Fields<'_>,
    check: &v1::Check,
    probe: Option<&ProbeKind>,
    retries: u32,
) -> Option<Option<ThroughVip>> {
    let Some(wire) = &check.through_vip else { return Some(None) };
    let mut is_well = true;
    let mut refuse = |field: &str, found: &dyn Display, remedy: &str| {
        fields.refuse(field, found, remedy);
        is_well = false;
    };
    let own = wire.retries.unwrap_or(retries);
    if wire.retries.is_some() && own > Check::MAX_COUNT {
        refuse("through_vip.retries", &own, "use 0 to 100");
    }
    if let Some(probe) = probe.filter(|probe| !wire.connect_only && !probe.connects()) {
        refuse(
            "through_vip",
            &format_args!("with {}", probe.as_str()),
            "IPVS forwards connections of TCP alone to a chosen real server: use tcp, http, grpc, smtp, redis or mysql, or set \
             connect_only",
        );
    }
    if check.port != 0 && !wire.connect_only {
        refuse(
            "through_vip",
            &format_args!("with port {}", check.port),
            "a check through the VIP goes to the virtual server's port, where the answer may be another: leave port out, or set \
             connect_only",
        );
    }
    is_well.then_some(Some(ThroughVip { retries: own, connect_only: wire.connect_only }))
}

pub(super) fn through_vip_to_wire(through: ThroughVip) -> v1::ThroughVip {
    v1::ThroughVip { retries: Some(through.retries), connect_only: through.connect_only }
}
