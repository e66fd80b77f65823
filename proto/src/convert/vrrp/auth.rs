//! The HMAC trailer's keys. Nothing here repeats a secret.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use fulcrum_model::vrrp::{AuthHmac, HmacKey, HmacMode};

use crate::convert::duration::duration_to_wire;
use crate::convert::fields::{DurationRule, Fields};
use crate::v1;

/// Most keys: one that signs, and a few on their way in or out.
const MAX_KEYS: usize = 8;
/// Begins a secret in hexadecimal digits, as keepalived writes it.
const HEX: &str = "hex:";
const WINDOW: DurationRule =
    DurationRule { default: None, min: Duration::from_secs(1), max: Duration::from_mins(5) };

pub(super) fn auth_hmac(fields: &mut Fields<'_>, wire: &v1::VrrpAuthHmac) -> Option<AuthHmac> {
    let keys = keys(fields, &wire.keys);
    let active_key = active_key(fields, wire);
    let window = match &wire.window {
        None => Some(None),
        window => fields.duration("window", window.as_ref(), &WINDOW).map(Some),
    };
    let mode = match v1::VrrpHmacMode::try_from(wire.mode) {
        Ok(v1::VrrpHmacMode::Unspecified | v1::VrrpHmacMode::Enforce) => Some(HmacMode::Enforce),
        Ok(v1::VrrpHmacMode::ReceiveOnly) => Some(HmacMode::ReceiveOnly),
        Ok(v1::VrrpHmacMode::Permissive) => Some(HmacMode::Permissive),
        Err(_) => fields.accept("mode", None, wire.mode, "use receive_only, permissive or enforce"),
    };
    Some(AuthHmac { keys: keys?, active_key: active_key?, window: window?, mode: mode? })
}

fn keys(fields: &mut Fields<'_>, wire: &[v1::VrrpHmacKey]) -> Option<Vec<HmacKey>> {
    if wire.is_empty() || wire.len() > MAX_KEYS {
        fields.refuse("keys", wire.len(), format_args!("give 1 to {MAX_KEYS} keys"));
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut keys = Vec::with_capacity(wire.len());
    for (index, wire) in wire.iter().enumerate() {
        let mut fields = fields.within(&format!("keys[{index}]"));
        let id = u8::try_from(wire.id).ok().filter(|id| *id > 0);
        let id = fields.accept("id", id, wire.id, "a key's id is 1 to 255");
        if id.is_some_and(|id| !seen.insert(id)) {
            fields.refuse("id", wire.id, "listed twice; give each key its own id");
        }
        let secret = secret(&mut fields, &wire.secret);
        if let (Some(id), Some(secret)) = (id, secret) {
            keys.extend(HmacKey::new(id, secret));
        }
    }
    (keys.len() == wire.len()).then_some(keys)
}

fn secret(fields: &mut Fields<'_>, text: &str) -> Option<Vec<u8>> {
    let secret = match text.strip_prefix(HEX) {
        None => text.as_bytes().to_vec(),
        Some(digits) => {
            let remedy = "write two hexadecimal digits for each byte after hex:";
            fields.accept("secret", from_hex(digits), "malformed", remedy)?
        }
    };
    let (min, max) = (HmacKey::MIN_BYTES, HmacKey::MAX_BYTES);
    if (min..=max).contains(&secret.len()) {
        return Some(secret);
    }
    let found = format_args!("{} bytes", secret.len());
    fields.refuse("secret", found, format_args!("a secret has {min} to {max} bytes"));
    None
}

/// The key that signs: the one named, or the only one.
fn active_key(fields: &mut Fields<'_>, wire: &v1::VrrpAuthHmac) -> Option<u8> {
    let id = match (wire.active_key, wire.keys.as_slice()) {
        (0, [only]) => only.id,
        (0, _) => {
            let remedy = "name the key that signs, one of the keys' ids";
            return fields.accept("active_key", None, "none", remedy);
        }
        (id, _) => id,
    };
    let known = u8::try_from(id).ok().filter(|_| wire.keys.iter().any(|key| key.id == id));
    fields.accept("active_key", known, id, "name one of the keys' ids")
}

pub(super) fn auth_hmac_to_wire(auth: &AuthHmac) -> v1::VrrpAuthHmac {
    let keys = auth.keys.iter().map(|key| v1::VrrpHmacKey {
        id: u32::from(key.id()),
        secret: secret_to_text(key.secret()),
    });
    let mode = match auth.mode {
        HmacMode::ReceiveOnly => v1::VrrpHmacMode::ReceiveOnly,
        HmacMode::Permissive => v1::VrrpHmacMode::Permissive,
        HmacMode::Enforce => v1::VrrpHmacMode::Enforce,
    };
    v1::VrrpAuthHmac {
        keys: keys.collect(),
        active_key: u32::from(auth.active_key),
        window: auth.window.map(duration_to_wire),
        mode: mode.into(),
    }
}

/// As it was written where that can be told: what is printable and does not begin like the other form is text.
fn secret_to_text(secret: &[u8]) -> String {
    match std::str::from_utf8(secret) {
        Ok(text)
            if !text.starts_with(HEX) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) =>
        {
            text.to_owned()
        }
        Ok(_) | Err(_) => {
            let mut text = HEX.to_owned();
            for byte in secret {
                write!(text, "{byte:02x}").expect("a string takes all");
            }
            text
        }
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
