//! The settings by name, and what is noted of one that we change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What names of interfaces' settings of IPv4 begin with, and what that of `accept_local` ends with.
const CONF: &str = "net.ipv4.conf.";
const ACCEPT_LOCAL: &str = ".accept_local";

/// A setting of this network namespace. A value is text as the kernel prints it, its words one blank apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::ipvs) enum Setting {
    /// A timeout of connections, in seconds, which netlink sets.
    Timeout(Timeout),
    /// A sysctl.
    Sysctl(Sysctl),
    /// `accept_local` of an interface: packets from an address of this host are taken in there, as answers from a VIP are while
    /// this director holds it (kernel documentation, networking/ip-sysctl).
    AcceptLocal(InterfaceName),
}

/// An interface's name, in little room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::ipvs) struct InterfaceName {
    /// NUL behind the name.
    bytes: [u8; Self::MAX_BYTES],
}

impl InterfaceName {
    /// `IFNAMSIZ` of `linux/if.h` less the closing NUL.
    const MAX_BYTES: usize = 15;

    /// The name, if an interface could have it (`dev_valid_name`, net/core/dev.c).
    pub(in crate::ipvs) fn new(name: &str) -> Option<Self> {
        let is_well = !matches!(name, "" | "." | "..")
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        let mut bytes = [0; Self::MAX_BYTES];
        bytes.get_mut(..name.len()).filter(|_| is_well)?.copy_from_slice(name.as_bytes());
        Some(Self { bytes })
    }

    fn as_str(&self) -> &str {
        // It was made from text.
        std::str::from_utf8(&self.bytes).unwrap_or_default().trim_end_matches('\0')
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A timeout of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::ipvs) enum Timeout {
    /// Of idle TCP connections.
    Tcp,
    /// Of closed TCP connections.
    TcpFin,
    /// Of idle UDP flows.
    Udp,
}

/// A sysctl (kernel documentation, networking/ipvs-sysctl and ip-sysctl).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::ipvs) enum Sysctl {
    /// A connection's entry goes when its real server has. Above all, a new connection from an address and port that was
    /// used before is scheduled anew where the old entry leads to a real server of weight 0, instead of following it into
    /// the void for as long as the entry lives (two minutes for DR).
    ExpireNodestConn,
    /// A persistent client leaves a real server of weight 0.
    ExpireQuiescentTemplate,
    /// What a SYN does that finds the entry of an earlier connection of the same address and port. With 1, the kernel's
    /// own, it is scheduled anew only after a close that IPVS saw whole, which it never does with DR; otherwise it goes on
    /// in the old entry, to the old real server, and `sync_threshold` counts from the old packets, so that no other
    /// director is told of it. With 3 it is scheduled anew after a FIN of the client too (`is_new_conn_expected`,
    /// `net/netfilter/ipvs/ip_vs_core.c`).
    ConnReuseMode,
    /// IPVS takes up a TCP connection in its middle: what a relay needs.
    SloppyTcp,
    /// The same for SCTP.
    SloppySctp,
    /// Connections are known to the packet filter's connection tracking.
    Conntrack,
    /// ICMP errors without a connection are scheduled.
    ScheduleIcmp,
    /// A receiver of connection synchronisation does not balance.
    BackupOnly,
    /// Packets after which the kernel tells of a connection, and after which again. The second packet is the one that
    /// establishes a connection: with 2 one that then stays silent is known too.
    SyncThreshold,
    /// The host forwards IPv4.
    IpForward,
    /// The host forwards IPv6.
    Ipv6Forward,
}

impl Setting {
    /// Every one but those of interfaces.
    pub(super) const ALL: [Self; 14] = [
        Self::Timeout(Timeout::Tcp),
        Self::Timeout(Timeout::TcpFin),
        Self::Timeout(Timeout::Udp),
        Self::Sysctl(Sysctl::ExpireNodestConn),
        Self::Sysctl(Sysctl::ExpireQuiescentTemplate),
        Self::Sysctl(Sysctl::ConnReuseMode),
        Self::Sysctl(Sysctl::SloppyTcp),
        Self::Sysctl(Sysctl::SloppySctp),
        Self::Sysctl(Sysctl::Conntrack),
        Self::Sysctl(Sysctl::ScheduleIcmp),
        Self::Sysctl(Sysctl::BackupOnly),
        Self::Sysctl(Sysctl::SyncThreshold),
        Self::Sysctl(Sysctl::IpForward),
        Self::Sysctl(Sysctl::Ipv6Forward),
    ];

