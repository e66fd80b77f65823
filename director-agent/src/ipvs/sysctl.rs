//! The one sysctl that a relay needs.

use std::io;
use std::path::Path;

/// Lets IPVS take up a TCP connection in its middle (kernel documentation, networking/ipvs-sysctl).
const SLOPPY_TCP: &str = "/proc/sys/net/ipv4/vs/sloppy_tcp";

/// What `net.ipv4.vs.sloppy_tcp` holds in this network namespace.
pub(super) fn sloppy_tcp() -> io::Result<String> {
    Ok(std::fs::read_to_string(Path::new(SLOPPY_TCP))?.trim().to_owned())
}

/// Sets `net.ipv4.vs.sloppy_tcp` in this network namespace.
pub(super) fn set_sloppy_tcp(value: &str) -> io::Result<()> {
    std::fs::write(Path::new(SLOPPY_TCP), value)
}
