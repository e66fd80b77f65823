//! Eyes on the directors' IPVS tables: their content over time, and every edit of them.

pub(crate) mod arp;
pub(crate) mod claims;
pub(crate) mod deletion;
pub(crate) mod edits;
pub(crate) mod ipvsadm;
pub(crate) mod owners;
pub(crate) mod table;
pub(crate) mod weights;
