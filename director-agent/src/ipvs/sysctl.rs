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
    /// What a SYN does that finds the entry of an earlier connection of the same address and port. With 1, the kernel's
    /// own, it is scheduled anew only after a close that IPVS saw whole, which it never does with DR; otherwise it goes on
    /// in the old entry, to the old real server, and `sync_threshold` counts from the old packets, so that no other
    /// director is told of it. With 3 it is scheduled anew after a FIN of the client too (`is_new_conn_expected`,
    /// `net/netfilter/ipvs/ip_vs_core.c`).
    ConnReuseMode,
}

impl Sysctl {
    fn path(self) -> &'static Path {
        Path::new(match self {
            Self::SloppyTcp => "/proc/sys/net/ipv4/vs/sloppy_tcp",
            Self::ExpireNodestConn => "/proc/sys/net/ipv4/vs/expire_nodest_conn",
            Self::ConnReuseMode => "/proc/sys/net/ipv4/vs/conn_reuse_mode",
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
            Self::ConnReuseMode => "net.ipv4.vs.conn_reuse_mode",
        })
    }
}

/// Sets what concerns clients that use a port again, or says what is lost without it. It stays set when the agent stops,
/// as the table does.
pub(super) fn schedule_anew() -> Option<String> {
    let nodest = ensure(Sysctl::ExpireNodestConn, "1", |_| true);
    let nodest = nodest.map(|error| {
        format!("{error}, so clients that use a port again may be led to a dead real server: set it to 1")
    });
    // An operator may have chosen another than the kernel's own.
    let reuse = ensure(Sysctl::ConnReuseMode, "3", |value| value == "1");
    let reuse = reuse.map(|error| {
        format!(
            "{error}, so connections of clients that use a port again are not told to the other directors by the kernel: \
             set it to 3"
        )
    });
    let told: Vec<String> = nodest.into_iter().chain(reuse).collect();
    (!told.is_empty()).then(|| {
        format!(
            "{}; or give the agent CAP_NET_ADMIN and a writable /proc/sys (under systemd, no ProtectKernelTunables)",
            told.join("; ")
        )
    })
}

/// Sets it where it has another value that may be replaced; why it could not be set.
fn ensure(sysctl: Sysctl, value: &str, may_replace: fn(&str) -> bool) -> Option<String> {
    let set = sysctl
        .read()
        .and_then(|is| if is == value || !may_replace(&is) { Ok(()) } else { sysctl.write(value) });
    let error = set.err()?;
    tracing::error!(%error, "{sysctl} cannot be set");
    Some(format!("{sysctl} cannot be set ({error})"))
}
