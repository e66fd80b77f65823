//! openraft's own conformance suite over the store.

use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::raft::log_store::{LogCache, LogStore};
use crate::raft::state_machine::StateMachine;
use crate::raft::steps::Steps;
use crate::raft::store::Store;
use crate::raft::store_thread::StoreHandle;
use crate::raft::types::{StorageError, TypeConfig};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("raft");
        let (store, contents) =
            Store::open(&path, 0, "store".to_owned()).expect("a new store opens");
        let store = StoreHandle::spawn(store).expect("a thread");
        let cache = LogCache::new(contents.vote, contents.purged, contents.entries);
        let log = LogStore::new(store.clone(), cache);
        let (machine, _) = StateMachine::new(contents.machine, path, None, store, Steps::default());
        Ok((directory, log, machine))
    }
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(Builder).expect("the store conforms");
}
