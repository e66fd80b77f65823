//! The controller: keeps the cluster's intent by Raft, answers the API, and serves the agents.
//!
//! What it does: takes intent (`api`), keeps it in a replicated log (`raft`), sends each agent its plan and carries health
//! to the directors (`sessions`), and shares what its agents say with the other controllers (`mesh`),
//! looks at its own host (`host`), and tells what happened (`events`). What it never does:
//! turn evidence into weights (directors do), or stand between clients and real servers. Start reading at `serve`.

pub mod access;
pub mod api;
pub mod config;
pub mod events;
pub mod host;
pub mod mesh;
pub mod metrics;
pub mod outbox;
pub mod raft;
pub mod serve;
pub mod sessions;

#[cfg(test)]
mod testing;
