//! Arbitrary access rules and join tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_model::access::{AccessRole, AccessRule, Holder, JoinToken, Operators, Part};
use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::sample::select;

use super::name;

pub(super) fn access_rule() -> impl Strategy<Value = AccessRule> {
    let operators =
        prop_oneof![Just(Operators::All), btree_set(name(), 1..4).prop_map(Operators::Named),];
    let role = select(vec![AccessRole::Viewer, AccessRole::Operator, AccessRole::Admin]);
    (operators, role, btree_set(name(), 0..3)).prop_map(|(operators, role, sites)| AccessRule {
        operators,
        role,
        sites,
    })
}

pub(super) fn join_token() -> impl Strategy<Value = JoinToken> {
    let moment = (0_u64..1 << 40, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let addresses = btree_set("[a-z]{1,9}(\\.[a-z]{1,9})?|192\\.168\\.1\\.[1-9]", 1..4);
    (select(Part::ALL.to_vec()), name(), any::<[u8; 32]>(), moment, addresses).prop_map(
        |(part, name, secret_sha256, expires, addresses)| JoinToken {
            addresses: if part == Part::Controller { addresses } else { BTreeSet::new() },
            identity: Holder { part, name },
            secret_sha256,
            expires,
        },
    )
}
