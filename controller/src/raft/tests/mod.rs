//! Tests over a whole store, a whole node and three nodes in one process.

mod cluster;
mod damage;
mod life;
pub(super) mod nodes;
mod refusals;
mod single;
mod suite;
