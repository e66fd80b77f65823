//! Intent as pure functions: validate and prepare a change, apply it, plan for an agent, tell the difference per agent.
//!
//! What it does: [`prepare`] turns a manifest set into the resources to put and to delete, or into every reason why
//! not; [`Intent::apply`] is what the replicated state machine runs; [`Planner`] makes each agent's plan, a function of
//! the intent alone; [`history::History`] tells what each revision changed, and [`restore`] brings one back. What it
//! never does: read a clock, touch a file or a socket, keep a state of its own, look at health. Start reading at [`prepare`], then at [`Planner`].

pub mod access;
mod catalog;
mod diff;
mod drastic;
pub mod history;
mod hosts;
mod intent;
mod orders;
mod planner;
mod prepare;
mod restore;
mod validate;
mod violation;

pub use diff::{AgentDiff, diff_agents};
pub use intent::Intent;
pub use planner::{AgentId, AgentRole, Planner, agents, plan_director, plan_real_server};
pub use prepare::{
    Change, ChangeAction, OWNER_LABEL, Prepared, Rejected, Removal, examine, examine_alone,
    owner_of, prepare,
};
pub use restore::{restore, revert};
pub use violation::Violation;

#[cfg(test)]
mod tests;
