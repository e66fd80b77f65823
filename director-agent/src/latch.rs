//! The latch of ARP safety on disk, so that a restart without controllers keeps its weights.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use fulcrum_model::fuse::ArpSafety;
use fulcrum_model::{EvidenceStamp, Name};
use fulcrum_runtime::durable::write_atomic;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

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

/// Saves latches beside the work that must not wait for the disk.
#[derive(Debug)]
pub struct LatchSaver {
    newest: watch::Sender<ArpLatch>,
    fault: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl LatchSaver {
    /// Saves into `path`, of which it is the only writer. `saved` is what the file holds now.
    pub fn spawn(path: PathBuf, saved: ArpLatch) -> Self {
        let (newest, receiver) = watch::channel(saved);
        let (fault_sender, fault) = watch::channel(None);
        let task = tokio::spawn(save_newest(path, receiver, fault_sender));
        Self { newest, fault, task }
    }

    /// Saves this latch soon, and none that it replaces before its turn came.
    pub fn save(&self, latch: ArpLatch) {
        self.newest.send_replace(latch);
    }

    /// Why the last attempt failed, with the remedy.
    pub fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Ends when all is saved.
    pub async fn finish(self) {
        drop(self.newest);
        // A panic of the task was reported by the runtime; nothing is left to do about it.
        let _ = self.task.await;
    }
}

async fn save_newest(
    path: PathBuf,
    mut newest: watch::Receiver<ArpLatch>,
    fault: watch::Sender<Option<String>>,
) {
    while newest.changed().await.is_ok() {
        let bytes = encode(&newest.borrow_and_update());
        let path = path.clone();
        let written = tokio::task::spawn_blocking(move || write_atomic(&path, &bytes)).await;
        let failed = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &failed {
            tracing::error!(error, "the latch of ARP safety is not saved");
        }
        fault.send_replace(failed);
    }
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

    #[tokio::test]
    async fn what_is_saved_is_read_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("arp-latch.json");
        assert_eq!(load(&path).expect("no file is an empty latch"), ArpLatch::default());
        let saver = LatchSaver::spawn(path.clone(), ArpLatch::default());
        saver.save(ArpLatch::default());
        saver.save(latch());
        saver.finish().await;
        assert_eq!(load(&path).expect("just saved"), latch());
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("latch");
        fs::create_dir_all(path.join("x")).expect("a directory in its place");
        let saver = LatchSaver::spawn(path, ArpLatch::default());
        let mut fault = saver.fault.clone();
        saver.save(latch());
        fault.changed().await.expect("the saver runs");
        assert!(saver.fault().is_some_and(|fault| fault.contains("latch")));
        saver.finish().await;
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
