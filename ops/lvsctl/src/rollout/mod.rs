//! Rolling restarts of a pool's real servers. All that a rollout must remember stands in the intent, as labels of its
//! orders: any `lvsctl` anywhere goes on with it.
//!
//! [`machine`] decides the next step; [`view`] is what it looks at; [`drive`] writes what it decides and shows how it goes.

mod drive;
mod machine;
mod options;
mod orders;
mod view;

pub(crate) use drive::{ask, drive};
pub(crate) use machine::{Machine, batches, obstacles};
pub(crate) use options::{Gate, Options, Share};
pub(crate) use orders::{Rollout, aborted, find};
pub(crate) use view::View;

#[cfg(test)]
mod tests;
