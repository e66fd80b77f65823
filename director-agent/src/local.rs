//! The director's own door: a Unix socket that answers when no controller does.

pub mod socket;
