//! One file per verb.

pub(crate) mod apply;
pub(crate) mod completion;
pub(crate) mod get;
pub(crate) mod ipvs;
pub(crate) mod status;
pub(crate) mod wait;
pub(crate) mod watch;
