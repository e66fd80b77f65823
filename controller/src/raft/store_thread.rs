//! The thread that owns the store. Everything that touches the disk is done here, one thing after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::store::Store;
use super::store_error::StoreError;

/// The mark is synced this long after it was moved, for it need not be as new as the log: it shows what a damaged
/// database has lost, all but the entries of the last moment before a power loss.
const MARK_DELAY: Duration = Duration::from_millis(100);

type Work = Box<dyn FnOnce(&mut Store) -> Result<(), StoreError> + Send>;

enum Job {
    Run(Work),
    Stop(oneshot::Sender<()>),
}

/// Asks the store's thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StoreHandle {
    /// Unbounded, and yet short: whoever appends waits for the answer before it appends again, and between two appends
    /// there is at most one change of the state, one read per follower and one snapshot.
    jobs: Sender<Job>,
    failure: watch::Receiver<Option<StoreError>>,
}

impl StoreHandle {
    /// Starts the thread. It ends, and closes the store, with [`Self::stop`] or the last handle.
    ///
    /// # Errors
    /// When the system makes no thread.
    pub(crate) fn spawn(store: Store) -> std::io::Result<Self> {
        let (jobs, received) = channel();
        let (failed, failure) = watch::channel(None);
        std::thread::Builder::new()
            .name("raft-store".to_owned())
            .spawn(move || serve(store, &received, &failed))?;
        Ok(Self { jobs, failure })
    }

    /// Has something done and waits for the answer. After an error the store does nothing any more.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Stopped`] after an earlier one.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.post(move |store| {
            let result = work(store);
            let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
            // Whoever asked may have gone.
            let _ = answer.send(result);
            outcome
        });
        answered.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Has something done without waiting for it. A failure shows at the next [`Self::run`].
    pub(crate) fn post(
        &self,
        work: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static,
    ) {
        // When the thread has gone, the next answer that is waited for says so.
        let _ = self.jobs.send(Job::Run(Box::new(work)));
    }

    /// The error that made the store stop, once there is one.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.failure.clone()
    }

    /// Syncs and closes the store.
    pub(crate) async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        if self.jobs.send(Job::Stop(answer)).is_ok() {
            // The thread may have stopped before.
            let _ = answered.await;
        }
    }
}

fn serve(mut store: Store, jobs: &Receiver<Job>, failed: &watch::Sender<Option<StoreError>>) {
    let mut behind_since: Option<Instant> = None;
    loop {
        let job = match behind_since {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => jobs.recv_timeout(MARK_DELAY.saturating_sub(since.elapsed())),
        };
        let result = match job {
            Ok(Job::Run(work)) => guarded(&mut store, work),
            Ok(Job::Stop(answer)) => {
                let result = guarded(&mut store, Store::sync);
                drop(store);
                if let Err(error) = result {
                    tracing::error!(%error, "the store could not be synced when it was closed");
                }
                // Whoever asked may have gone.
                let _ = answer.send(());
                return;
            }
            Err(RecvTimeoutError::Timeout) => guarded(&mut store, Store::sync_mark),
            Err(RecvTimeoutError::Disconnected) => {
                let _ = guarded(&mut store, Store::sync);
                return;
            }
        };
        if let Err(error) = result {
            tracing::error!(%error, directory = %store.directory().display(), "the Raft store has failed");
            failed.send_replace(Some(error));
            return;
        }
        behind_since = match (store.is_mark_behind(), behind_since) {
            (false, _) => None,
            (true, Some(since)) => Some(since),
            (true, None) => Some(Instant::now()),
        };
        if behind_since.is_some_and(|since| since.elapsed() >= MARK_DELAY)
            && let Err(error) = guarded(&mut store, Store::sync_mark)
        {
            tracing::error!(%error, "the Raft store's high-water mark has failed");
            failed.send_replace(Some(error));
            return;
        }
        if !store.is_mark_behind() {
            behind_since = None;
        }
    }
}

/// sled panics on some damage; that ends the store and not the program.
fn guarded(
    store: &mut Store,
    work: impl FnOnce(&mut Store) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    catch_unwind(AssertUnwindSafe(|| work(store))).unwrap_or_else(|panic| {
        Err(StoreError::Damaged(format!("the database broke off: {}", panic_text(&*panic))))
    })
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "it did not say why",
    }
}
