//! The real-server agent: binds VIPs to loopback with ARP kept quiet, watches the servers of its host, reports their
//! health, and restarts them by order with commands of its own configuration.
//!
//! What it never does: decide a weight, or unbind anything when it stops. Start reading at [`agent`], then
//! [`loopback::plan`] and [`tomcat::verdict`], which decide.

pub mod agent;
pub mod by_hand;
pub mod certificates;
pub mod config;
pub mod draining;
pub mod findings;
pub mod local;
pub mod loopback;
pub mod metrics;
pub mod restart;
pub mod tomcat;
