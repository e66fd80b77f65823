//! Serving a watcher: what it is told goes out as it reads, and one that does not read loses its place.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Answers that wait for the transport.
pub(crate) const QUEUED: usize = 16;
/// A watcher that reads nothing for so long loses its place to another one.
pub const MAX_STALL: Duration = Duration::from_mins(1);

/// What tells a watcher one answer after the other.
pub trait Telling: Send + 'static {
    /// An answer.
    type Answer: Send + 'static;

    /// The next answer, once there is one; after an error there is none.
    fn next(&mut self) -> impl Future<Output = Result<Self::Answer, Status>> + Send;
}

/// Tells it answer by answer, until an error was told, the client goes, it reads nothing for `stall`, or this controller stops.
pub fn serve<T: Telling>(
    telling: T,
    stopping: CancellationToken,
    stall: Duration,
) -> ReceiverStream<Result<T::Answer, Status>> {
    let (sender, receiver) = mpsc::channel(QUEUED);
    // Not by the transport, which asks for nothing while the client does not read: the place would never be free again.
    tokio::spawn(drive(telling, sender, stopping, stall));
    ReceiverStream::new(receiver)
}

async fn drive<T: Telling>(
    mut telling: T,
    sender: mpsc::Sender<Result<T::Answer, Status>>,
    stopping: CancellationToken,
    stall: Duration,
) {
    loop {
        let answer = tokio::select! {
            () = sender.closed() => return,
            answer = telling.next() => answer,
        };
        let is_last = answer.is_err();
        let sent = tokio::select! {
            // An answer that has room goes first, so that the last one says why.
            biased;
            sent = sender.send_timeout(answer, stall) => sent,
            () = stopping.cancelled() => return,
        };
        if is_last || sent.is_err() {
            return;
        }
    }
}

/// This controller stops.
pub fn stopped() -> Status {
    Status::unavailable("this controller is stopping: ask another one")
}
