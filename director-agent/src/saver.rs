//! Saves whole states beside the work that must not wait for the disk.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Saves the newest state of one file, of which it is the only writer. A state that is replaced before its turn came is
/// never written, so a slow disk costs freshness and no memory; nor is one that the file holds already. What the disk
/// refuses is tried again.
#[derive(Debug)]
pub struct Saver<T> {
    newest: watch::Sender<Numbered<T>>,
    done: watch::Receiver<Done>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Numbered<T> {
    number: u64,
    state: T,
}

/// The last attempt.
#[derive(Clone, Debug, Default)]
struct Done {
    number: u64,
    fault: Option<String>,
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Saver<T> {
    /// `saved` is what the file holds now, and `write` puts a state there; it may block. `what` names the file in logs.
    pub fn spawn(
        what: &'static str,
        saved: T,
        write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        Self::spawn_with_retry(what, saved, write, RETRY)
    }

    fn spawn_with_retry(
        what: &'static str,
        saved: T,
        write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
        retry: Duration,
    ) -> Self {
        let (newest, receiver) = watch::channel(Numbered { number: 0, state: saved.clone() });
        let (done_sender, done) = watch::channel(Done::default());
        let task = tokio::spawn(save_newest(what, saved, receiver, done_sender, write, retry));
        Self { newest, done, task }
    }

    /// Saves this state soon, or a newer one in its place. The future returns when that has been tried.
    pub fn save(&self, state: T) -> impl Future<Output = ()> + Send + 'static {
        let mut number = 0;
        self.newest.send_modify(|newest| {
            number = newest.number + 1;
            *newest = Numbered { number, state };
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

    /// Ends when all is saved.
    pub async fn finish(self) {
        drop(self.newest);
        // A panic of the task was reported by the runtime; nothing is left to do about it.
        let _ = self.task.await;
    }
}

/// Time until a state that the disk refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

async fn save_newest<T: Clone + PartialEq + Send + Sync + 'static>(
    what: &'static str,
    mut saved: T,
    mut newest: watch::Receiver<Numbered<T>>,
    done: watch::Sender<Done>,
    write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
    retry: Duration,
) {
    let mut fault: Option<String> = None;
    loop {
        let changed = newest.changed();
        let is_last = match &fault {
            None => changed.await.is_err(),
            // Without news it is time to try again.
            Some(_) => tokio::time::timeout(retry, changed).await.is_ok_and(|c| c.is_err()),
        };
        if is_last {
            return;
        }
        let (number, state) = {
            let newest = newest.borrow_and_update();
            (newest.number, newest.state.clone())
        };
        let before = fault.take();
        if state != saved || before.is_some() {
            let (write, state) = (write.clone(), state.clone());
            fault = match tokio::task::spawn_blocking(move || write(&state)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
        }
        match &fault {
            None => saved = state,
            Some(error) if before != fault => tracing::error!(what, error, "not saved"),
            Some(_) => {}
        }
        let told = fault.as_ref().map(|fault| format!("{what}: {fault}"));
        done.send_replace(Done { number, fault: told });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn the_newest_is_saved_before_it_ends() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&written);
        let saver = Saver::spawn("numbers", 0, move |number| {
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
    async fn what_the_file_holds_is_not_written() {
        let saver = Saver::spawn("numbers", 7, |_| Err(io::ErrorKind::StorageFull.into()));
        saver.save(7).await;
        assert_eq!(saver.fault(), None);
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told_until_it_takes_again() {
        let is_full = Arc::new(AtomicBool::new(true));
        let disk = Arc::clone(&is_full);
        let write = move |_: &i32| {
            if disk.load(Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        let saver = Saver::spawn_with_retry("numbers", 0, write, Duration::from_millis(1));
        saver.save(1).await;
        assert_eq!(saver.fault().as_deref(), Some("numbers: no storage space"));
        is_full.store(false, Relaxed);
        let mut done = saver.done.clone();
        done.wait_for(|done| done.fault.is_none()).await.expect("the saver tries again");
    }
}
