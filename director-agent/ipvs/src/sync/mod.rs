//! Connection synchronisation: the kernel's sync messages, its connection listing, and how two
//! directors find out which connections one of them lacks.
//!
//! The kernel sends a connection to its peers when packets of it pass, and never again what it sent
//! once: who comes later lacks what was there before. [`record`] speaks the kernel's own format,
//! [`listing`] reads its table, [`digest`] and [`census`] compare two tables, [`exchange`] is the
//! protocol in which directors do that, [`gate`] says when a take-over by choice may go ahead, and
//! [`daemons`] which of the kernel's daemons a host needs.

pub mod asker;
pub mod census;
pub mod daemons;
pub mod digest;
pub mod exchange;
pub mod gate;
pub mod listing;
pub mod record;

pub use asker::{AskStep, Asker};
pub use census::{Answerer, Answers, Census, Lack, OLD_AFTER, RoundKey};
pub use daemons::{Member, Part, Wanted, Wish};
pub use digest::{BUCKETS, Buckets, Digest};
pub use exchange::{Body, Frame, Malformed, Scope};
pub use gate::{Gate, GateInput, Hold, Measured};
pub use listing::{Connection, Line, Phase};
pub use record::{Message, Record};

/// UDP port of the kernel's sync daemons (`IP_VS_SYNC_PORT`).
pub const KERNEL_PORT: u16 = 8848;
/// UDP port of the exchange between directors.
pub const EXCHANGE_PORT: u16 = 8847;
/// Group of both (`IP_VS_SYNC_GROUP`): link-local, so routers never forward it (RFC 5771 §4).
pub const GROUP: std::net::Ipv4Addr = std::net::Ipv4Addr::new(224, 0, 0, 81);
/// Most payload bytes of a datagram: fits an Ethernet frame through one tunnel.
pub const MAX_PAYLOAD_BYTES: usize = 1400;

#[cfg(test)]
mod tests;
