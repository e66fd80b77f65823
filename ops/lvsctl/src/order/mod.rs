//! Orders of the day: resources that a verb writes, and whose effect it waits for.

mod cluster;
#[cfg(test)]
pub(crate) mod fixtures;
mod follow;
mod told;
mod write;

pub(crate) use cluster::Cluster;
pub(crate) use follow::{Waiting, follow};
pub(crate) use told::{UNSEEN, not_done, tell, tell_end};
pub(crate) use write::{Change, is_held, refused, send, write};
