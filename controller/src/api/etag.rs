//! What tells whether a resource has changed since it was read. Pure.

use fulcrum_model::Revision;
use fulcrum_proto::v1;

use crate::raft::IntentState;

/// Of a resource that a revision changed last. Opaque to clients: another one after every change, also after one of a history that a
/// backup began anew.
pub fn of(incarnation: u64, revision: Revision) -> String {
    format!("{incarnation}-{revision}")
}

/// A resource as it is told; one that is not written yet has none.
pub fn tell(state: &IntentState, mut wire: v1::Resource) -> v1::Resource {
    if let Some(metadata) = &mut wire.metadata
        && metadata.revision != 0
    {
        metadata.etag = of(state.incarnation, Revision(metadata.revision));
    }
    wire
}
