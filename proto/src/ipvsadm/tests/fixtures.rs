//! The tables that were recorded.

use crate::v1::{IpvsConnection, IpvsDestination, IpvsKernel, IpvsStats, IpvsVirtualServer};

const TCP: i32 = 6;
const UDP: i32 = 17;
const SCTP: i32 = 132;

pub(super) fn kernel() -> IpvsKernel {
    IpvsKernel { version: "1.2.1".to_owned(), connection_table_size: 4096, ..IpvsKernel::default() }
}

pub(super) fn by_address(
    vip: &str,
    port: u32,
    protocol: i32,
    scheduler: &str,
) -> IpvsVirtualServer {
    let (vip, scheduler) = (vip.to_owned(), scheduler.to_owned());
    IpvsVirtualServer { vip, port, protocol, scheduler, ..Default::default() }
}

fn by_fwmark(fwmark: u32, fwmark_ipv6: bool, scheduler: &str) -> IpvsVirtualServer {
    let scheduler = scheduler.to_owned();
    IpvsVirtualServer { fwmark, fwmark_ipv6, scheduler, ..Default::default() }
}

pub(super) fn destination(
    address: &str,
    port: u32,
    weight: u32,
    forwarding: &str,
) -> IpvsDestination {
    let tunnel_type = if forwarding == "Tunnel" { "ipip" } else { "" }.to_owned();
    let (address, forwarding) = (address.to_owned(), forwarding.to_owned());
    IpvsDestination { address, port, weight, forwarding, tunnel_type, ..Default::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// `recorded/many.txt`.
pub(super) fn many() -> Vec<IpvsVirtualServer> {
    let mut sh = by_address("192.168.1.3", 53, TCP, "sh");
    sh.scheduler_flags = words(&["sh-port"]);
    sh.persistence_timeout_s = 30;
    sh.persistence_netmask = "255.255.0.0".to_owned();
    let mut mh = by_address("192.168.1.4", 53, TCP, "mh");
    mh.scheduler_flags = words(&["mh-fallback", "mh-port"]);
    let mut ops = by_address("192.168.1.1", 53, UDP, "rr");
    ops.one_packet = true;
    let mut sip = by_address("192.168.1.6", 5060, UDP, "rr");
    (sip.persistence_timeout_s, sip.one_packet) = (30, true);
    sip.persistence_engine = "sip".to_owned();
    let mut web = by_address("192.168.1.150", 80, TCP, "rr");
    web.destinations = vec![
        destination("192.168.1.161", 80, 0, "Route"),
        destination("192.168.1.160", 80, 1, "Route"),
    ];
    let mut last = by_address("255.255.255.255", 65535, TCP, "lblcr");
    last.persistence_timeout_s = 360;
    last.destinations = vec![destination("255.255.255.254", 65535, 2_147_483_647, "Tunnel")];
    let mut dns = by_address("192.168.1.150", 53, UDP, "wlc");
    dns.persistence_timeout_s = 300;
    dns.destinations = vec![destination("10.0.0.1", 5353, 65535, "Masq")];
    let mut v6 = by_address("2001:db8::1", 443, TCP, "sh");
    v6.destinations = vec![
        destination("2001:db8:1111:2222:3333:4444:5555:6666", 443, 1, "Route"),
        destination("2001:db8::10", 443, 65535, "Tunnel"),
    ];
    let mut mark = by_fwmark(5, false, "mh");
    mark.persistence_timeout_s = 60;
    mark.destinations =
        vec![destination("192.168.1.160", 0, 1, "Route"), destination("127.0.0.1", 0, 1, "Route")];
    let mut mark_v6 = by_fwmark(9, true, "rr");
    mark_v6.persistence_timeout_s = 30;
    mark_v6.persistence_netmask = "64".to_owned();
    let sctp = by_address("192.168.1.9", 9999, SCTP, "lc");
    vec![mark_v6, mark, v6, sctp, dns, last, web, sip, ops, mh, sh, by_fwmark(6, true, "wrr")]
}

/// The other listings, and `recorded/save.txt`.
pub(super) fn shapes() -> Vec<IpvsVirtualServer> {
    let mut table = vec![web(), dns(), sip(), web_v6()];
    table.extend(others());
    table
}

/// Every way to be taken, scheduled and persistent, without traffic.
fn others() -> Vec<IpvsVirtualServer> {
    let mut https = by_address("10.0.1.1", 443, TCP, "sh");
    https.scheduler_flags = words(&["sh-fallback", "sh-port"]);
    https.destinations = vec![destination("10.0.0.2", 443, 1, "Route")];
    let mut all = by_address("10.0.1.1", 0, TCP, "mh");
    all.scheduler_flags = words(&["mh-fallback", "mh-port"]);
    all.persistence_timeout_s = 300;
    all.persistence_netmask = "255.255.255.0".to_owned();
    let mut bounded = destination("10.0.0.2", 0, 2_147_483_647, "Route");
    (bounded.upper_threshold, bounded.lower_threshold) = (2_147_483_647, 1);
    all.destinations = vec![bounded];
    let mut sip_ops = by_address("10.0.1.1", 5060, UDP, "rr");
    sip_ops.persistence_timeout_s = 30;
    sip_ops.persistence_engine = "sip".to_owned();
    sip_ops.one_packet = true;
    let mut sctp = by_address("10.0.1.1", 9999, SCTP, "lc");
    sctp.scheduler_flags = words(&["flag-1", "flag-2", "flag-3"]);
    let mut mark = by_fwmark(5, false, "fo");
    mark.destinations =
        vec![destination("127.0.0.1", 0, 7, "Route"), destination("10.0.0.2", 0, 7, "Route")];
    let mut mark_v6 = by_fwmark(6, true, "ovf");
    mark_v6.persistence_timeout_s = 60;
    mark_v6.persistence_netmask = "48".to_owned();
    mark_v6.one_packet = true;
    mark_v6.destinations = vec![destination("2001:db8::2", 0, 1, "Route")];
    let mut bare_mark = by_fwmark(7, false, "dh");
    bare_mark.persistence_timeout_s = 9;
    let mut last = by_address("10.0.1.254", 65535, TCP, "lblcr");
    last.persistence_timeout_s = 2_147_483;
    vec![last, bare_mark, mark_v6, mark, sctp, sip_ops, all, https]
}

fn web() -> IpvsVirtualServer {
    let mut web = by_address("10.0.1.1", 80, TCP, "wrr");
    web.stats = Some(IpvsStats {
        connections: 33,
        packets_in: 1727,
        packets_out: 4023,
        bytes_in: 92348,
        bytes_out: 180_215_610,
        connections_per_s: 1,
        packets_in_per_s: 44,
        packets_out_per_s: 103,
        bytes_in_per_s: 2363,
        bytes_out_per_s: 4_628_019,
    });
    let mut busy = destination("10.0.0.2", 8080, 5, "Masq");
    (busy.upper_threshold, busy.lower_threshold) = (4000, 3000);
    (busy.inactive_connections, busy.stats) = (33, web.stats);
    web.destinations = vec![busy, destination("10.0.0.3", 8081, 0, "Masq")];
    web
}

fn dns() -> IpvsVirtualServer {
    let mut dns = by_address("10.0.1.1", 53, UDP, "rr");
    dns.one_packet = true;
    let stats = IpvsStats {
        connections: 1,
        packets_in: 1,
        bytes_in: 128,
        bytes_in_per_s: 16,
        ..Default::default()
    };
    dns.stats = Some(stats);
    let tunnel = |host: u8, weight, tunnel_type: &str, tunnel_port, tunnel_checksum: &str| {
        let mut found = destination(&format!("10.0.0.{host}"), 53, weight, "Tunnel");
        (found.tunnel_type, found.tunnel_port) = (tunnel_type.to_owned(), tunnel_port);
        found.tunnel_checksum = tunnel_checksum.to_owned();
        found
    };
    let mut v6 = destination("2001:db8::7", 53, 1, "Tunnel");
    v6.stats = Some(stats);
    dns.destinations = vec![
        v6,
        tunnel(7, 1, "ipip", 0, ""),
        tunnel(6, 1, "gre", 0, "nocsum"),
        tunnel(5, 1, "gre", 0, "csum"),
        tunnel(4, 1, "gue", 65535, "remcsum"),
        tunnel(3, 1, "gue", 6080, "nocsum"),
        tunnel(2, 65535, "gue", 6080, "csum"),
    ];
    dns
}

fn sip() -> IpvsVirtualServer {
    let mut sip = by_address("10.0.1.1", 5061, UDP, "rr");
    sip.persistence_timeout_s = 30;
    sip.persistence_engine = "sip".to_owned();
    sip.stats = Some(IpvsStats {
        connections: 1,
        packets_in: 1,
        packets_out: 1,
        bytes_in: 134,
        bytes_out: 162,
        bytes_in_per_s: 17,
        bytes_out_per_s: 20,
        ..Default::default()
    });
    let mut phone = destination("10.0.0.2", 5061, 1, "Masq");
    (phone.inactive_connections, phone.persistent_connections) = (1, 1);
    phone.stats = sip.stats;
    sip.destinations = vec![phone];
    sip
}

fn web_v6() -> IpvsVirtualServer {
    let mut web = by_address("fd00:1::1", 80, TCP, "wlc");
    web.persistence_timeout_s = 360;
    web.persistence_netmask = "64".to_owned();
    web.stats = Some(IpvsStats {
        connections: 1,
        packets_in: 2,
        bytes_in: 160,
        bytes_in_per_s: 13,
        ..Default::default()
    });
    let mut far = destination("2001:db8:1111:2222:3333:4444:5555:6666", 80, 1, "Masq");
    (far.active_connections, far.persistent_connections) = (1, 1);
    far.stats = web.stats;
    web.destinations = vec![far, destination("2001:db8::2", 8080, 1, "Masq")];
    web
}

/// `recorded/connections.txt` and `recorded/connections-persistent.txt`.
pub(super) fn connections() -> Vec<IpvsConnection> {
    let far = "2001:db8:1111:2222:3333:4444:5555:6666";
    let http_v6 = |client: &str, client_port, state: &str, expires_s| IpvsConnection {
        protocol: "TCP".to_owned(),
        client: client.to_owned(),
        client_port,
        vip: "fd00:1::1".to_owned(),
        port: 80,
        destination: far.to_owned(),
        destination_port: 80,
        state: state.to_owned(),
        expires_s,
        ..Default::default()
    };
    let http = |client_port, expires_s| IpvsConnection {
        protocol: "TCP".to_owned(),
        client: "10.0.1.2".to_owned(),
        client_port,
        vip: "10.0.1.1".to_owned(),
        port: 80,
        destination: "10.0.0.2".to_owned(),
        destination_port: 8080,
        state: "TIME_WAIT".to_owned(),
        expires_s,
        ..Default::default()
    };
    let sip = |client_port, state: &str, expires_s| IpvsConnection {
        protocol: "UDP".to_owned(),
        port: 5061,
        destination_port: 5061,
        state: state.to_owned(),
        ..http(client_port, expires_s)
    };
    let template = IpvsConnection {
        persistence_engine: "sip".to_owned(),
        persistence_data: "abc-123@10.0.1.2".to_owned(),
        ..sip(0, "NONE", 14)
    };
    vec![
        http_v6("fd00:1::", 0, "NONE", 343),
        http(41950, 106),
        http(41926, 102),
        http(41914, 102),
        template,
        http(41936, 106),
        http(41928, 106),
        sip(5061, "UDP", 284),
        http_v6("fd00:1::2", 47872, "SYN_RECV", 44),
    ]
}
