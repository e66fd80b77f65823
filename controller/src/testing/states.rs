//! States of the intent, as the replicated state machine makes them.

use fulcrum_proto::internal::v1::command::Command as Wire;
use fulcrum_proto::internal::v1::{Command, ResourceKey, WriteIntent};
use fulcrum_proto::v1;

use crate::raft::IntentState;

/// Applies a write at the next index.
pub(crate) fn take(state: &mut IntentState, index: u64, write: WriteIntent) {
    let command =
        Command { command: Some(Wire::WriteIntent(write)), time_ms: index, ..Command::default() };
    state.apply(index, &command, &mut Vec::new()).expect("this release knows it");
}

/// Puts and deletes at the next index, whatever the rules say.
pub(crate) fn write(
    state: &mut IntentState,
    index: u64,
    put: Vec<v1::Resource>,
    delete: &[(v1::Kind, &str)],
) {
    let key = |(kind, name): &(v1::Kind, &str)| ResourceKey {
        kind: (*kind).into(),
        name: (*name).to_owned(),
    };
    let write = WriteIntent {
        base_revision: state.revision.0,
        put,
        delete: delete.iter().map(key).collect(),
        ..WriteIntent::default()
    };
    take(state, index, write);
}
