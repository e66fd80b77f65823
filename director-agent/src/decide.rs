//! What the director decides, apart from everything that it touches.
//!
//! Time comes in as `now`, the monotonic time since the program started; so do weights found in the kernel and the
//! shares that spread checks over time. Nothing here opens a socket, reads a clock, waits or logs. Start reading at
//! [`weights::Decider`].

pub mod alarms;
pub mod arp;
pub mod book;
pub mod check;
pub mod cut_off;
pub mod decided;
pub mod evidence;
pub mod gate;
pub mod index;
pub mod own;
pub mod pacer;
mod past;
pub mod paths;
pub mod plan;
pub mod wanted;
pub mod weights;

#[cfg(test)]
pub(crate) mod fixtures;
