//! Kinds and keys of resources both ways.

use fulcrum_model::resource::{Kind, ResourceKey};

use crate::v1;
use crate::v1::resource::Spec;

/// `None` when not given or not known to this release.
pub fn kind_from_wire(kind: i32) -> Option<Kind> {
    match v1::Kind::try_from(kind) {
        Ok(v1::Kind::Unspecified) | Err(_) => None,
        Ok(v1::Kind::Site) => Some(Kind::Site),
        Ok(v1::Kind::Director) => Some(Kind::Director),
        Ok(v1::Kind::VrrpInstance) => Some(Kind::VrrpInstance),
        Ok(v1::Kind::RealServer) => Some(Kind::RealServer),
        Ok(v1::Kind::Pool) => Some(Kind::Pool),
        Ok(v1::Kind::VirtualServer) => Some(Kind::VirtualServer),
        Ok(v1::Kind::Handover) => Some(Kind::Handover),
        Ok(v1::Kind::Drain) => Some(Kind::Drain),
        Ok(v1::Kind::Restart) => Some(Kind::Restart),
        Ok(v1::Kind::NotificationPolicy) => Some(Kind::NotificationPolicy),
        Ok(v1::Kind::AccessRule) => Some(Kind::AccessRule),
        Ok(v1::Kind::JoinToken) => Some(Kind::JoinToken),
    }
}

/// As on the wire.
pub fn kind_to_wire(kind: Kind) -> v1::Kind {
    match kind {
        Kind::Site => v1::Kind::Site,
        Kind::Director => v1::Kind::Director,
        Kind::VrrpInstance => v1::Kind::VrrpInstance,
        Kind::RealServer => v1::Kind::RealServer,
        Kind::Pool => v1::Kind::Pool,
        Kind::VirtualServer => v1::Kind::VirtualServer,
        Kind::Handover => v1::Kind::Handover,
        Kind::Drain => v1::Kind::Drain,
        Kind::Restart => v1::Kind::Restart,
        Kind::NotificationPolicy => v1::Kind::NotificationPolicy,
        Kind::AccessRule => v1::Kind::AccessRule,
        Kind::JoinToken => v1::Kind::JoinToken,
    }
}

/// Which resource a message describes, even where other fields of it are bad; `None` when its name or kind is.
pub fn resource_key_from_wire(wire: &v1::Resource) -> Option<ResourceKey> {
    let kind = match wire.spec.as_ref()? {
        Spec::Site(_) => Kind::Site,
        Spec::Director(_) => Kind::Director,
        Spec::VrrpInstance(_) => Kind::VrrpInstance,
        Spec::RealServer(_) => Kind::RealServer,
        Spec::Pool(_) => Kind::Pool,
        Spec::VirtualServer(_) => Kind::VirtualServer,
        Spec::Handover(_) => Kind::Handover,
        Spec::Drain(_) => Kind::Drain,
        Spec::Restart(_) => Kind::Restart,
        Spec::NotificationPolicy(_) => Kind::NotificationPolicy,
        Spec::AccessRule(_) => Kind::AccessRule,
        Spec::JoinToken(_) => Kind::JoinToken,
    };
    Some(ResourceKey { kind, name: wire.metadata.as_ref()?.name.parse().ok()? })
}
