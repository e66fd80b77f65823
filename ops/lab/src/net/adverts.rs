//! Hears VRRP adverts, so that a director can be cut right after one.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::namespace;

/// `ETH_P_IP` in network byte order, as `AF_PACKET` sockets want it.
const ETH_P_IP_BE: i32 = (0x0800_u16.to_be()) as i32;
/// VRRP's protocol number and where an IPv4 header has it.
const VRRP: u32 = 112;
const PROTOCOL_OFFSET: u32 = 9;
/// Classic BPF: load byte, jump if equal, return (`linux/bpf_common.h`).
const BPF_LD_B_ABS: u16 = 0x30;
const BPF_JMP_JEQ_K: u16 = 0x15;
const BPF_RET_K: u16 = 0x06;

/// An ear for adverts at one node.
#[derive(Debug)]
pub(crate) struct AdvertEar {
    socket: Socket,
}

/// An advert on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advert {
    /// When the lab read it.
    pub(crate) heard: Instant,
    /// Source address of the packet.
    pub(crate) source: Ipv4Addr,
    /// Its priority; 0 tells a planned stop.
    pub(crate) priority: u8,
}

impl AdvertEar {
    /// Opens it in the node's namespace; any thread may use it then.
    pub(crate) fn at(node: &str) -> Result<Self> {
        namespace::inside(node, || {
            let socket =
                Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ETH_P_IP_BE)))?;
            socket.attach_filter(&[
                SockFilter::new(BPF_LD_B_ABS, 0, 0, PROTOCOL_OFFSET),
                SockFilter::new(BPF_JMP_JEQ_K, 0, 1, VRRP),
                SockFilter::new(BPF_RET_K, 0, 0, u32::MAX),
                SockFilter::new(BPF_RET_K, 0, 0, 0),
            ])?;
            Ok(Self { socket })
        })
        .with_context(|| format!("cannot listen to adverts at {node}"))
    }

    /// Forgets what was heard so far, then waits for the next advert by which `source` claims the VIP.
    pub(crate) fn next_of(&self, source: Ipv4Addr, timeout: Duration) -> Result<Advert> {
        self.forget()?;
        let start = Instant::now();
        loop {
            let Some(left) = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero())
            else {
                bail!("no advert of {source} within {timeout:?}");
            };
            self.socket.set_read_timeout(Some(left))?;
            if let Some(advert) = self.read()?
                && advert.source == source
                && advert.priority > 0
            {
                return Ok(advert);
            }
        }
    }

    /// All adverts from now until then, in order.
    pub(crate) fn until(&self, end: Instant) -> Result<Vec<Advert>> {
        self.forget()?;
        let mut heard = Vec::new();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            // A timeout of zero would wait for ever.
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            heard.extend(self.read()?);
        }
        Ok(heard)
    }

    fn forget(&self) -> Result<()> {
        self.socket.set_nonblocking(true)?;
        while self.read()?.is_some() {}
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// The next packet; none when the time is over or nothing waits.
    fn read(&self) -> Result<Option<Advert>> {
        let mut bytes = [0_u8; 256];
        let length = match std::io::Read::read(&mut &self.socket, &mut bytes) {
            Ok(length) => length,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock
                        | std::io::ErrorKind::TimedOut
                        | std::io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).context("cannot read adverts"),
        };
        Ok(parse(&bytes[..length], Instant::now()))
    }
}

/// Reads source and priority from an IPv4 packet with VRRP in it, whatever its version.
fn parse(packet: &[u8], heard: Instant) -> Option<Advert> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let priority = *packet.get(header_bytes + 2)?;
    Some(Advert { heard, source: source.into(), priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_source_and_priority() {
        let mut packet = vec![0x45, 0xc0, 0, 40, 0, 1, 0, 0, 255, 112, 0, 0];
        packet.extend([192, 168, 1, 135, 224, 0, 0, 18]);
        packet.extend([0x21, 51, 100, 1, 1, 1, 0, 0, 192, 168, 1, 150]);
        let advert = parse(&packet, Instant::now()).expect("a whole packet");
        assert_eq!((advert.source, advert.priority), (Ipv4Addr::new(192, 168, 1, 135), 100));
        for length in 0..22 {
            assert!(parse(&packet[..length], Instant::now()).is_none(), "{length} bytes");
        }
    }
}
