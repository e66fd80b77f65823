//! Starts and stops the kernel's sync daemons. What others have started is left alone; what we have
//! started is in a journal, and runs on when the agent ends.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulcrum_ipvs::codec::{DaemonRole, SyncDaemon};
use fulcrum_ipvs::sync::{Wanted, Wish};
use fulcrum_runtime::durable;

use crate::ipvs::{IpvsError, SyncDaemons, table_name};

/// The kernel is looked at this often: sync daemons send no notifications when they end.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What was refused is tried again so soon.
const RETRY: Duration = Duration::from_secs(1);
/// First line of the journal.
const FORMAT: &str = "fulcrum-sync-journal 1";

/// The one writer of the sync daemons.
pub(super) struct Daemons {
    kernel: SyncDaemons,
    path: PathBuf,
    table: String,
    /// Roles whose daemon we have started.
    made: BTreeSet<DaemonRole>,
    wanted: Option<Wanted>,
    look_at: Duration,
    /// What runs, as last read.
    running: Vec<SyncDaemon>,
    problems: Vec<String>,
}

impl Daemons {
    /// Nothing is started or stopped before the first [`Self::turn`].
    ///
    /// # Errors
    /// [`IpvsError`] with the remedy.
    pub(super) async fn open(state_dir: &Path) -> Result<Self, IpvsError> {
        let (path, table) = (state_dir.join("sync-journal"), table_name());
        let made = std::fs::read_to_string(&path).ok().and_then(|text| decode(&text, &table));
        Ok(Self {
            kernel: SyncDaemons::open().await?,
            path,
            table,
            made: made.unwrap_or_default(),
            wanted: None,
            look_at: Duration::ZERO,
            running: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// What does not fit, each with its remedy.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// When the next turn is due, whatever happens.
    pub(super) fn deadline(&self) -> Duration {
        self.look_at
    }

    /// Brings the kernel to what is wanted, if that is new or it is time to look.
    pub(super) async fn turn(&mut self, now: Duration, wanted: Wanted) {
        let is_new = self.wanted.as_ref() != Some(&wanted);
        if !is_new && now < self.look_at {
            return;
        }
        self.problems.clone_from(&wanted.problems);
        let is_done = match self.kernel.list().await {
            Ok(running) => {
                self.running = running;
                let backup = self.bring(DaemonRole::Backup, &wanted.backup).await;
                let master = self.bring(DaemonRole::Master, &wanted.master).await;
                backup && master
            }
            Err(error) => {
                self.problems.push(error.to_string());
                false
            }
        };
        self.wanted = Some(wanted);
        self.look_at = now + if is_done { LOOK_EVERY } else { RETRY };
    }

    /// Whether the role is as wanted, or as it has to stay.
    async fn bring(&mut self, role: DaemonRole, wish: &Wish) -> bool {
        let running = self.running.iter().find(|daemon| daemon.role == role).cloned();
        match (wish, running) {
            (Wish::Keep, _) | (Wish::Stop, None) => true,
            (Wish::Run(wanted), Some(running)) if *wanted == running => self.own(role, true),
            (Wish::Stop | Wish::Run(_), Some(running)) if !self.made.contains(&role) => {
                if matches!(wish, Wish::Run(_)) {
                    self.problems.push(format!(
                        "another program runs a {} sync daemon on {} with sync id {}: stop it with `ipvsadm \
                         --stop-daemon {}`, or take connection_sync from the instance",
                        role.as_str(), running.interface, running.sync_id, role.as_str()
                    ));
                }
                true
            }
            (Wish::Stop, Some(_)) => self.stop(role).await,
            (Wish::Run(wanted), Some(_)) => self.stop(role).await && self.start(wanted).await,
            (Wish::Run(wanted), None) => self.start(wanted).await,
        }
    }

    async fn start(&mut self, daemon: &SyncDaemon) -> bool {
        // The journal first: it may name what was never started, never the other way round.
        if !self.own(daemon.role, true) {
            return false;
        }
        match self.kernel.start(daemon).await {
            Ok(()) => {
                tracing::info!(
                    role = daemon.role.as_str(),
                    interface = daemon.interface,
                    sync_id = daemon.sync_id,
                    "sync daemon started"
                );
                self.running.push(daemon.clone());
                true
            }
            Err(error) => {
                self.problems.push(format!(
                    "the {} sync daemon cannot be started on {}: {error}; the interface must be up and have an IPv4 \
                     address",
                    daemon.role.as_str(), daemon.interface
                ));
                false
            }
        }
    }

    async fn stop(&mut self, role: DaemonRole) -> bool {
        match self.kernel.stop(role).await {
            Ok(()) => {
                tracing::info!(role = role.as_str(), "sync daemon stopped");
                self.running.retain(|daemon| daemon.role != role);
                self.own(role, false)
            }
            Err(error) => {
                self.problems
                    .push(format!("the {} sync daemon does not stop: {error}", role.as_str()));
                false
            }
        }
    }

    /// Writes down whether the daemon of that role is ours.
    fn own(&mut self, role: DaemonRole, is_ours: bool) -> bool {
        let changed = if is_ours { self.made.insert(role) } else { self.made.remove(&role) };
        if !changed {
            return true;
        }
        let written = self.write();
        if let Err(error) = &written {
            self.problems.push(format!(
                "the journal {} cannot be written ({error}): let this program's user write there",
                self.path.display()
            ));
            if is_ours {
                self.made.remove(&role);
            }
        }
        written.is_ok()
    }

    fn write(&self) -> io::Result<()> {
        durable::write_atomic(&self.path, encode(&self.made, &self.table).as_bytes())
    }
}

fn encode(made: &BTreeSet<DaemonRole>, table: &str) -> String {
    let lines = made.iter().map(|role| format!("made {}\n", role.as_str()));
    format!("{FORMAT}\ntable {table}\n{}", lines.collect::<String>())
}

/// None when it is of another boot or namespace, or damaged: then what runs counts as another's,
/// unless it is what is wanted.
fn decode(text: &str, table: &str) -> Option<BTreeSet<DaemonRole>> {
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT) || lines.next()?.strip_prefix("table ") != Some(table) {
        return None;
    }
    let role = |line: &str| match line {
        "made master" => Some(DaemonRole::Master),
        "made backup" => Some(DaemonRole::Backup),
        _ => None,
    };
    lines.map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_survives_its_writer() {
        let made = BTreeSet::from([DaemonRole::Master, DaemonRole::Backup]);
        let text = encode(&made, "boot net:[1]");
        for (text, table, expected) in [
            (text.as_str(), "boot net:[1]", Some(made)),
            (&text, "boot net:[2]", None),
            ("fulcrum-sync-journal 1\ntable t\n", "t", Some(BTreeSet::new())),
            ("fulcrum-sync-journal 1\ntable t\nmade nonsense\n", "t", None),
            ("", "t", None),
        ] {
            assert_eq!(decode(text, table), expected, "{text}");
        }
    }
}
