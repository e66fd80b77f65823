//! Restarts by order: the agent runs a command of its own configuration, once for each order, when its server is drained.
//!
//! [`decide`] says what is due; [`journal`] remembers on disk what was begun and how it ended, so that no order is carried
//! out twice; [`command`] runs it. No command ever comes from a controller: an order names a key of [`actions`].

pub mod actions;
pub mod command;
pub mod decide;
pub mod journal;
pub mod leave;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fulcrum_model::plan::WatchedServer;
use fulcrum_model::{Name, RestartEvidence, RestartPlan, RestartState};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use actions::{Action, Actions};
use decide::Due;
use journal::Journal;

/// Ends under way to the agent: they wait when it is full. A server has at most one command.
const ENDS: usize = 16;

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    server: Name,
    id: String,
    /// Why it failed, if it did.
    outcome: Result<(), String>,
}

/// The restarts of a host.
#[derive(Debug)]
pub struct Restarts {
    actions: Actions,
    journal: Journal,
    running: BTreeMap<Name, JoinHandle<()>>,
    /// What the agent tells of each order in its plan.
    told: BTreeMap<Name, RestartEvidence>,
    ends_in: mpsc::Sender<Ended>,
}

impl Restarts {
    /// Reads what earlier runs left in `state_dir`, and gives where ends will come from.
    pub fn new(actions: Actions, state_dir: &Path) -> (Self, mpsc::Receiver<Ended>) {
        let (ends_in, ends) = mpsc::channel(ENDS);
        let journal = Journal::open(&state_dir.join("restarts.json"));
        let (running, told) = (BTreeMap::new(), BTreeMap::new());
        (Self { actions, journal, running, told, ends_in }, ends)
    }

    /// Does what is due; whether there is news.
    pub fn follow(&mut self, servers: &[WatchedServer]) -> bool {
        let mut told = BTreeMap::new();
        for server in servers {
            if let Some(order) = &server.restart {
                let name = &server.real_server;
                told.insert(name.clone(), self.follow_order(name, order, server.drained));
            }
        }
        let is_news = told != self.told;
        self.told = told;
        is_news
    }

    fn follow_order(
        &mut self,
        server: &Name,
        order: &RestartPlan,
        is_drained: bool,
    ) -> RestartEvidence {
        let action = self.actions.of(server, &order.action);
        let is_busy = self.running.contains_key(server);
        let due =
            decide::due(order, is_drained, self.journal.record(server), is_busy, action.is_some());
        let waits = |detail: String| RestartEvidence {
            id: order.id.clone(),
            state: RestartState::Waiting,
            detail,
            finished_at: None,
        };
        match (due, action) {
            (Due::Tell(evidence), _) => evidence,
            (Due::Run, Some(action)) => {
                let action = action.clone();
                match self.begin(server, order, action) {
                    Ok(()) => decide::running(&order.id),
                    Err(error) => {
                        waits(format!("it cannot be remembered, so it is not begun: {error}"))
                    }
                }
            }
            // An action that is not there is never due.
            (Due::Run, None) => waits(decide::no_such_action(&order.action)),
        }
    }

    fn begin(&mut self, server: &Name, order: &RestartPlan, action: Action) -> std::io::Result<()> {
        self.journal.begin(server, &order.id)?;
        tracing::info!(real_server = %server, order = order.id, command = ?action.command, "restart");
        let (server, id, ends) = (server.clone(), order.id.clone(), self.ends_in.clone());
        let name = server.clone();
        let task = tokio::spawn(async move {
            let timeout = tokio::time::sleep(action.timeout);
            let outcome = command::run(&action, &server, &id, timeout).await;
            // Without a receiver the agent is ending, and the journal says what was begun.
            let _ = ends.send(Ended { server, id, outcome }).await;
        });
        self.running.insert(name, task);
        Ok(())
    }

    /// A command has ended: remembers it.
    pub fn ended(&mut self, ended: Ended) {
        let Ended { server, id, outcome } = ended;
        self.running.remove(&server);
        match &outcome {
            Ok(()) => tracing::info!(real_server = %server, order = id, "restarted"),
            Err(why) => tracing::warn!(real_server = %server, order = id, why, "restart failed"),
        }
        if let Err(error) = self.journal.end(&server, &id, outcome, since_1970()) {
            tracing::error!(%error, "the end of a restart cannot be saved; make state_dir writable");
        }
    }

    /// What is told of a server's order.
    pub fn evidence(&self, server: &Name) -> Option<RestartEvidence> {
        self.told.get(server).cloned()
    }
}

impl Drop for Restarts {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
