//! What the VRRP thread waits for. The kernel keeps the list, so that waiting builds none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// File descriptors that wake the thread while they can be read.
#[derive(Debug)]
pub(super) struct Sources(OwnedFd);

impl Sources {
    /// None yet.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Adds one, until it is closed.
    ///
    /// # Errors
    /// When the kernel has no memory, or the user watches too many (`fs.epoll.max_user_watches`).
    pub(super) fn add(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::add(&self.0, source, EventData::new_u64(0), EventFlags::IN)?)
    }

    /// Waits until one can be read, or for `rest`; says whether all of that is over.
    pub(super) fn wait(&self, rest: Duration) -> bool {
        // epoll_wait(2) counts milliseconds; an advert is not to be late by a part of one.
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        // An interrupted or failed wait is a turn with nothing to do.
        ppoll(&mut fds, Some(TimeSpec::from(rest)), None) == Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_source_wakes_until_it_is_read_or_closed() {
        let sources = Sources::new().expect("a file descriptor");
        let (mut far, mut near) = UnixStream::pair().expect("file descriptors");
        sources.add(&near).expect("room");
        assert!(sources.wait(Duration::ZERO));
        far.write_all(&[1]).expect("it is open");
        assert!(!sources.wait(Duration::from_secs(10)), "it can be read");
        assert!(!sources.wait(Duration::from_secs(10)), "still");
        near.read_exact(&mut [0]).expect("a byte waits");
        assert!(sources.wait(Duration::ZERO));
        far.write_all(&[1]).expect("it is open");
        drop(near);
        assert!(sources.wait(Duration::ZERO), "it was closed");
    }
}
