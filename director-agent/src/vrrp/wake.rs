//! Wakes a thread that waits in poll(2), and hands it messages in order.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Messages that may wait. A thread that takes its turn empties its mailbox, so this many are some
/// minutes of a thread that hangs.
const WAITING: usize = 1024;

/// The end that sends; cheap to clone, never blocks.
pub(crate) struct Outbox<T> {
    messages: SyncSender<T>,
    bell: Arc<UnixStream>,
}

/// The end that waits.
pub(crate) struct Inbox<T> {
    messages: Receiver<T>,
    bell: UnixStream,
}

/// Both ends.
///
/// # Errors
/// When the process has no file descriptor left.
pub(crate) fn mailbox<T>() -> io::Result<(Outbox<T>, Inbox<T>)> {
    let (ringer, bell) = UnixStream::pair()?;
    ringer.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    let (sender, receiver) = sync_channel(WAITING);
    let outbox = Outbox { messages: sender, bell: Arc::new(ringer) };
    Ok((outbox, Inbox { messages: receiver, bell }))
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Outbox<T> {
    /// Hands over a message. Gives it back when the other end is gone or hangs.
    pub(crate) fn send(&self, message: T) -> Result<(), T> {
        self.messages.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })?;
        // A full bell rings already.
        let _ = (&*self.bell).write(&[0]);
        Ok(())
    }
}

impl<T> Inbox<T> {
    /// All messages that are there; none when nobody can send any more.
    pub(crate) fn take(&self) -> Option<Vec<T>> {
        let mut rung = [0; 64];
        let is_closed = loop {
            match (&self.bell).read(&mut rung) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        let messages: Vec<T> = self.messages.try_iter().collect();
        (!is_closed || !messages.is_empty()).then_some(messages)
    }
}

impl<T> AsFd for Inbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_until_nobody_sends() {
        let (outbox, inbox) = mailbox().expect("file descriptors");
        assert_eq!(inbox.take(), Some(vec![]));
        let other = outbox.clone();
        assert_eq!((outbox.send(1), other.send(2)), (Ok(()), Ok(())));
        drop((outbox, other));
        assert_eq!(inbox.take(), Some(vec![1, 2]));
        assert_eq!(inbox.take(), None);
    }
}
