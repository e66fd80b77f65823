//! The programs beside ours: real Tomcats, keepalived to compare with, a real OTLP collector, a real
//! mail server.

pub(crate) mod answerer;
pub(crate) mod busy_tomcat;
pub(crate) mod collector;
pub(crate) mod crowd;
pub(crate) mod frr;
pub(crate) mod keepalived;
pub(crate) mod mail;
pub(crate) mod router;
pub(crate) mod tomcat;
