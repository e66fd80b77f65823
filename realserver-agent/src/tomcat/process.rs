//! Which process serves a port, and when it ends.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sockets;

/// Whether a port is listened on, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Nobody listens.
    None,
    /// Somebody does whom we may not see: another user's process, without `CAP_SYS_PTRACE`.
    Hidden,
    /// This process does.
    Process(u32),
}

/// Looks for the listener of `address:port` in this network namespace. Reads `/proc`: run it off the async workers.
///
/// # Errors
/// `/proc` cannot be read.
pub fn find_listener(address: IpAddr, port: u16) -> io::Result<Listener> {
    let inodes: BTreeSet<u64> = sockets::read()?
        .iter()
        .filter(|socket| socket.listens_on(address, port))
        .map(|socket| socket.inode)
        .collect();
    if inodes.is_empty() {
        return Ok(Listener::None);
    }
    let links: BTreeSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end or be another user's: then it is passed over.
        let Ok(descriptors) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        let holds_it = descriptors.flatten().any(|descriptor| {
            std::fs::read_link(descriptor.path())
                .is_ok_and(|target| target.to_str().is_some_and(|target| links.contains(target)))
        });
        if holds_it {
            return Ok(Listener::Process(pid));
        }
    }
    Ok(Listener::Hidden)
}

/// A watched process.
#[derive(Debug)]
pub struct Watch {
    descriptor: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Begins to watch a process by `pidfd_open(2)`.
    ///
    /// # Errors
    /// ESRCH when it has ended already.
    pub fn new(pid: u32) -> io::Result<Self> {
        let raw =
            i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(raw, PidfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "sound here: OwnedFd owns its descriptor; the replacement is unsafe"
        )]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Self { descriptor })
    }

    /// Resolves when the process has ended. Its sockets are closed by then. May be dropped and called again.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn ended(&self) -> io::Result<()> {
        // A pidfd stays readable for good once the process has ended.
        self.descriptor.readable().await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn finds_ourselves_on_loopback() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(find_listener(address, port).unwrap(), Listener::Process(std::process::id()));
        drop(listener);
        assert_eq!(find_listener(address, port).unwrap(), Listener::None);
    }

    #[tokio::test]
    async fn an_exit_is_seen() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let watch = Watch::new(child.id()).unwrap();
        child.kill().unwrap();
        watch.ended().await.unwrap();
        child.wait().unwrap();
    }
}
