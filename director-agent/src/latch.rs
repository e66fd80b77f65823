//! The latch of ARP safety on disk, so that a restart without controllers keeps its weights.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use fulcrum_model::fuse::ArpSafety;
use fulcrum_model::{EvidenceStamp, Name};
use fulcrum_runtime::durable::write_atomic;
use serde::{Deserialize, Serialize};

use crate::decide::arp::{AgentLatch, ArpLatch, Statement};

/// Why a saved latch cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LatchError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold a latch.
    #[error("{path} holds no latch of ARP safety: {reason}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Of this format.
    version: u32,
    agents: Vec<SavedAgent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedAgent {
    agent: String,
    epoch: u64,
    sequence: u64,
    boot_id: String,
    vips: BTreeMap<IpAddr, SavedStatement>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedStatement {
    epoch: u64,
    sequence: u64,
    boot_id: String,
    /// What is wrong; proven when absent.
    contradicted: Option<String>,
}

const VERSION: u32 = 1;

/// Reads a saved latch; an empty one when there is no file.
///
/// # Errors
/// [`LatchError`] names the file. A director then starts with an empty latch: real servers wait for their agents'
/// next report.
pub fn load(path: &Path) -> Result<ArpLatch, LatchError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ArpLatch::default()),
        Err(source) => return Err(LatchError::Read { path: path.to_owned(), source }),
    };
    let refuse = |reason: String| LatchError::Content { path: path.to_owned(), reason };
    let file: File = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if file.version != VERSION {
        return Err(refuse(format!("it has version {} instead of {VERSION}", file.version)));
    }
    file.agents
        .into_iter()
        .map(|saved| {
            let name: Name = saved.agent.parse().map_err(|error| refuse(format!("{error}")))?;
            Ok((name, agent_latch(saved)))
        })
        .collect()
}

fn agent_latch(saved: SavedAgent) -> AgentLatch {
    let vips = saved.vips.into_iter().map(|(vip, said)| {
        let stamp = EvidenceStamp { epoch: said.epoch, sequence: said.sequence };
        let safety = said.contradicted.map_or(ArpSafety::Proven, ArpSafety::Contradicted);
        (vip, Statement { stamp, boot_id: said.boot_id, safety })
    });
    AgentLatch {
        stamp: EvidenceStamp { epoch: saved.epoch, sequence: saved.sequence },
        boot_id: saved.boot_id,
        vips: vips.collect(),
    }
}

/// Writes a latch in place of the saved one, and waits for the disk.
///
/// # Errors
/// Any error of the file system, with its remedy where known; the file then holds the latch before.
pub fn save(path: &Path, latch: &ArpLatch) -> io::Result<()> {
    write_atomic(path, &encode(latch))
}

fn encode(latch: &ArpLatch) -> Vec<u8> {
    let agents = latch.agents().map(|(agent, latch)| SavedAgent {
        agent: agent.to_string(),
        epoch: latch.stamp.epoch,
        sequence: latch.stamp.sequence,
        boot_id: latch.boot_id.clone(),
        vips: latch.vips.iter().filter_map(|(vip, said)| Some((*vip, saved(said)?))).collect(),
    });
    let file = File { version: VERSION, agents: agents.collect() };
    serde_json::to_vec(&file).expect("strings, numbers and addresses have a JSON form")
}

fn saved(said: &Statement) -> Option<SavedStatement> {
    let contradicted = match &said.safety {
        ArpSafety::Proven => None,
        ArpSafety::Contradicted(detail) => Some(detail.clone()),
        // Nothing was said, so nothing is saved.
        ArpSafety::Unproven => return None,
    };
    Some(SavedStatement {
        epoch: said.stamp.epoch,
        sequence: said.stamp.sequence,
        boot_id: said.boot_id.clone(),
        contradicted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::evidence;
    use fulcrum_model::Verdict;

    fn latch() -> ArpLatch {
        let mut latch = ArpLatch::default();
        latch.observe(&evidence("web1", 1, Verdict::Up, Some(true)));
        latch.observe(&evidence("web2", 7, Verdict::Up, Some(false)));
        latch
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("arp-latch.json");
        assert_eq!(load(&path).expect("no file is an empty latch"), ArpLatch::default());
        save(&path, &latch()).expect("saved");
        assert_eq!(load(&path).expect("just saved"), latch());
    }

    #[test]
    fn damaged_files_are_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("latch");
        for (text, expected) in [
            ("", "EOF while parsing"),
            ("{\"version\":2,\"agents\":[]}", "it has version 2 instead of 1"),
            (
                "{\"version\":1,\"agents\":[{\"agent\":\"A\",\"epoch\":1,\"sequence\":1,\"boot_id\":\"\",\"vips\":{}}]}",
                "not 'A'",
            ),
        ] {
            fs::write(&path, text).expect("written");
            let error = load(&path).expect_err("refused").to_string();
            assert!(error.contains(expected) && error.contains("latch"), "{error}");
        }
    }
}
