//! The sysctls of IPVS that the director sets (kernel documentation, networking/ipvs-sysctl).

use std::fmt;
use std::io;
use std::path::Path;

/// One of them, in this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sysctl {
    /// Lets IPVS take up a TCP connection in its middle: what a relay needs.
    SloppyTcp,
    /// A connection's entry goes when its real server has. Above all, a new connection from an address and port that was
    /// used before is scheduled anew where the old entry leads to a real server of weight 0, instead of following it into
    /// the void for as long as the entry lives (two minutes for DR).
    ExpireNodestConn,
}

impl Sysctl {
    fn path(self) -> &'static Path {
        Path::new(match self {
            Self::SloppyTcp => "/proc/sys/net/ipv4/vs/sloppy_tcp",
            Self::ExpireNodestConn => "/proc/sys/net/ipv4/vs/expire_nodest_conn",
        })
    }

    /// What it holds.
    pub(super) fn read(self) -> io::Result<String> {
        Ok(std::fs::read_to_string(self.path())?.trim().to_owned())
    }

    /// Sets it.
    pub(super) fn write(self, value: &str) -> io::Result<()> {
        std::fs::write(self.path(), value)
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SloppyTcp => "net.ipv4.vs.sloppy_tcp",
            Self::ExpireNodestConn => "net.ipv4.vs.expire_nodest_conn",
        })
    }
}

/// Sets `expire_nodest_conn`, or says what is lost without it. It stays set when the agent stops, as the table does.
pub(super) fn schedule_anew() -> Option<String> {
    let sysctl = Sysctl::ExpireNodestConn;
    let set = sysctl.read().and_then(|value| if value == "1" { Ok(()) } else { sysctl.write("1") });
    let error = set.err()?;
    tracing::error!(%error, "{sysctl} cannot be set");
    Some(format!(
        "{sysctl} cannot be set ({error}), so clients that use a port again may be led to a dead real server: set it to \
         1, or give the agent CAP_NET_ADMIN and a writable /proc/sys (under systemd, no ProtectKernelTunables)"
    ))
}
