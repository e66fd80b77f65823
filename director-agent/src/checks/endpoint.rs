//! The sockets of tries.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::Outcome;

/// Where a try goes, and what its packets look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// The kernel's choice when none.
    pub(super) source: Option<IpAddr>,
    pub(super) fwmark: Option<NonZeroU32>,
    /// Hops that its packets live; the kernel's choice when none.
    pub(super) hops: Option<u32>,
}

impl Endpoint {
    /// Connects.
    pub(super) async fn connect(&self) -> Result<TcpStream, Outcome> {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.map_err(|error| self.not_connected(&error))?;
        self.prepare(&SockRef::from(&socket))?;
        socket.connect(self.address).await.map_err(|error| self.not_connected(&error))
    }

    /// A socket for it is as the kernel makes it.
    pub(super) fn is_plain(&self) -> bool {
        let Self { address: _, source, fwmark, hops } = self;
        source.is_none() && fwmark.is_none() && hops.is_none()
    }

    /// Gives a socket its mark and its source.
    pub(super) fn prepare(&self, socket: &SockRef<'_>) -> Result<(), Outcome> {
        self.mark(socket)?;
        self.limit(socket).map_err(|error| self.not_connected(&error))?;
        let Some(source) = self.source()? else { return Ok(()) };
        // The kernel chooses the port at connect, when it knows the other side: else ports would run out.
        setsockopt(&**socket, sockopt::IpBindAddressNoPort, &true)
            .map_err(|errno| self.not_connected(&errno.into()))?;
        let address = SocketAddr::new(source, 0).into();
        socket.bind(&address).map_err(|error| unbound(source, &error))
    }

    /// Why there is no connection.
    pub(super) fn not_connected(&self, error: &io::Error) -> Outcome {
        explain(&format!("connect to {}", self.address), error)
    }

    /// A datagram socket that is connected.
    pub(super) async fn datagrams(&self) -> Result<UdpSocket, Outcome> {
        let any = match self.address {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let source = self.source()?.unwrap_or(any);
        let socket = UdpSocket::bind(SocketAddr::new(source, 0)).await;
        let socket = socket.map_err(|error| unbound(source, &error))?;
        self.mark(&SockRef::from(&socket))?;
        let doing = format!("send to {}", self.address);
        socket.connect(self.address).await.map_err(|error| explain(&doing, &error))?;
        Ok(socket)
    }

    /// Marks the packets of a socket.
    pub(super) fn mark(&self, socket: &SockRef<'_>) -> Result<(), Outcome> {
        let Some(mark) = self.fwmark else { return Ok(()) };
        socket.set_mark(mark.get()).map_err(|error| {
            Outcome::NotTried(format!(
                "packets cannot be marked {mark}: {error}; give the director CAP_NET_ADMIN, or leave check.fwmark out"
            ))
        })
    }

    /// Limits the life of a socket's packets.
    fn limit(&self, socket: &SockRef<'_>) -> io::Result<()> {
        match (self.hops, self.address) {
            (None, _) => Ok(()),
            (Some(hops), SocketAddr::V4(_)) => socket.set_ttl_v4(hops),
            (Some(hops), SocketAddr::V6(_)) => socket.set_unicast_hops_v6(hops),
        }
    }

    /// The source, which must be of the other side's family.
    pub(super) fn source(&self) -> Result<Option<IpAddr>, Outcome> {
        let address = self.address.ip();
        match self.source {
            Some(source) if source.is_ipv4() != address.is_ipv4() => {
                Err(Outcome::NotTried(format!(
                    "{address} cannot be tried from {source}, which is of the other address family: check.source must be of the RIP's"
                )))
            }
            source => Ok(source),
        }
    }
}

fn unbound(source: IpAddr, error: &io::Error) -> Outcome {
    Outcome::NotTried(format!(
        "cannot try from {source}: {error}; check.source must be an address of this director"
    ))
}

/// What a socket's error says: of the other side, or of this host.
pub(super) fn explain(doing: &str, error: &io::Error) -> Outcome {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        // Out of descriptors, memory or local ports: says nothing of the other side.
        Some(
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS | Errno::EADDRNOTAVAIL,
        ) => Outcome::NotTried(format!("{doing}: {error}")),
        Some(Errno::ECONNREFUSED) => Outcome::Failed(format!("{doing} refused")),
        // The kernel or a router on the way says that nobody is there.
        Some(
            errno @ (Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::ETIMEDOUT),
        ) => Outcome::Silent(format!("{doing}: {}", errno.desc())),
        Some(errno) => Outcome::Failed(format!("{doing}: {}", errno.desc())),
        None => Outcome::Failed(format!("{doing}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_this_host_are_not_the_real_servers() {
        let failed = |seen: &str| Outcome::Failed(seen.to_owned());
        let cases = [
            (Errno::ECONNREFUSED, failed("connect to 192.168.1.138:80 refused")),
            (
                Errno::EHOSTUNREACH,
                Outcome::Silent("connect to 192.168.1.138:80: No route to host".to_owned()),
            ),
            (
                Errno::EMFILE,
                Outcome::NotTried(
                    "connect to 192.168.1.138:80: Too many open files (os error 24)".to_owned(),
                ),
            ),
        ];
        for (errno, expected) in cases {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(explain("connect to 192.168.1.138:80", &error), expected);
        }
    }
}
