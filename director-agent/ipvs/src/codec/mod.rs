//! Generic netlink family `IPVS`, version 1 (`linux/ip_vs.h`), as plain bytes.
//!
//! The codec is written by hand rather than with a netlink crate's types for two reasons: this crate is pure and
//! names no netlink crate, and bulk programming wants hundreds of requests in one buffer, written without an
//! allocation each. The driver resolves the family and owns the socket.
//!
//! Layout: netlink header (16 bytes), generic netlink header (4), attributes. Headers and attributes are
//! in the host's byte order and aligned to 4; ports and netmasks are big-endian; an address is always 16 bytes.

mod attribute;
mod daemon;
mod decode;
mod encode;
mod message;
mod statistics;
mod timeouts;

pub use attribute::Malformed;
pub use daemon::{DaemonRole, SyncDaemon, dump_daemons, start_daemon, stop_daemon, sync_daemon};
pub use decode::{DecodeError, Information, destination, information, virtual_server};
pub use encode::{
    Acknowledge, dump_destinations, dump_virtual_servers, get_information, get_virtual_server,
    request,
};
pub use message::{Message, Messages, Payload, Refusal};
pub use statistics::{Statistics, destination_statistics, virtual_server_statistics};
pub use timeouts::{Timeouts, get_timeouts, set_timeouts, timeouts};

/// Name of the generic netlink family.
pub const FAMILY_NAME: &str = "IPVS";
/// Version of the family.
pub const FAMILY_VERSION: u8 = 1;

/// `IPVS_CMD_*`.
pub mod command {
    /// Add a virtual server.
    pub const NEW_SERVICE: u8 = 1;
    /// Edit a virtual server.
    pub const SET_SERVICE: u8 = 2;
    /// Delete a virtual server.
    pub const DEL_SERVICE: u8 = 3;
    /// Read virtual servers.
    pub const GET_SERVICE: u8 = 4;
    /// Add a real server.
    pub const NEW_DEST: u8 = 5;
    /// Edit a real server.
    pub const SET_DEST: u8 = 6;
    /// Delete a real server.
    pub const DEL_DEST: u8 = 7;
    /// Read the real servers of a virtual server.
    pub const GET_DEST: u8 = 8;
    /// Start a sync daemon.
    pub const NEW_DAEMON: u8 = 9;
    /// Stop a sync daemon.
    pub const DEL_DAEMON: u8 = 10;
    /// Read the sync daemons.
    pub const GET_DAEMON: u8 = 11;
    /// Set the timeouts, and the answer to [`GET_CONFIG`].
    pub const SET_CONFIG: u8 = 12;
    /// Read the timeouts.
    pub const GET_CONFIG: u8 = 13;
    /// The answer to [`GET_INFO`].
    pub const SET_INFO: u8 = 14;
    /// Read what IPVS tells of itself.
    pub const GET_INFO: u8 = 15;
}

/// `IPVS_CMD_ATTR_*`.
mod command_attribute {
    pub(super) const SERVICE: u16 = 1;
    pub(super) const DEST: u16 = 2;
    pub(super) const DAEMON: u16 = 3;
    pub(super) const TIMEOUT_TCP: u16 = 4;
    pub(super) const TIMEOUT_TCP_FIN: u16 = 5;
    pub(super) const TIMEOUT_UDP: u16 = 6;
}

/// `IPVS_SVC_ATTR_*`.
mod service_attribute {
    pub(super) const AF: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDR: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const FWMARK: u16 = 5;
    pub(super) const SCHED_NAME: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const NETMASK: u16 = 9;
    pub(super) const PE_NAME: u16 = 11;
    pub(super) const STATS64: u16 = 12;
}

/// `IPVS_STATS_ATTR_*`.
mod stats_attribute {
    pub(super) const CONNS: u16 = 1;
    pub(super) const INPKTS: u16 = 2;
    pub(super) const OUTPKTS: u16 = 3;
    pub(super) const INBYTES: u16 = 4;
    pub(super) const OUTBYTES: u16 = 5;
    pub(super) const CPS: u16 = 6;
    pub(super) const INPPS: u16 = 7;
    pub(super) const OUTPPS: u16 = 8;
    pub(super) const INBPS: u16 = 9;
    pub(super) const OUTBPS: u16 = 10;
}

/// `IPVS_DEST_ATTR_*`.
mod dest_attribute {
    pub(super) const ADDR: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const FWD_METHOD: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const U_THRESH: u16 = 5;
    pub(super) const L_THRESH: u16 = 6;
    pub(super) const ACTIVE_CONNS: u16 = 7;
    pub(super) const INACT_CONNS: u16 = 8;
    pub(super) const PERSIST_CONNS: u16 = 9;
    pub(super) const ADDR_FAMILY: u16 = 11;
    pub(super) const STATS64: u16 = 12;
    pub(super) const TUN_TYPE: u16 = 13;
    pub(super) const TUN_PORT: u16 = 14;
    pub(super) const TUN_FLAGS: u16 = 15;
}

/// `IP_VS_CONN_F_TUNNEL_TYPE_*` and `IP_VS_TUNNEL_ENCAP_FLAG_*`.
mod tunnel {
    pub(super) const IPIP: u8 = 0;
    pub(super) const GUE: u8 = 1;
    pub(super) const GRE: u8 = 2;
    pub(super) const CHECKSUM: u16 = 1;
    pub(super) const REMOTE_CHECKSUM: u16 = 2;
}

/// `IPVS_DAEMON_ATTR_*`.
mod daemon_attribute {
    pub(super) const STATE: u16 = 1;
    pub(super) const MCAST_IFN: u16 = 2;
    pub(super) const SYNC_ID: u16 = 3;
    pub(super) const MCAST_GROUP: u16 = 5;
}

/// `IPVS_INFO_ATTR_*`.
mod info_attribute {
    pub(super) const VERSION: u16 = 1;
    pub(super) const CONN_TAB_SIZE: u16 = 2;
}

/// Linux's address family numbers.
mod address_family {
    pub(super) const INET: u16 = 2;
    pub(super) const INET6: u16 = 10;
}

#[cfg(test)]
mod tests;
