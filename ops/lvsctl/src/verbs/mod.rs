//! One file per verb.

pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod completion;
pub(crate) mod confirm;
pub(crate) mod controller;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod freeze;
pub(crate) mod get;
pub(crate) mod handover;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod ipvs;
pub(crate) mod label;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod status;
pub(crate) mod thaw;
pub(crate) mod undrain;
pub(crate) mod wait;
pub(crate) mod watch;
mod writing;
