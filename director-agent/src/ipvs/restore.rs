//! Puts back what was changed of the host's settings, for whoever removes Fulcrum.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::{fmt, io};

use fulcrum_ipvs::Ownership;

use super::driver::table_name;
use super::error::IpvsError;
use super::journal::{self, Journal};
use super::netlink::Kernel;
use super::settings::{Event, Host, KernelHost, Notes, Setting, Wishes, carry_out, steps};
use crate::state_dir::{StateDir, StateDirError};

/// What became of a setting that was noted; shown as a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    setting: Setting,
    event: Event,
}

impl Restored {
    /// Whether the setting could not be put back, and is still noted.
    pub fn has_failed(&self) -> bool {
        matches!(self.event, Event::Problem(_))
    }
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event {
            // It names the setting.
            Event::Problem(problem) => f.write_str(problem),
            event => write!(f, "{} {event}", self.setting),
        }
    }
}

/// Nothing could be put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such directory.
    #[error(
        "there is no state directory {0}: name that of the director's configuration with --state-dir"
    )]
    NoStateDir(String),
    /// The agent runs.
    #[error(
        "a director that uses {0} is running and would set them again: stop it first, `systemctl disable --now \
         fulcrum-director`"
    )]
    AgentRuns(String),
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(StateDirError),
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(String),
    /// The kernel cannot be asked.
    #[error(transparent)]
    Ipvs(#[from] IpvsError),
    /// What was put back could not be crossed out.
    #[error(
        "the journal in {0} cannot be written: {1}; let this program write there, and run this again"
    )]
    NotWritten(String, #[source] io::Error),
}

/// Puts back every setting that the journal in this directory notes and that still is as we set it; nothing else is touched.
/// Returns what became of each, none when nothing was noted: in this boot and network namespace nothing is changed.
///
/// # Errors
/// [`RestoreError`] with the remedy.
pub async fn restore(state_dir: &Path) -> Result<Vec<Restored>, RestoreError> {
    let shown = state_dir.display().to_string();
    if !state_dir.is_dir() {
        return Err(RestoreError::NoStateDir(shown));
    }
    let held = StateDir::open(state_dir).map_err(|error| match error {
        StateDirError::InUse { .. } => RestoreError::AgentRuns(shown.clone()),
        error @ StateDirError::Io { .. } => RestoreError::StateDir(error),
    })?;
    let file = held.path().join(journal::FILE);
    let (journal, mut entries, problem) = Journal::open(file.clone(), table_name());
    if let Some(problem) = problem {
        return Err(RestoreError::Journal(problem));
    }
    let has_timeouts = entries.settings.keys().any(|s| matches!(s, Setting::Timeout(_)));
    // Opening it may load a module, which is no way to leave.
    let mut kernel = if has_timeouts { Some(Kernel::open().await?) } else { None };
    let mut host = KernelHost { kernel: kernel.as_mut() };
    let restored = put_back(&mut host, &mut entries.settings).await;
    if !restored.is_empty() {
        let made: Ownership = entries.made.iter().copied().collect();
        journal
            .write(&made, |key| entries.relays.contains(key), &entries.settings)
            .and_then(|()| give_to_owner(state_dir, &file))
            .map_err(|error| RestoreError::NotWritten(shown, error))?;
    }
    Ok(restored)
}

/// Mostly root restores, and the agent's user must be able to read what is left.
fn give_to_owner(directory: &Path, file: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(directory)?;
    chown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Nothing is wanted any more.
async fn put_back(host: &mut impl Host, notes: &mut Notes) -> Vec<Restored> {
    let before = notes.clone();
    let noted: BTreeSet<Setting> = before.keys().copied().collect();
    let found: BTreeMap<_, _> = host.read(&noted).await;
    let steps = steps(&Wishes::new(), &found, &before);
    let events = carry_out(host, steps, &before, notes).await;
    events.into_iter().map(|(setting, event)| Restored { setting, event }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_refuses_with_the_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = restore(&directory.path().join("none")).await.expect_err("there is none");
        assert!(missing.to_string().contains("with --state-dir"), "{missing}");
        assert!(!directory.path().join("none").exists());

        let held = StateDir::open(directory.path()).expect("a directory");
        let runs = restore(directory.path()).await.expect_err("it is held");
        assert!(runs.to_string().contains("systemctl disable --now fulcrum-director"), "{runs}");
        drop(held);

        std::fs::write(directory.path().join(journal::FILE), "nonsense").expect("written");
        let damaged = restore(directory.path()).await.expect_err("it is damaged");
        assert!(damaged.to_string().contains("cannot be read"), "{damaged}");
    }

    #[tokio::test]
    async fn another_boot_has_nothing_to_put_back() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(restore(directory.path()).await.expect("no journal"), []);
        let text = "fulcrum-ipvs-journal 2\ntable another\nsetting net.ipv4.vs.conntrack 0 -> 1\n";
        std::fs::write(directory.path().join(journal::FILE), text).expect("written");
        assert_eq!(restore(directory.path()).await.expect("of another boot"), []);
    }
}
