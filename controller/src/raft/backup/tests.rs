//! A backup comes back as it was, or not at all.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::raft::backup::read::load;
use crate::raft::tests::nodes::{site_resource, write_all};

/// A state with this many sites, each of which has so many letters.
fn state(sites: usize, letters: usize) -> Arc<IntentState> {
    let mut state =
        IntentState { cluster_id: "one".to_owned(), incarnation: 3, ..Default::default() };
    for index in 1..=sites as u64 {
        let site = site_resource(&format!("s{index}"), &"x".repeat(letters));
        let command = write_all(state.revision.0, &format!("r{index}"), vec![site]);
        state.apply(index, &command, &mut Vec::new()).expect("a site can be applied");
    }
    Arc::new(state)
}

/// A state whose sites were all changed at once, so that one record of its history is as large as all of them.
fn changed_at_once(sites: usize, letters: usize) -> Arc<IntentState> {
    let mut state =
        IntentState { cluster_id: "one".to_owned(), incarnation: 3, ..Default::default() };
    for (index, letter) in [(1, "x"), (2, "y")] {
        let all = (1..=sites).map(|n| site_resource(&format!("s{n}"), &letter.repeat(letters)));
        let command = write_all(state.revision.0, &format!("r{index}"), all.collect());
        state.apply(index, &command, &mut Vec::new()).expect("sites can be applied");
    }
    Arc::new(state)
}

fn written(state: &Arc<IntentState>) -> Vec<u8> {
    let mut writer = BackupWriter::new(Arc::clone(state), "c1", SystemTime::UNIX_EPOCH);
    let mut bytes = Vec::new();
    while let Some(chunk) = writer.next_chunk() {
        assert!(!chunk.is_empty() && chunk.len() <= CHUNK_BYTES);
        bytes.extend(chunk);
    }
    let summary = writer.summary();
    assert_eq!(summary.size_bytes, bytes.len() as u64);
    assert_eq!(summary.sha256, crate::raft::checksum::bytes(&bytes));
    assert_eq!(summary.resources, state.resources.len() as u64);
    bytes
}

fn file(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = directory.join("backup");
    std::fs::write(&path, bytes).expect("a writable directory");
    path
}

fn refusal(directory: &Path, bytes: &[u8]) -> String {
    load(&file(directory, bytes)).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn it_comes_back_as_it_was() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // None, some, and a record that is larger than a chunk.
    for (sites, state) in [
        (0, state(0, 0)),
        (40, state(40, 10)),
        (1100, state(1100, 1)),
        (400, changed_at_once(400, 1000)),
    ] {
        let loaded = load(&file(directory.path(), &written(&state))).expect("it is whole");
        // Requests are numbered anew, which nobody sees.
        let requests = |state: &IntentState| -> Vec<(String, fulcrum_model::Revision)> {
            state.requests.iter().map(|(_, id, revision)| (id.to_owned(), revision)).collect()
        };
        assert_eq!(requests(&loaded.intent), requests(&state), "{sites} sites");
        let found = IntentState { requests: state.requests.clone(), ..loaded.intent };
        assert_eq!(found, *state, "{sites} sites");
        let info = loaded.info;
        assert_eq!((info.revision, info.resources), (state.revision.0, sites));
        assert_eq!((info.incarnation, info.controller.as_str()), (3, "c1"));
    }
}

#[test]
fn one_that_is_not_whole_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let good = written(&state(5, 10));
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("another file", b"kind: Site\nname: s1\n".to_vec(), "is no backup of Fulcrum"),
        ("nothing", Vec::new(), "is no backup of Fulcrum"),
        ("its head alone", good[..60].to_vec(), "was cut off"),
        ("all but the end", with(|bytes| bytes.truncate(bytes.len() - 10)), "was cut off"),
        ("more behind it", with(|bytes| bytes.push(0)), "something follows its end"),
        ("a huge part", with(|bytes| bytes[8] = 0xff), "claims"),
    ];
    for (name, bytes, part) in cases {
        let found = refusal(directory.path(), &bytes);
        assert!(found.contains(part), "{name}: {found}");
        assert!(found.contains(&directory.path().display().to_string()), "{name}: {found}");
    }
    let missing = load(&directory.path().join("none")).err().expect("there is none").to_string();
    assert!(missing.contains("cannot read"), "{missing}");
}

/// A part without what it is about, as one of a newer release would be, in a file that is whole.
#[test]
fn one_of_a_newer_release_is_named_as_such() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = state(1, 1);
    let mut writer = BackupWriter::new(Arc::clone(&state), "c1", SystemTime::UNIX_EPOCH);
    let head = writer.part().expect("a head");
    writer.put_part(head);
    let strange = fulcrum_proto::v1::Resource::default();
    writer.put_part(Part::Resource(strange));
    writer.next = Next::End;
    writer.end.resources = 1;
    let mut bytes = Vec::new();
    while let Some(chunk) = writer.next_chunk() {
        bytes.extend(chunk);
    }
    let found = refusal(directory.path(), &bytes);
    assert!(found.contains("is whole, but this release cannot read it"), "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_flipped_bit_or_a_cut_is_never_taken(at in any::<prop::sample::Index>(), bit in 0_u8..8, is_cut in any::<bool>()) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut bytes = written(&state(6, 20));
        let at = at.index(bytes.len());
        if is_cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        prop_assert!(!refusal(directory.path(), &bytes).is_empty(), "byte {} of {}", at, bytes.len());
    }
}
