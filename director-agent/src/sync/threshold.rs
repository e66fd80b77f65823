//! `net.ipv4.vs.sync_threshold`: the packets after which the kernel tells of a connection.

use std::fs;

const PATH: &str = "/proc/sys/net/ipv4/vs/sync_threshold";
/// The kernel's own: the third packet, then every fiftieth.
const DEFAULT: [&str; 2] = ["3", "50"];
/// The second is the one that establishes a connection: one that stays silent is known too.
const OURS: &str = "2 50";

/// Sets it where it has the kernel's own value, and leaves an operator's alone; a remedy when it
/// cannot be set. It stays set when the agent ends, as the daemons run on.
pub(super) fn set() -> Option<String> {
    let set = fs::read_to_string(PATH).and_then(|value| {
        if value.split_ascii_whitespace().eq(DEFAULT) { fs::write(PATH, OURS) } else { Ok(()) }
    });
    let error = set.err()?;
    Some(format!(
        "net.ipv4.vs.sync_threshold cannot be set ({error}), so the kernel tells of a connection at its third packet \
         only: set it to 2 50, or give the agent CAP_NET_ADMIN and a writable /proc/sys (under systemd, no \
         ProtectKernelTunables)"
    ))
}
