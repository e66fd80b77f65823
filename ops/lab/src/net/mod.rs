//! The lab's network: nodes on one segment, and direct ways to look at it and to cut it.

pub(crate) mod adverts;
pub(crate) mod endpoint;
pub(crate) mod link;
pub(crate) mod mac;
pub(crate) mod namespace;
pub(crate) mod packet;
pub(crate) mod quiet;
pub(crate) mod routers;
pub(crate) mod spoof;
pub(crate) mod topology;
