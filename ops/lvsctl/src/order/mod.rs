//! Orders of the day: resources that a verb writes, and whose effect it waits for.

mod cluster;
mod follow;
mod write;

pub(crate) use cluster::Cluster;
pub(crate) use follow::{Waiting, follow};
pub(crate) use write::{Change, is_held, write};
