//! Access rules and join tokens both ways.

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_model::Name;
use fulcrum_model::access::{AccessRole, AccessRule, Holder, JoinToken, Operators, Part};

use super::fields::Fields;
use crate::v1;

/// Stands for all operators.
const ALL: &str = "*";
/// Most operators, sites and addresses that are named.
const MAX_OPERATORS: usize = 256;
const MAX_SITES: usize = 64;
const MAX_ADDRESSES: usize = 16;
/// Longest DNS name in bytes.
const MAX_ADDRESS_BYTES: usize = 253;

pub(super) fn access_rule(fields: &mut Fields<'_>, wire: &v1::AccessRule) -> Option<AccessRule> {
    let operators = operators(fields, &wire.operators);
    let role = role_from_wire(wire.role);
    let role = fields.accept("role", role, wire.role, "use viewer, operator or admin");
    let sites = names(fields, "sites", &wire.sites, MAX_SITES, "name the site");
    Some(AccessRule { operators: operators?, role: role?, sites: sites? })
}

fn operators(fields: &mut Fields<'_>, wire: &[String]) -> Option<Operators> {
    if wire.is_empty() {
        fields.refuse("operators", "none", "name operators as their certificates do, or \"*\"");
        return None;
    }
    let named: Vec<String> = wire.iter().filter(|name| *name != ALL).cloned().collect();
    let names = names(fields, "operators", &named, MAX_OPERATORS, "name the operator")?;
    let is_all = named.len() < wire.len();
    Some(if is_all { Operators::All } else { Operators::Named(names) })
}

fn names(
    fields: &mut Fields<'_>,
    field: &str,
    wire: &[String],
    most: usize,
    missing: &str,
) -> Option<BTreeSet<Name>> {
    if wire.len() > most {
        fields.refuse(field, wire.len(), format_args!("use at most {most}"));
        return None;
    }
    let read: Vec<Option<Name>> = wire
        .iter()
        .enumerate()
        .map(|(index, name)| fields.name(&format!("{field}[{index}]"), name, missing))
        .collect();
    read.into_iter().collect()
}

/// None when not given or not known to this release.
pub fn role_from_wire(wire: i32) -> Option<AccessRole> {
    match v1::AccessRole::try_from(wire) {
        Ok(v1::AccessRole::Unspecified) | Err(_) => None,
        Ok(v1::AccessRole::Viewer) => Some(AccessRole::Viewer),
        Ok(v1::AccessRole::Operator) => Some(AccessRole::Operator),
        Ok(v1::AccessRole::Admin) => Some(AccessRole::Admin),
    }
}

/// As on the wire.
pub fn role_to_wire(role: AccessRole) -> v1::AccessRole {
    match role {
        AccessRole::Viewer => v1::AccessRole::Viewer,
        AccessRole::Operator => v1::AccessRole::Operator,
        AccessRole::Admin => v1::AccessRole::Admin,
    }
}

pub(super) fn access_rule_to_wire(rule: &AccessRule) -> v1::AccessRule {
    v1::AccessRule {
        operators: match &rule.operators {
            Operators::All => vec![ALL.to_owned()],
            Operators::Named(names) => names.iter().map(ToString::to_string).collect(),
        },
        role: role_to_wire(rule.role).into(),
        sites: rule.sites.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn join_token(fields: &mut Fields<'_>, wire: &v1::JoinToken) -> Option<JoinToken> {
    let identity = match wire.identity.parse::<Holder>() {
        Ok(identity) => Some(identity),
        Err(error) => {
            fields.refuse("identity", format_args!("{:?}", wire.identity), error);
            None
        }
    };
    let remedy =
        "give the SHA-256 of the secret, 64 hexadecimal digits; `lvsctl token create` does";
    let digest = from_hex(&wire.secret_sha256);
    let digest = fields.accept("secret_sha256", digest, "no such digest", remedy);
    let expires = wire.expires.and_then(|at| {
        let seconds = u64::try_from(at.seconds).ok()?;
        let nanos = u32::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        Some(Duration::new(seconds, nanos))
    });
    let expires = fields.accept("expires", expires, "none", "say when it ends");
    let addresses = addresses(fields, identity.as_ref(), &wire.addresses);
    Some(JoinToken {
        identity: identity?,
        secret_sha256: digest?,
        expires: expires?,
        addresses: addresses?,
    })
}

fn addresses(
    fields: &mut Fields<'_>,
    identity: Option<&Holder>,
    wire: &[String],
) -> Option<BTreeSet<String>> {
    let is_controller = identity.is_none_or(|holder| holder.part == Part::Controller);
    if !is_controller && !wire.is_empty() {
        fields.refuse("addresses", wire.len(), "only a controller's certificate bears addresses");
        return None;
    }
    let is_named = identity.is_some() && is_controller;
    if wire.len() > MAX_ADDRESSES || (is_named && wire.is_empty()) {
        let remedy = format_args!("give 1 to {MAX_ADDRESSES} DNS names and IP addresses");
        fields.refuse("addresses", wire.len(), remedy);
        return None;
    }
    let is_good = |text: &str| {
        text.parse::<std::net::IpAddr>().is_ok()
            || ((1..=MAX_ADDRESS_BYTES).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)))
    };
    if let Some(bad) = wire.iter().find(|text| !is_good(text)) {
        fields.refuse("addresses", format_args!("{bad:?}"), "this is no DNS name or IP address");
        return None;
    }
    Some(wire.iter().cloned().collect())
}

pub(super) fn join_token_to_wire(token: &JoinToken) -> v1::JoinToken {
    v1::JoinToken {
        identity: token.identity.to_string(),
        secret_sha256: to_hex(&token.secret_sha256),
        expires: Some(prost_types::Timestamp {
            seconds: i64::try_from(token.expires.as_secs()).unwrap_or(i64::MAX),
            nanos: token.expires.subsec_nanos().cast_signed(),
        }),
        addresses: token.addresses.iter().cloned().collect(),
    }
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// 32 bytes from 64 hexadecimal digits.
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
