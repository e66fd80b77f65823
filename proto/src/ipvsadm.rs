//! A table as `ipvsadm -Ln` (1.31) prints it, for people who read that.
//!
//! Two differences are meant. ipvsadm subtracts addresses as signed numbers, so that 9.0.0.0 comes after
//! 192.168.0.0; here addresses are in order. And a firewall mark above 2147483647 is printed as it is, not as a
//! negative number.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::v1;

/// The listing, with its header and a closing newline. The header's first line is left out while `kernel` is
/// unknown.
pub fn listing(
    kernel: Option<&v1::IpvsKernel>,
    virtual_servers: &[v1::IpvsVirtualServer],
) -> String {
    let mut text = String::new();
    if let Some(kernel) = kernel {
        let (version, size) = (&kernel.version, kernel.connection_table_size);
        line(&mut text, format_args!("IP Virtual Server version {version} (size={size})"));
    }
    text.push_str("Prot LocalAddress:Port Scheduler Flags\n");
    text.push_str("  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n");
    let mut servers: Vec<_> = virtual_servers.iter().collect();
    servers.sort_by_key(|server| order(server));
    for server in servers {
        line(&mut text, format_args!("{}", virtual_server(server)));
        let mut destinations: Vec<_> = server.destinations.iter().collect();
        destinations.sort_by_key(|d| (d.address.parse::<IpAddr>().ok(), d.port));
        for found in destinations {
            // The two blanks at the end are ipvsadm's columns, kept so that the two listings can be compared.
            let socket = socket(&found.address, found.port);
            line(
                &mut text,
                format_args!(
                    "  -> {socket:<28} {:<7} {:<6} {:<10} {:<10}",
                    found.forwarding,
                    found.weight,
                    found.active_connections,
                    found.inactive_connections
                ),
            );
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

/// ipvsadm's order: by address before by firewall mark, IPv4 first, then protocol, address and port.
fn order(server: &v1::IpvsVirtualServer) -> (u32, bool, i32, Option<IpAddr>, u32) {
    let vip = server.vip.parse::<IpAddr>().ok();
    let is_v6 = server.fwmark_ipv6 || vip.is_some_and(|vip| vip.is_ipv6());
    (server.fwmark, is_v6, server.protocol, vip, server.port)
}

fn virtual_server(server: &v1::IpvsVirtualServer) -> String {
    let mut text = if server.fwmark == 0 {
        let socket = socket(&server.vip, server.port);
        format!("{:<4} {socket}", protocol(server.protocol))
    } else {
        let family = if server.fwmark_ipv6 { " IPv6" } else { "" };
        format!("FWM  {}{family}", server.fwmark)
    };
    text = format!("{text} {}", server.scheduler);
    if !server.scheduler_flags.is_empty() {
        text = format!("{text} ({})", server.scheduler_flags.join(","));
    }
    if server.persistence_timeout_s != 0 {
        text = format!("{text} persistent {}", server.persistence_timeout_s);
        if !server.persistence_netmask.is_empty() {
            text = format!("{text} mask {}", server.persistence_netmask);
        }
        if !server.persistence_engine.is_empty() {
            text = format!("{text} pe {}", server.persistence_engine);
        }
    }
    if server.one_packet {
        text.push_str(" ops");
    }
    text
}

fn protocol(number: i32) -> String {
    match v1::Protocol::try_from(number) {
        Ok(v1::Protocol::Unspecified | v1::Protocol::Tcp) => "TCP".to_owned(),
        Ok(v1::Protocol::Udp) => "UDP".to_owned(),
        Ok(v1::Protocol::Sctp) => "SCTP".to_owned(),
        Err(_) => number.to_string(),
    }
}

fn socket(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{IpvsDestination, IpvsKernel, IpvsVirtualServer};

    /// Tables as ipvsadm 1.31 printed them of Linux 6.1.
    const EMPTY: &str = include_str!("ipvsadm/empty.txt");
    const MANY: &str = include_str!("ipvsadm/many.txt");

    fn kernel() -> IpvsKernel {
        IpvsKernel { version: "1.2.1".to_owned(), connection_table_size: 4096 }
    }

    fn by_address(vip: &str, port: u32, protocol: i32, scheduler: &str) -> IpvsVirtualServer {
        let (vip, scheduler) = (vip.to_owned(), scheduler.to_owned());
        IpvsVirtualServer { vip, port, protocol, scheduler, ..Default::default() }
    }

    fn by_fwmark(fwmark: u32, fwmark_ipv6: bool, scheduler: &str) -> IpvsVirtualServer {
        let scheduler = scheduler.to_owned();
        IpvsVirtualServer { fwmark, fwmark_ipv6, scheduler, ..Default::default() }
    }

    fn real_server(address: &str, port: u32, weight: u32, forwarding: &str) -> IpvsDestination {
        let (address, forwarding) = (address.to_owned(), forwarding.to_owned());
        IpvsDestination { address, port, weight, forwarding, ..Default::default() }
    }

    #[test]
    fn an_empty_table() {
        assert_eq!(listing(Some(&kernel()), &[]), EMPTY);
        let without_first_line = EMPTY.split_once('\n').expect("a first line").1;
        assert_eq!(listing(None, &[]), without_first_line);
    }

    #[test]
    fn a_table_of_every_shape() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut sh = by_address("192.168.1.3", 53, 6, "sh");
        sh.scheduler_flags = words(&["sh-port"]);
        sh.persistence_timeout_s = 30;
        sh.persistence_netmask = "255.255.0.0".to_owned();
        let mut mh = by_address("192.168.1.4", 53, 6, "mh");
        mh.scheduler_flags = words(&["mh-fallback", "mh-port"]);
        let mut ops = by_address("192.168.1.1", 53, 17, "rr");
        ops.one_packet = true;
        let mut sip = by_address("192.168.1.6", 5060, 17, "rr");
        (sip.persistence_timeout_s, sip.one_packet) = (30, true);
        sip.persistence_engine = "sip".to_owned();
        let mut web = by_address("192.168.1.150", 80, 6, "rr");
        web.destinations = vec![
            real_server("192.168.1.161", 80, 0, "Route"),
            real_server("192.168.1.160", 80, 1, "Route"),
        ];
        let mut last = by_address("255.255.255.255", 65535, 6, "lblcr");
        last.persistence_timeout_s = 360;
        last.destinations = vec![real_server("255.255.255.254", 65535, 2_147_483_647, "Tunnel")];
        let mut dns = by_address("192.168.1.150", 53, 17, "wlc");
        dns.persistence_timeout_s = 300;
        dns.destinations = vec![real_server("10.0.0.1", 5353, 65535, "Masq")];
        let mut v6 = by_address("2001:db8::1", 443, 6, "sh");
        v6.destinations = vec![
            real_server("2001:db8:1111:2222:3333:4444:5555:6666", 443, 1, "Route"),
            real_server("2001:db8::10", 443, 65535, "Tunnel"),
        ];
        let mut mark = by_fwmark(5, false, "mh");
        mark.persistence_timeout_s = 60;
        mark.destinations = vec![
            real_server("192.168.1.160", 0, 1, "Route"),
            real_server("127.0.0.1", 0, 1, "Route"),
        ];
        let mut mark_v6 = by_fwmark(9, true, "rr");
        mark_v6.persistence_timeout_s = 30;
        mark_v6.persistence_netmask = "64".to_owned();
        let sctp = by_address("192.168.1.9", 9999, 132, "lc");
        let table =
            [mark_v6, mark, v6, sctp, dns, last, web, sip, ops, mh, sh, by_fwmark(6, true, "wrr")];
        assert_eq!(listing(Some(&kernel()), &table), MANY);
    }

    #[test]
    fn busy_columns_and_odd_values() {
        let mut web = by_address("not an address", 80, 250, "rr");
        let mut busy = real_server("192.168.1.160", 80, 1, "Route");
        (busy.active_connections, busy.inactive_connections) = (12_345_678_901, 7);
        web.destinations = vec![busy];
        let listing = listing(None, &[web]);
        assert!(listing.ends_with(
            "250  not an address:80 rr\n  -> 192.168.1.160:80             Route   1      12345678901 7         \n"
        ), "{listing}");
    }
}
