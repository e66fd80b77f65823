//! The laws of this crate, attacked with random tables.

mod allowances;
mod frozen;
mod laws;
mod life;
mod paths;
pub(crate) mod tables;
