//! The director agent: runs VRRP, programs IPVS, checks real servers and turns evidence into weights.
//!
//! What it does: keeps one host's kernel as its plan says, with the newest plan on disk and no controller needed.
//! What it never does: decide intent, flush a table, or wait for a controller before it serves.
//!
//! Start reading at [`agent::run`], then [`decide`], where all decisions are taken without touching anything; the
//! drivers are [`ipvs`], [`vrrp`] and [`checks`].

pub mod addresses;
pub mod agent;
pub mod capabilities;
pub mod checks;
pub mod clock;
pub mod config;
pub mod decide;
pub mod findings;
pub mod ipvs;
pub mod latch;
pub mod local;
pub mod memory;
pub mod metrics;
pub mod proof;
pub mod report;
pub mod saver;
pub mod state_dir;
pub mod sync;
pub mod track;
pub mod vrrp;
