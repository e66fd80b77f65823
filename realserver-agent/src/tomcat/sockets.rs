//! The kernel's socket tables, `/proc/net/tcp` and `/proc/net/tcp6` (Linux `Documentation/networking/proc_net_tcp.rst`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `TCP_LISTEN` (Linux `include/net/tcp_states.h`).
const LISTEN: u8 = 0x0A;
/// States in which a connection still carries data or may: established, SYN received, FIN-WAIT 1 and 2, CLOSE-WAIT, LAST-ACK.
const IN_USE: [u8; 6] = [0x01, 0x03, 0x04, 0x05, 0x08, 0x09];

/// One socket of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// Local address; an IPv4-mapped one is given as IPv4.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    state: u8,
    /// Its inode, by which a process's descriptor is found.
    pub inode: u64,
}

impl TcpSocket {
    /// Whether it accepts connections.
    pub fn listens(&self) -> bool {
        self.state == LISTEN
    }

    /// Whether it accepts connections to `address`.
    pub fn listens_on(&self, address: IpAddr, port: u16) -> bool {
        self.listens()
            && self.port == port
            && (self.address == address || self.address.is_unspecified())
    }
}

/// Reads a table's text. Lines that do not parse are passed over: the kernel's format only ever grew at the end.
pub fn parse(text: &str) -> impl Iterator<Item = TcpSocket> + '_ {
    text.lines().skip(1).filter_map(parse_line)
}

fn parse_line(line: &str) -> Option<TcpSocket> {
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    let state = u8::from_str_radix(words.nth(1)?, 16).ok()?;
    // After the state: queues, timer, retransmits, uid, timeout, inode.
    let inode = words.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    Some(TcpSocket {
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        state,
        inode,
    })
}

/// Addresses are printed as words of 32 bits in the host's byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word =
        |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Both tables of this network namespace, one after the other.
///
/// # Errors
/// `/proc/net/tcp` cannot be read; a kernel without IPv6 is no error.
pub fn read() -> std::io::Result<Vec<TcpSocket>> {
    let mut sockets: Vec<TcpSocket> = parse(&std::fs::read_to_string("/proc/net/tcp")?).collect();
    if let Ok(text) = std::fs::read_to_string("/proc/net/tcp6") {
        sockets.extend(parse(&text));
    }
    Ok(sockets)
}

/// Those of `vips` that still have connections.
pub fn busy(sockets: &[TcpSocket], vips: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    sockets
        .iter()
        .filter(|socket| IN_USE.contains(&socket.state))
        .map(|socket| socket.address)
        .filter(|address| vips.contains(address))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Captured on x86-64 from a Tomcat on [::]:80 with one connection to 192.168.1.150, and an sshd on 0.0.0.0:22.
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18231 1 0000000000000000 100 0 0 10 0\n";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 20417 1 0000000000000000 100 0 0 10 0\n   1: 0000000000000000FFFF00009601A8C0:0050 0000000000000000FFFF0000C801A8C0:9C40 01 00000000:00000000 00:00000000 00000000   998        0 20555 1 0000000000000000 20 4 30 10 -1\n";

    #[test]
    fn finds_listeners_and_connections() {
        let sockets: Vec<TcpSocket> = parse(TCP).chain(parse(TCP6)).collect();
        let vip: IpAddr = "192.168.1.150".parse().unwrap();
        let listener = |port| sockets.iter().find(|s| s.listens_on(vip, port)).map(|s| s.inode);
        assert_eq!(listener(80), Some(20417), "[::]:80 accepts IPv4 too");
        assert_eq!(listener(22), Some(18231));
        assert_eq!(listener(8080), None);
        assert_eq!(busy(&sockets, &[vip, "10.0.0.9".parse().unwrap()].into()), [vip].into());
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in
            ["", "x", "h\n0: zz", "h\n 0: 00:00 00 0A", "h\n 0: 0000000:0050 0 0A 0 0 0 0 0 7"]
        {
            assert_eq!(parse(text).count(), 0, "{text:?}");
        }
    }
}
