//! IPVS as pure functions: tables, the ordered edits between two of them, and the generic netlink codec.
//!
//! What it does: [`diff()`] says which [`Operation`]s bring an observed [`Table`] to a desired one without ever
//! resetting a connection that could stay; [`codec`] turns operations into netlink requests and the kernel's
//! dumps into tables. What it never does: open a socket, read a clock, flush, or touch an entry that is not
//! ours. Start reading at [`table`], then [`diff()`](mod@diff),
//! then [`reconcile`], then [`codec`]; [`sync`] stands
//! apart: connections, and how directors compare them.

pub mod codec;
pub mod destinations;
pub mod diff;
pub mod key;
pub mod operation;
pub mod pace;
pub mod plan;
pub mod reconcile;
pub mod removal;
pub mod rounds;
pub mod sync;
pub mod table;
pub mod worklist;

pub use destinations::Destinations;
pub use diff::{Ownership, diff};
pub use key::{AddressFamily, DestinationKey, KeyError, Transport, VirtualServerKey};
pub use operation::{ApplyError, Operation};
pub use pace::Pace;
pub use reconcile::{Drift, Entry, Reconciler, Refused};
pub use removal::{Allowances, Removals};
pub use table::{
    Connections, Destination, DestinationSettings, Flags, Forwarding, Netmask, SchedulerName,
    Table, VirtualServer, VirtualServerSettings,
};
pub use worklist::Worklist;

#[cfg(test)]
mod tests;
