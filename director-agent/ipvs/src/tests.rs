//! The laws of this crate, attacked with random tables.

mod laws;
mod life;
mod tables;
