//! What a hand-over has changed on this host for its duration, on disk, so that a later life of the
//! agent can put it back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// The journal's name in the state directory.
const FILE: &str = "handover.json";

/// The journal with its file.
#[derive(Debug)]
pub(super) struct Journal {
    entries: Entries,
    file: PathBuf,
}

/// What is changed now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entries {
    /// Nothing of this outlives the boot.
    boot_id: String,
    /// ARP settings of interfaces as they were: `arp_ignore`, `arp_announce`.
    pub(super) quiet: BTreeMap<String, (u32, u32)>,
    /// VIPs that we put on loopback.
    pub(super) loopback: BTreeSet<IpAddr>,
    /// Interface and VIP of relay filters that we made.
    pub(super) filters: BTreeSet<(String, IpAddr)>,
    /// Interfaces whose `clsact` queueing discipline we made.
    pub(super) qdiscs: BTreeSet<String>,
    /// Devices with a virtual MAC that we made.
    pub(super) devices: BTreeSet<String>,
    /// The table of rules that drop packets to VIPs is there.
    pub(super) closes: bool,
}

impl Journal {
    /// Takes up what an earlier life of this boot has left.
    pub(super) fn open(state_dir: &Path, boot_id: &str) -> Self {
        let file = state_dir.join(FILE);
        let read = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let fresh = Entries { boot_id: boot_id.to_owned(), ..Entries::default() };
        let entries = read.filter(|read: &Entries| read.boot_id == boot_id).unwrap_or(fresh);
        Self { entries, file }
    }

    /// What is changed now.
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Edits the entries and writes them down; nothing is written when nothing changes.
    ///
    /// # Errors
    /// When the file cannot be written; the entries are edited all the same.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Entries)) -> io::Result<()> {
        let before = self.entries.clone();
        edit(&mut self.entries);
        if self.entries == before { Ok(()) } else { self.save() }
    }

    /// No sync: what the journal undoes does not outlive the boot either.
    fn save(&self) -> io::Result<()> {
        let empty = Entries { boot_id: self.entries.boot_id.clone(), ..Entries::default() };
        if self.entries == empty {
            return match fs::remove_file(&self.file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec(&self.entries)?)?;
        fs::rename(&new, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_life_of_the_same_boot_reads_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let vip = IpAddr::from([10, 0, 0, 150]);
        let mut journal = Journal::open(directory.path(), "boot");
        journal
            .edit(|entries| {
                entries.loopback.insert(vip);
            })
            .expect("it can be written");
        let rebooted = Journal::open(directory.path(), "another boot");
        assert!(rebooted.entries().loopback.is_empty());
        let mut journal = Journal::open(directory.path(), "boot");
        assert!(journal.entries().loopback.contains(&vip));
        journal.edit(|entries| entries.loopback.clear()).expect("it can be written");
        assert!(!directory.path().join(FILE).exists(), "an empty journal is no file");
    }
}