    /// A sysctl's name, or that of the timeout in the Director's manifest.
    pub(super) fn name(self) -> Cow<'static, str> {
        match self {
            Self::Timeout(timeout) => timeout.name().into(),
            Self::Sysctl(sysctl) => sysctl.name().into(),
            Self::AcceptLocal(interface) => {
                format!("{CONF}{}{ACCEPT_LOCAL}", interface.as_str()).into()
            }
        }
    }

    /// Its file; none of a timeout.
    pub(super) fn path(self) -> Option<PathBuf> {
        match self {
            Self::Timeout(_) => None,
            Self::Sysctl(sysctl) => Some(sysctl.path()),
            Self::AcceptLocal(interface) => {
                // An interface's name may have dots of its own.
                let conf = PathBuf::from("/proc/sys/net/ipv4/conf");
                Some(conf.join(interface.as_str()).join("accept_local"))
            }
        }
    }

    /// The module whose absence may be why the kernel has no such setting. That of IPVS is there before anything is set.
    pub(in crate::ipvs) fn module(self) -> Option<&'static str> {
        (self == Self::Sysctl(Sysctl::Ipv6Forward)).then_some("ipv6")
    }

    /// The command that sets it by hand. ipvsadm leaves a timeout of 0 as it is.
    pub(super) fn by_hand(self, value: &str) -> String {
        match self {
            Self::Timeout(Timeout::Tcp) => format!("ipvsadm --set {value} 0 0"),
            Self::Timeout(Timeout::TcpFin) => format!("ipvsadm --set 0 {value} 0"),
            Self::Timeout(Timeout::Udp) => format!("ipvsadm --set 0 0 {value}"),
            Self::Sysctl(sysctl) => format!("sysctl -w {}=\"{value}\"", sysctl.name()),
            Self::AcceptLocal(interface) => {
                format!("sysctl -w net/ipv4/conf/{}/accept_local=\"{value}\"", interface.as_str())
            }
        }
    }
}

impl Timeout {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "ipvs.tcp_timeout",
            Self::TcpFin => "ipvs.tcp_fin_timeout",
            Self::Udp => "ipvs.udp_timeout",
        }
    }
}

impl Sysctl {
    fn name(self) -> &'static str {
        match self {
            Self::ExpireNodestConn => "net.ipv4.vs.expire_nodest_conn",
            Self::ExpireQuiescentTemplate => "net.ipv4.vs.expire_quiescent_template",
            Self::ConnReuseMode => "net.ipv4.vs.conn_reuse_mode",
            Self::SloppyTcp => "net.ipv4.vs.sloppy_tcp",
            Self::SloppySctp => "net.ipv4.vs.sloppy_sctp",
            Self::Conntrack => "net.ipv4.vs.conntrack",
            Self::ScheduleIcmp => "net.ipv4.vs.schedule_icmp",
            Self::BackupOnly => "net.ipv4.vs.backup_only",
            Self::SyncThreshold => "net.ipv4.vs.sync_threshold",
            Self::IpForward => "net.ipv4.ip_forward",
            Self::Ipv6Forward => "net.ipv6.conf.all.forwarding",
        }
    }

    /// Its file.
    pub(super) fn path(self) -> PathBuf {
        PathBuf::from("/proc/sys").join(self.name().replace('.', "/"))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// No setting has that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ipvs) struct UnknownSetting;

impl FromStr for Setting {
    type Err = UnknownSetting;

    fn from_str(text: &str) -> Result<Self, UnknownSetting> {
        let known = Self::ALL.into_iter().find(|setting| setting.name() == text);
        let accept_local = || {
            let interface = text.strip_prefix(CONF)?.strip_suffix(ACCEPT_LOCAL)?;
            InterfaceName::new(interface).map(Self::AcceptLocal)
        };
        known.or_else(accept_local).ok_or(UnknownSetting)
    }
}

/// What is noted of a setting that we change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ipvs) struct Note {
    /// Its value before we came.
    pub(in crate::ipvs) before: String,
    /// What we set.
    pub(in crate::ipvs) ours: String,
}

/// What we changed, by setting.
pub(in crate::ipvs) type Notes = BTreeMap<Setting, Note>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let of = |name: &str| InterfaceName::new(name).map(Setting::AcceptLocal);
        let interfaces =
            ["eth0", "bond0.100", "abcdefghijklmno"].map(|name| of(name).expect("a name"));
        for setting in Setting::ALL.into_iter().chain(interfaces) {
            assert_eq!(setting.to_string().parse(), Ok(setting));
        }
        assert_eq!(interfaces[1].to_string(), "net.ipv4.conf.bond0.100.accept_local");
        let path = PathBuf::from("/proc/sys/net/ipv4/conf/bond0.100/accept_local");
        assert_eq!(interfaces[1].path(), Some(path));
        for name in ["", ".", "..", "a/b", "a b", "abcdefghijklmnop", "../all"] {
            assert_eq!(of(name), None, "{name:?}");
        }
        let unknown = "net.ipv4.conf.../x.accept_local".parse::<Setting>();
        assert_eq!(unknown, Err(UnknownSetting));
    }
}
