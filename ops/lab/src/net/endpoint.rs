//! Where a small server listens and a small client asks: transport, address and port.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// `IPPROTO_SCTP` of linux/in.h.
const IPPROTO_SCTP: i32 = 132;

/// Transports that IPVS balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, one association a socket (RFC 6458 §4).
    Sctp,
}

/// One of them at an address, written as `udp/192.168.1.150:53`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Transport.
    pub(crate) transport: Transport,
    /// Address and port.
    pub(crate) address: SocketAddr,
}

impl Transport {
    /// A socket of it, for the address's family, in the calling thread's namespace.
    pub(crate) fn socket(self, address: SocketAddr) -> Result<Socket> {
        let (kind, protocol) = match self {
            Self::Tcp => (Type::STREAM, Protocol::TCP),
            Self::Udp => (Type::DGRAM, Protocol::UDP),
            Self::Sctp => (Type::STREAM, Protocol::from(IPPROTO_SCTP)),
        };
        Socket::new(Domain::for_address(address), kind, Some(protocol))
            .with_context(|| format!("the kernel has no {self} sockets"))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport, self.address)
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (transport, address) = text
            .split_once('/')
            .with_context(|| format!("{text:?} is no endpoint: TCP/IP:PORT"))?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "sctp" => Transport::Sctp,
            other => bail!("{other:?} is no transport: tcp, udp or sctp"),
        };
        let address = address.parse().with_context(|| format!("{address:?} is no IP:PORT"))?;
        Ok(Self { transport, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for text in ["tcp/192.168.1.150:80", "udp/[2001:db8::150]:53", "sctp/0.0.0.0:87"] {
            let endpoint: Endpoint = text.parse().expect("an endpoint");
            assert_eq!(endpoint.to_string(), text);
        }
        for text in ["", "tcp", "tcp/80", "icmp/1.2.3.4:5", "192.168.1.150:80"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
