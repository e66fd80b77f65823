//! What happened: seen by the leader, kept by Raft, told by every controller, and sent to whom policies name.
//!
//! [`world`] holds what the leader knows; [`conditions`] says in what condition each thing is; [`derive`] compares that with what was told
//! and is the only one that decides what is an event; [`log`] is the part of Raft's state; [`recorder`] drives. All but the last are pure.
//! [`notify`] sends.

pub mod conditions;
pub mod derive;
pub mod filter;
pub mod log;
pub mod notify;
pub mod recorder;
pub mod watch;
pub mod world;
