//! UDP ports behind which the kernel takes GUE out: its generic netlink family `fou` (Linux `include/uapi/linux/fou.h`).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{MsgFlags, recv, send};

use super::netlink;
use super::tunnels::GuePort;

mod wire;

use wire::{Answer, Command};

/// Dumps come in parts of at most 32 KiB.
const BUFFER_BYTES: usize = 64 * 1024;
/// Datagrams of one answer: far more than a dump of every port there is.
const MOST_DATAGRAMS: usize = 1_000;

/// The family, on a socket of its own. Its answers come at once, so that nobody is made to wait.
pub(super) struct Fou {
    socket: OwnedFd,
    family: u16,
    sequence: u32,
}

impl Fou {
    /// Finds the family; the kernel loads the module where it may.
    ///
    /// # Errors
    /// `ENOENT` without the module fou.
    pub(super) fn open() -> io::Result<Self> {
        let mut fou = Self { socket: netlink::open_generic()?, family: 0, sequence: 0 };
        let mut found = None;
        fou.exchange(&Command::Family, |attributes| found = wire::family(attributes))?;
        fou.family = found.ok_or_else(|| io::Error::from_raw_os_error(nix::libc::ENOENT))?;
        Ok(fou)
    }

    /// Every port of this network namespace; whether it is for GUE.
    ///
    /// # Errors
    /// The kernel's errno.
    pub(super) fn ports(&mut self) -> io::Result<BTreeMap<GuePort, bool>> {
        let mut ports = BTreeMap::new();
        self.exchange(&Command::Ports, |attributes| ports.extend(wire::port(attributes)))?;
        Ok(ports)
    }

    /// Opens a port.
    ///
    /// # Errors
    /// `EADDRINUSE` where another socket has it.
    pub(super) fn add(&mut self, port: GuePort) -> io::Result<()> {
        self.exchange(&Command::Add(port), |_| ())
    }

    /// Closes a port.
    ///
    /// # Errors
    /// The kernel's errno; a port that is not there is no error.
    pub(super) fn delete(&mut self, port: GuePort) -> io::Result<()> {
        match self.exchange(&Command::Delete(port), |_| ()) {
            // `fou_destroy` of net/ipv4/fou.c.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(()),
            other => other,
        }
    }

    fn exchange(&mut self, command: &Command, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = wire::request(self.family, command, self.sequence);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut buffer = vec![0; BUFFER_BYTES];
        for _ in 0..MOST_DATAGRAMS {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (sequence, answer) in wire::answers(&buffer[..length]) {
                match answer {
                    // A late one, to a request that was given up.
                    _ if sequence != self.sequence => {}
                    Answer::Told(attributes) => take(attributes),
                    Answer::Done => return Ok(()),
                    Answer::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
                }
            }
        }
        Err(io::Error::other("the kernel's answer has no end"))
    }
}
