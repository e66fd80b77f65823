//! What the tests of this crate share, and the tests of whole controllers on loopback.

pub(crate) mod agent;
pub(crate) mod cluster;
pub(crate) mod examples;
pub(crate) mod guarded;
pub(crate) mod pki;
pub(crate) mod states;

mod access;
mod agents;
mod applying;
mod confirming;
mod events;
mod faults;
mod hosts;
mod joining;
mod life;
mod linear;
mod listeners;
mod many;
mod process;
mod proxy;
mod resources;
mod revisions;
mod single;
mod tracing;
mod watching;
