//! What programs look at on their hosts beside their own work, and the pace at which they look.
//!
//! Facts are plain structs ([`facts`]), read from /proc, /sys, /run and by `nft` ([`read`]); what is wrong with them is
//! decided without touching anything ([`judge`], [`packet_filter`]). Nothing is ever changed here. Start reading at
//! [`follow`].

pub mod facts;
pub mod judge;
pub mod packet_filter;
mod read;
#[cfg(test)]
mod tests;
mod watch;

pub use read::{Paths, certificates, disk, read, sysctl};
pub use watch::follow;
