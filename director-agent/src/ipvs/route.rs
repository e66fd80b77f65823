//! The director's own address towards a real server, and the interface that has it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;

use super::settings::InterfaceName;

/// Where answers of a real server to this director's checks through VIPs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answers {
    /// The real server.
    pub rip: IpAddr,
    /// The director's address that is tried from; the kernel's choice when none.
    pub source: Option<IpAddr>,
}

/// The address that the kernel sends from to that real server. Nothing is sent: a socket of datagrams is told its other side.
///
/// # Errors
/// The kernel's errno: `ENETUNREACH` where no route leads there.
pub fn source_towards(rip: IpAddr) -> io::Result<IpAddr> {
    /// Any will do (discard, RFC 863).
    const PORT: u16 = 9;
    let any = match rip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(rip, PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// The interfaces that answers from VIPs of IPv4 come in by: those that have the addresses which they go to. IPv6 takes in packets
/// from an address of its own without being told.
pub(super) fn interfaces(answers: &BTreeSet<Answers>) -> io::Result<BTreeSet<InterfaceName>> {
    let sources: BTreeSet<IpAddr> = answers
        .iter()
        .filter(|answers| answers.rip.is_ipv4())
        // Where no way leads there now, nothing comes in either.
        .filter_map(|answers| answers.source.or_else(|| source_towards(answers.rip).ok()))
        .collect();
    if sources.is_empty() {
        return Ok(BTreeSet::new());
    }
    let has_source = |address: &nix::ifaddrs::InterfaceAddress| {
        let address = address.address.as_ref().and_then(|address| address.as_sockaddr_in());
        address.is_some_and(|address| sources.contains(&IpAddr::V4(address.ip())))
    };
    let found = getifaddrs()?.filter(has_source);
    Ok(found.filter_map(|found| InterfaceName::new(&found.interface_name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_from_this_host_come_in_by_loopback() {
        let rip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(source_towards(rip).expect("a route"), rip);
        let found =
            interfaces(&[Answers { rip, source: None }].into()).expect("they can be listed");
        assert_eq!(found, [InterfaceName::new("lo").expect("a name")].into());
        let rip = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert!(interfaces(&[Answers { rip, source: None }].into()).expect("none").is_empty());
    }
}
