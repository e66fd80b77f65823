//! Connecting to a real server.

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;
use tokio::net::TcpStream;

use super::Outcome;

/// Connects, from whatever address the routes choose.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Outcome> {
    TcpStream::connect(address).await.map_err(|error| explain(address, &error))
}

fn explain(address: SocketAddr, error: &io::Error) -> Outcome {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        // Out of descriptors, memory or local ports: says nothing of the other side.
        Some(
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS | Errno::EADDRNOTAVAIL,
        ) => Outcome::NotTried(format!("connect to {address}: {error}")),
        Some(Errno::ECONNREFUSED) => Outcome::Failed(format!("connect to {address} refused")),
        Some(errno) => Outcome::Failed(format!("connect to {address}: {}", errno.desc())),
        None => Outcome::Failed(format!("connect to {address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_this_host_are_not_the_real_servers() {
        let address = "192.168.1.138:80".parse().expect("an address");
        let failed = |seen: &str| Outcome::Failed(seen.to_owned());
        let cases = [
            (Errno::ECONNREFUSED, failed("connect to 192.168.1.138:80 refused")),
            (Errno::EHOSTUNREACH, failed("connect to 192.168.1.138:80: No route to host")),
            (
                Errno::EMFILE,
                Outcome::NotTried(
                    "connect to 192.168.1.138:80: Too many open files (os error 24)".to_owned(),
                ),
            ),
        ];
        for (errno, expected) in cases {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(explain(address, &error), expected);
        }
    }
}
