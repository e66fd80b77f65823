//! What IPVS has beside its table: `ipvsadm -L --timeout` and `--daemon`.

use std::fmt::Write as _;

use crate::v1::{IpvsKernel, SyncRole};

/// The timeouts of connections in seconds, with a closing newline; none of a director that does not tell them.
pub fn timeouts(kernel: &IpvsKernel) -> Option<String> {
    // The kernel may be built without one of the protocols: ipvsadm prints 0 then.
    let timeouts = [&kernel.tcp_timeout, &kernel.tcp_fin_timeout, &kernel.udp_timeout];
    if timeouts.iter().all(|timeout| timeout.is_none()) {
        return None;
    }
    let [tcp, tcp_fin, udp] = timeouts.map(|timeout| timeout.map_or(0, |found| found.seconds));
    Some(format!("Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n"))
}

/// The sync daemons, one a line, the one that tells first; empty when none runs. ipvsadm adds the group, port and greatest length
/// of messages, which Fulcrum leaves as the kernel has them.
pub fn daemons(kernel: &IpvsKernel) -> String {
    let mut text = String::new();
    for (role, word) in [(SyncRole::Sender, "master"), (SyncRole::Receiver, "backup")] {
        for daemon in kernel.sync_daemons.iter().filter(|daemon| daemon.role() == role) {
            let (interface, id) = (&daemon.interface, daemon.sync_id);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{word} sync daemon (mcast={interface}, syncid={id})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::IpvsSyncDaemon;

    #[test]
    fn timeouts_stand_in_one_line() {
        let seconds = |seconds: i64| Some(prost_types::Duration { seconds, nanos: 0 });
        let mut kernel = IpvsKernel { tcp_timeout: seconds(900), ..IpvsKernel::default() };
        assert_eq!(timeouts(&kernel).as_deref(), Some("Timeout (tcp tcpfin udp): 900 0 0\n"));
        (kernel.tcp_fin_timeout, kernel.udp_timeout) = (seconds(120), seconds(300));
        assert_eq!(timeouts(&kernel).as_deref(), Some("Timeout (tcp tcpfin udp): 900 120 300\n"));
        assert_eq!(timeouts(&IpvsKernel::default()), None);
    }

    #[test]
    fn daemons_stand_one_a_line() {
        let daemon = |role: SyncRole, interface: &str, sync_id| IpvsSyncDaemon {
            role: role.into(),
            interface: interface.to_owned(),
            sync_id,
        };
        let sync_daemons =
            vec![daemon(SyncRole::Receiver, "eth1", 0), daemon(SyncRole::Sender, "eth0", 52)];
        let kernel = IpvsKernel { sync_daemons, ..IpvsKernel::default() };
        assert_eq!(
            daemons(&kernel),
            "master sync daemon (mcast=eth0, syncid=52)\nbackup sync daemon (mcast=eth1, syncid=0)\n"
        );
        assert_eq!(daemons(&IpvsKernel::default()), "");
    }
}
