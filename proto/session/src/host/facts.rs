//! What is known of a host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use fulcrum_model::Cidr;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Interfaces that were asked for or carry an address, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Rules about connection tracking.
    pub packet_filter: PacketFilter,
    /// Where the program keeps its state; none where it cannot be seen.
    pub disk: Option<Disk>,
    /// The program's certificates.
    pub certificates: Vec<Certificate>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// Its index; 0 where there is no such interface.
    pub index: u32,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// It takes packets out of others: IPIP, GRE or their like of IPv6.
    pub is_tunnel: bool,
    /// The administrator has it up.
    pub is_up: bool,
    /// `rp_filter` in force: the greater of its own and that of `all`.
    pub rp_filter: Option<u32>,
    /// `send_redirects` in force: its own or that of `all`.
    pub send_redirects: bool,
    /// The bridge that it is, or is a port of.
    pub bridge: Option<Bridge>,
    /// The program that manages its addresses.
    pub manager: Option<Manager>,
}

/// A bridge and its multicast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// It passes multicast on to those alone who asked for it.
    pub is_snooping: bool,
    /// It asks who wants multicast.
    pub is_querier: bool,
}

/// Who manages an interface's addresses, and may take away what it did not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// `NetworkManager` manages the device.
    NetworkManager,
    /// systemd-networkd has configured it, without `KeepConfiguration`.
    Networkd,
}

/// The host's packet filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PacketFilter {
    /// No connection is tracked, so no rule can match a state.
    #[default]
    TracksNothing,
    /// Its rules cannot be read, for this reason.
    Unseen(String),
    /// Its rules.
    Seen {
        /// Rules that drop what connection tracking takes for invalid.
        drops: Vec<InvalidDrop>,
        /// `nf_conntrack_tcp_be_liberal`: packets outside the window are not invalid.
        is_liberal: bool,
    },
}

/// A rule that drops what connection tracking takes for invalid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InvalidDrop {
    /// Family, table and chain, as nft names them.
    pub chain: String,
    /// The hook from which the chain is reached.
    pub hook: String,
    /// Interfaces that packets come in by, where the rule names some; a last `*` stands for any rest.
    pub interfaces: Option<BTreeSet<String>>,
}

/// Room on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// A directory on it.
    pub path: PathBuf,
    /// Bytes that an unprivileged program may still write.
    pub free_bytes: u64,
    /// Files that can still be made; none where the file system does not count them.
    pub free_inodes: Option<u64>,
}

/// A certificate file of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file.
    pub path: PathBuf,
    /// When it ends, or why that is not known.
    pub ends_at: Result<SystemTime, String>,
}
