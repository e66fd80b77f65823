//! How every Fulcrum program starts, is seen and stops.
//!
//! What it does: reads configuration ([`config`]), TLS identity ([`tls`], [`certificate`], those of others by [`any_certificate`], an authority of our own by [`authority`]) and the host's boot id ([`boot`]); opens
//! channels to other programs ([`transport`]), takes connections from them ([`listener`]) and a door of its own on the host ([`local_socket`]); shows the program to
//! people and collectors ([`telemetry`], [`trace`]); keeps small state over power loss ([`durable`]); paces retries
//! ([`backoff`]); hears SIGTERM ([`shutdown`]); ends what it runs ([`process_group`]); writes manual pages ([`manual`]).
//! What it never does: import another crate of ours, or know our API. Start reading at [`telemetry`].

pub mod any_certificate;
pub mod authority;
pub mod backoff;
pub mod boot;
pub mod certificate;
pub mod config;
pub mod durable;
pub mod explain;
pub mod identity;
pub mod listener;
pub mod local_socket;
pub mod manual;
pub mod process_group;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod transport;
