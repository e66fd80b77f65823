//! The process group of a command that a program runs for somebody.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;

/// The process group of a command, which is killed with it when nobody waits any more. The command was started as the leader of a
/// group of its own (`process_group(0)`).
#[derive(Debug)]
pub struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// That of a command that has just been started.
    pub fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The command has ended: its number may soon be another's, and what it started goes on.
    pub fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that nobody of the group is left.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
