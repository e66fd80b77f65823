//! What we did to the host in this boot, on disk, so that it can be undone after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fulcrum_runtime::durable;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::plan::{ArpSetting, Memory};
use super::tunnels::{GuePort, Ours};

/// The journal's file, locked while it is open: the daemon and `start`/`stop` take turns.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    boot_id: String,
    memory: Memory,
    _lock: Flock<std::fs::File>,
}

/// The file's form.
#[derive(Serialize, Deserialize)]
struct Stored {
    boot_id: String,
    held: bool,
    vips: BTreeSet<IpAddr>,
    settings_before: Vec<StoredSetting>,
    /// Absent in the file of a release that knew no tunnels, as the next one.
    #[serde(default)]
    devices: BTreeSet<String>,
    #[serde(default)]
    gue_ports: BTreeSet<GuePort>,
}

#[derive(Serialize, Deserialize)]
struct StoredSetting {
    #[serde(flatten)]
    setting: ArpSetting,
    value: u32,
}

impl Journal {
    /// Opens and locks the journal in `state_dir`, which is made if absent. What another boot remembers is void: its
    /// VIPs and settings went with it; only a hold by hand stays.
    ///
    /// # Errors
    /// The directory or file cannot be made, locked or read. A damaged file counts as empty, with a warning.
    pub fn open(state_dir: &Path, boot_id: &str) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir)?;
        let lock = std::fs::File::create(state_dir.join("loopback.lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let path = state_dir.join("loopback.json");
        let memory = match std::fs::read(&path) {
            Ok(bytes) => read(&bytes, boot_id).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "the journal is damaged and counts as empty");
                Memory::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, boot_id: boot_id.to_owned(), memory, _lock: lock })
    }

    /// What it remembers.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes `memory` durable, if it differs.
    ///
    /// # Errors
    /// The file cannot be written; what was remembered stays.
    pub fn remember(&mut self, memory: Memory) -> io::Result<()> {
        if memory == self.memory {
            return Ok(());
        }
        let stored = Stored {
            boot_id: self.boot_id.clone(),
            held: memory.held,
            vips: memory.ours.clone(),
            settings_before: memory
                .before
                .iter()
                .map(|(setting, value)| StoredSetting { setting: setting.clone(), value: *value })
                .collect(),
            devices: memory.tunnels.devices.clone(),
            gue_ports: memory.tunnels.ports.clone(),
        };
        durable::write_atomic(&self.path, &serde_json::to_vec_pretty(&stored)?)?;
        self.memory = memory;
        Ok(())
    }
}

fn read(bytes: &[u8], boot_id: &str) -> Result<Memory, serde_json::Error> {
    let stored: Stored = serde_json::from_slice(bytes)?;
    if stored.boot_id != boot_id {
        return Ok(Memory { held: stored.held, ..Memory::default() });
    }
    let before: BTreeMap<ArpSetting, u32> =
        stored.settings_before.into_iter().map(|entry| (entry.setting, entry.value)).collect();
    let tunnels = Ours { devices: stored.devices, ports: stored.gue_ports };
    Ok(Memory { ours: stored.vips, before, tunnels, held: stored.held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::plan::ArpKey;

    #[test]
    fn survives_a_restart_but_not_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let setting = ArpSetting { interface: "all".to_owned(), key: ArpKey::ArpIgnore };
        let memory = Memory {
            ours: ["10.0.0.1", "2001:db8::1"].map(|vip| vip.parse().unwrap()).into(),
            before: [(setting, 0)].into(),
            tunnels: Ours {
                devices: ["fulcrum-ipip-0".to_owned()].into(),
                ports: [GuePort { port: 6080, is_ipv6: false }].into(),
            },
            held: true,
        };
        let mut journal = Journal::open(dir.path(), "boot-1").unwrap();
        journal.remember(memory.clone()).unwrap();
        drop(journal);
        assert_eq!(Journal::open(dir.path(), "boot-1").unwrap().memory(), &memory);
        let after_reboot = Memory { held: true, ..Memory::default() };
        assert_eq!(Journal::open(dir.path(), "boot-2").unwrap().memory(), &after_reboot);
    }

    #[test]
    fn a_file_without_tunnels_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let old = r#"{"boot_id":"b","held":false,"vips":["10.0.0.1"],
            "settings_before":[{"interface":"all","key":"arp_ignore","value":0}]}"#;
        std::fs::write(dir.path().join("loopback.json"), old).unwrap();
        let journal = Journal::open(dir.path(), "b").unwrap();
        let memory = journal.memory();
        assert_eq!((memory.ours.len(), memory.before.len()), (1, 1));
        assert_eq!(memory.tunnels, Ours::default());
    }

    #[test]
    fn a_damaged_file_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("loopback.json"), b"{\"boot").unwrap();
        assert_eq!(Journal::open(dir.path(), "b").unwrap().memory(), &Memory::default());
    }
}
