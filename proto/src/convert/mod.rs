//! Conversions between wire messages and `fulcrum-model`.
//!
//! From the wire: every bad field of a message is reported at once, each with its path, the value found and the remedy,
//! and what was left out gets the default that the `.proto` files document. To the wire: defaults are written out, so
//! that what is read back says all that is in force. Start reading at [`resource_from_wire`].

mod access;
mod check;
mod command;
mod duration;
mod dynamic_weights;
mod enums;
mod evidence;
mod fields;
mod from_wire;
mod instance;
mod ipvs_settings;
mod key;
mod local_order;
mod notification;
mod plan;
mod pool;
mod restart;
mod to_wire;
mod virtual_server;
mod vrids;
mod vrrp;

pub use access::{from_hex, role_from_wire, role_to_wire, to_hex};
pub use duration::{duration_from_text, duration_to_text, duration_to_wire};
pub use enums::verdict_to_wire;
pub use from_wire::resource_from_wire;
pub use key::{kind_from_wire, kind_to_wire, resource_key_from_wire};
pub use local_order::{
    freeze_to_wire, local_drain_from_wire, local_drain_to_wire, local_order_to_text,
    local_refusal_to_text, local_release_from_wire, local_undrain_from_wire, local_wish_from_wire,
};
pub use notification::event_severity_to_wire;
pub use plan::{
    director_plan_from_objects, director_plan_to_objects, real_server_plan_from_objects,
    real_server_plan_to_objects,
};
pub use to_wire::{hide_secrets, resource_to_watcher, resource_to_wire};
pub use vrids::allot_vrids;

/// A field whose value is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldViolation {
    /// Path of the field in the manifest's spelling: `resources[3].spec.port`.
    pub field: String,
    /// The value found, a colon, and the remedy: `70000: a port is 1 to 65535`.
    pub description: String,
}

impl std::fmt::Display for FieldViolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

/// A message with fields that are not accepted: all of them, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConvertError {
    /// In the order of the message's fields.
    pub violations: Vec<FieldViolation>,
}

impl ConvertError {
    /// The value, or all violations if there are any.
    fn check<T>(value: Option<T>, violations: Vec<FieldViolation>) -> Result<T, Self> {
        match value {
            Some(value) if violations.is_empty() => Ok(value),
            Some(_) | None => Err(Self { violations }),
        }
    }
}

#[cfg(test)]
mod strategies;
#[cfg(test)]
mod tests;
