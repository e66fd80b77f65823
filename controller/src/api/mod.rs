//! The public API: thin handlers over what the other modules know and do.

pub mod access;
pub mod agents;
pub mod apply;
pub mod cluster;
pub mod errors;
pub mod etag;
pub mod events;
pub mod filter;
pub mod health;
pub mod intent;
pub mod issuing;
pub mod mask;
pub mod pages;
pub mod revisions;
pub mod served;
pub mod topology;
pub mod watch;
pub mod who;

/// Largest message taken: a manifest set of 100,000 resources with room to spare.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
