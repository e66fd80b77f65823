//! Restarts of real servers by order: what is ordered of an agent, and what it tells.

use std::time::Duration;

use crate::{Name, Revision};

/// An order to restart a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPlan {
    /// The order's identity: each is carried out once.
    pub id: String,
    /// Which command of the agent's own configuration.
    pub action: Name,
    /// Obey even while the server takes new connections.
    pub even_if_serving: bool,
}

impl RestartPlan {
    /// The action of an order that names none.
    pub const DEFAULT_ACTION: &'static str = "restart";

    /// The identity of an order: what is written again unchanged is the same order, what is changed a new one.
    pub fn id_of(name: &Name, revision: Revision) -> String {
        format!("{name}@{revision}")
    }
}

/// How far an order to restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestartState {
    /// It has not begun.
    Waiting,
    /// The command runs.
    Running,
    /// The command ended well.
    Done,
    /// The command failed, could not be run, or was interrupted; it is not run again.
    Failed,
}

/// What became of an order to restart a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartEvidence {
    /// The order's identity.
    pub id: String,
    /// How far it is.
    pub state: RestartState,
    /// What it waits for or why it failed, in words with the remedy.
    pub detail: String,
    /// When it ended, since 1970 by the host's wall clock.
    pub finished_at: Option<Duration>,
}
