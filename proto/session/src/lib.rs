//! How an agent stays attached to a controller, and how it keeps its plan over restarts; and what programs find on their hosts.
//!
//! What it does: [`Session`] holds one Attach stream to one of the controllers and moves to the next when it must;
//! [`SessionHandle`] takes what the agent has to tell and keeps the newest of each kind until a controller has it;
//! [`PlanCache`] holds the plan on disk, [`local_orders`] what was ordered at the agent itself; [`host`] looks at the program's host,
//! [`Comparison`] at its clock; [`credentials`] gets it a certificate and keeps one; controllers use these two as well.
//! What it never does: wait for a controller on the caller's behalf, decide what a plan means, or touch the kernel. Start
//! reading at [`Session::spawn`], then `attach.rs`.

mod attach;
mod clock;
pub mod credentials;
pub mod host;
pub mod local_orders;
mod outbox;
mod plan_cache;
mod rotation;
mod session;

pub use clock::{ClockReading, Comparison, MOST_SKEW};
pub use plan_cache::{PlanCache, PlanCacheError, PlanChange, PlanRefused};
pub use session::{Session, SessionConfig, SessionEvent, SessionHandle};
