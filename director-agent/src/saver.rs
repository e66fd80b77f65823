//! Saves whole states beside the work that must not wait for the disk.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Saves the newest state of one file, of which it is the only writer. A state that is replaced before its turn came is
/// never written, so a slow disk costs freshness and no memory. What the disk refuses is tried again. A state that is
/// saved is dropped, so that whoever shares it may change it without a copy.
#[derive(Debug)]
pub struct Saver<T> {
    newest: Arc<Slot<T>>,
    done: watch::Receiver<Done>,
    task: JoinHandle<()>,
}

/// The state that waits to be saved.
#[derive(Debug)]
struct Slot<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct Waiting<T> {
    /// Counts the states.
    number: u64,
    state: Option<T>,
    /// No state will follow.
    is_last: bool,
}

/// The last attempt.
#[derive(Clone, Debug, Default)]
struct Done {
    number: u64,
    fault: Option<String>,
}

/// Time until a state that the disk refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl<T: Send + Sync + 'static> Saver<T> {
    /// `write` puts a state into the file; it may block. `what` names the file in logs.
    pub fn spawn(
        what: &'static str,
        write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        Self::spawn_with_retry(what, write, RETRY)
    }

    fn spawn_with_retry(
        what: &'static str,
        write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
        retry: Duration,
    ) -> Self {
        let waiting = Mutex::new(Waiting { number: 0, state: None, is_last: false });
        let newest = Arc::new(Slot { waiting, changed: Notify::new() });
        let (done_sender, done) = watch::channel(Done::default());
        let task = tokio::spawn(save_newest(what, Arc::clone(&newest), done_sender, write, retry));
        Self { newest, done, task }
    }

    /// Saves this state soon, or a newer one in its place. The future returns when that has been tried.
    pub fn save(&self, state: T) -> impl Future<Output = ()> + Send + 'static {
        let number = self.newest.change(|waiting| {
            waiting.number += 1;
            waiting.state = Some(state);
            waiting.number
        });
        let mut done = self.done.clone();
        async move {
            // The saver ends only with the program.
            let _ = done.wait_for(|done| done.number >= number).await;
        }
    }

    /// Why the last attempt failed, with the remedy.
    pub fn fault(&self) -> Option<String> {
        self.done.borrow().fault.clone()
    }

    /// The same for somebody who asks later.
    pub fn later_fault(&self) -> impl FnOnce() -> Option<String> + Send + 'static {
        let done = self.done.clone();
        move || done.borrow().fault.clone()
    }

    /// Ends when all is saved.
    pub async fn finish(self) {
        self.newest.change(|waiting| waiting.is_last = true);
        // A panic of the task was reported by the runtime; nothing is left to do about it.
        let _ = self.task.await;
    }
}

impl<T> Slot<T> {
    fn change<R>(&self, change: impl FnOnce(&mut Waiting<T>) -> R) -> R {
        // A panic cannot leave it half changed: each field is replaced whole.
        let result = change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
        result
    }
}

async fn save_newest<T: Send + Sync + 'static>(
    what: &'static str,
    newest: Arc<Slot<T>>,
    done: watch::Sender<Done>,
    write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
    retry: Duration,
) {
    let mut fault: Option<String> = None;
    // What the disk refused.
    let mut refused: Option<T> = None;
    loop {
        let (number, state, is_last) = {
            let mut waiting = newest.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            (waiting.number, waiting.state.take(), waiting.is_last)
        };
        let is_again = state.is_none();
        let Some(state) = state.or_else(|| refused.take()) else {
            if is_last {
                return;
            }
            newest.changed.notified().await;
            continue;
        };
        let before = fault.take();
        (refused, fault) = write_one(write.clone(), state).await;
        if let Some(error) = &fault
            && before != fault
        {
            tracing::error!(what, error, "not saved");
        }
        let told = fault.as_ref().map(|fault| format!("{what}: {fault}"));
        done.send_replace(Done { number, fault: told });
        if refused.is_some() {
            if is_last && is_again {
                return;
            }
            // News end the wait; so does time.
            let _ = tokio::time::timeout(retry, newest.changed.notified()).await;
        }
    }
}

/// Gives the state back, with the reason, when the disk refused it.
async fn write_one<T: Send + Sync + 'static>(
    write: impl Fn(&T) -> io::Result<()> + Send + 'static,
    state: T,
) -> (Option<T>, Option<String>) {
    let written = tokio::task::spawn_blocking(move || match write(&state) {
        Ok(()) => (None, None),
        Err(error) => (Some(state), Some(error.to_string())),
    });
    // A panic in there is a defect, and the state is lost with it.
    written.await.unwrap_or_else(|panic| (None, Some(panic.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[tokio::test]
    async fn the_newest_is_saved_before_it_ends() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&written);
        let saver = Saver::spawn("numbers", move |number| {
            log.lock().map_err(|_| io::ErrorKind::Other)?.push(*number);
            Ok(())
        });
        let first = saver.save(1);
        drop(saver.save(2));
        first.await;
        saver.save(3).await;
        assert_eq!(saver.fault(), None);
        drop(saver.save(4));
        saver.finish().await;
        let written = written.lock().expect("no writer panicked").clone();
        assert_eq!(written.last(), Some(&4));
        assert!(written.is_sorted() && written.contains(&3), "{written:?}");
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told_until_it_takes_again() {
        let is_full = Arc::new(AtomicBool::new(true));
        let disk = Arc::clone(&is_full);
        let write = move |_: &i32| {
            if disk.load(Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        let saver = Saver::spawn_with_retry("numbers", write, Duration::from_millis(1));
        saver.save(1).await;
        assert_eq!(saver.fault().as_deref(), Some("numbers: no storage space"));
        is_full.store(false, Relaxed);
        let mut done = saver.done.clone();
        done.wait_for(|done| done.fault.is_none()).await.expect("the saver tries again");
    }
}
