//! Who may call what. [`decide`] is pure; [`layer`] applies it to each call, and [`Gate`] holds what both need.
//!
//! Identities come from verified certificates ([`caller`]), what operators may do from the intent's access rules and `[access]` of the
//! configuration. What a write may touch is judged by the leader, who alone knows what it changes (`api::apply`).

pub mod caller;
pub mod decide;
pub mod gate;
pub mod layer;
pub mod methods;
pub mod own;
pub mod refusals;
pub mod usage;

pub use caller::Caller;
pub use gate::Gate;
