//! Saves whole states beside the work that must not wait for the disk.

use std::future::Future;
use std::io;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Saves the newest state of one file, of which it is the only writer. A state that is replaced before its turn came is
/// never written, so a slow disk costs freshness and no memory.
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

impl<T: Clone + Send + Sync + 'static> Saver<T> {
    /// `saved` is what the file holds now, and `write` puts a state there; it may block. `what` names the file in logs.
    pub fn spawn(
        what: &'static str,
        saved: T,
        write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let (newest, receiver) = watch::channel(Numbered { number: 0, state: saved });
        let (done_sender, done) = watch::channel(Done::default());
        let task = tokio::spawn(save_newest(what, receiver, done_sender, write));
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

async fn save_newest<T: Clone + Send + Sync + 'static>(
    what: &'static str,
    mut newest: watch::Receiver<Numbered<T>>,
    done: watch::Sender<Done>,
    write: impl Fn(&T) -> io::Result<()> + Clone + Send + 'static,
) {
    while newest.changed().await.is_ok() {
        let (number, state) = {
            let newest = newest.borrow_and_update();
            (newest.number, newest.state.clone())
        };
        let write = write.clone();
        let fault = match tokio::task::spawn_blocking(move || write(&state)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &fault {
            tracing::error!(what, error, "not saved");
        }
        done.send_replace(Done { number, fault: fault.map(|fault| format!("{what}: {fault}")) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    async fn a_disk_that_refuses_is_told_until_it_takes_again() {
        let saver = Saver::spawn("numbers", 0, |number| {
            if *number == 1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        saver.save(1).await;
        assert_eq!(saver.fault().as_deref(), Some("numbers: no storage space"));
        saver.save(2).await;
        assert_eq!(saver.fault(), None);
    }
}
