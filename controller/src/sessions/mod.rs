//! The agents: what they are sent, what they say, and who is told of it.
//!
//! [`attach`] serves one agent's stream; [`hub`] holds what all of them say; [`registry`], [`convergence`] and [`update`]
//! decide, and are pure; [`plans`] and [`planning`] turn the intent
//! into plans.

pub mod attach;
pub mod convergence;
pub mod hub;
pub mod key;
pub mod planning;
pub mod plans;
pub mod registry;
pub mod update;

pub use hub::Hub;
pub use plans::Planned;
