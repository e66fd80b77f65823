//! Names of resources, made from addresses: the same rules make the same names.

use fulcrum_proto::v1;

/// An address as a part of a name: 192.168.1.160, 2001-db8--10.
pub(super) fn address(address: &str) -> String {
    let name = address.replace(':', "-");
    // A name begins with a letter or digit.
    if name.starts_with('-') { format!("0{name}") } else { name }
}

/// A real server's: 192.168.1.160-8080.
pub(super) fn real_server(rip: &str, port: u32) -> String {
    format!("{}-{port}", address(rip))
}

/// A virtual server's: 192.168.1.150-80, 192.168.1.150-all-udp, mark-5-ipv6.
pub(super) fn virtual_server(server: &v1::IpvsVirtualServer) -> String {
    if server.fwmark != 0 {
        let family = if server.fwmark_ipv6 { "-ipv6" } else { "" };
        return format!("mark-{}{family}", server.fwmark);
    }
    let port = if server.port == 0 { "all".to_owned() } else { server.port.to_string() };
    let protocol = match server.protocol() {
        v1::Protocol::Unspecified | v1::Protocol::Tcp => "",
        v1::Protocol::Udp => "-udp",
        v1::Protocol::Sctp => "-sctp",
    };
    format!("{}-{port}{protocol}", address(&server.vip))
}
