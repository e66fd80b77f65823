//! A client that writes without pause, and what became of each write.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Result, bail};

use super::trio::{endpoints, lvsctl};
use crate::cluster::config::Peer;
use crate::cluster::text;

/// A client that applies one new resource after the other.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Write>>>,
    thread: JoinHandle<Result<()>>,
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// Of the resource.
    pub(crate) name: String,
    /// When it was asked for.
    pub(crate) began: Instant,
    /// When lvsctl ended.
    pub(crate) ended: Instant,
    /// Whether it ended well.
    pub(crate) acknowledged: bool,
}

impl Writer {
    /// Starts one of that number.
    pub(crate) fn start(number: usize, peers: &[Peer], bin_dir: &Path, dir: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(Vec::new()));
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&done));
        let (bin_dir, endpoints) = (bin_dir.to_owned(), endpoints(peers));
        let file = dir.join(format!("writer-{number}.yaml"));
        let thread = std::thread::spawn(move || {
            let mut serial = 0;
            while !stopped.load(Ordering::Relaxed) {
                serial += 1;
                let name = format!("site-{number}-{serial}");
                fs::write(&file, format!("kind: Site\nname: {name}\nspec: {{}}\n"))?;
                let path = file.to_string_lossy().into_owned();
                let began = Instant::now();
                let output = lvsctl(&bin_dir, &endpoints, &["apply", "-f", &path])?;
                if output.status.code() == Some(2) {
                    bail!("lvsctl apply: {}", text(&output.stderr));
                }
                let acknowledged = output.status.success();
                let write = Write { name, began, ended: Instant::now(), acknowledged };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(write);
            }
            Ok(())
        });
        Self { stop, done, thread }
    }

    /// All so far.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the first acknowledged write that began after `at` was acknowledged.
    pub(crate) fn first_begun_after(&self, at: Instant) -> Option<Instant> {
        self.writes()
            .iter()
            .filter(|write| write.began >= at && write.acknowledged)
            .map(|write| write.ended)
            .min()
    }

    /// The names that were acknowledged, and how many writes were not.
    pub(crate) fn stop(self) -> Result<(Vec<String>, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        let writes = Arc::clone(&self.done);
        self.thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> =
            writes.iter().filter(|write| write.acknowledged).map(|w| w.name.clone()).collect();
        let failures = writes.len() - names.len();
        Ok((names, failures))
    }
}

/// The names that were acknowledged so far.
pub(crate) fn acknowledged(writers: &[Writer]) -> Vec<String> {
    writers
        .iter()
        .flat_map(Writer::writes)
        .filter(|write| write.acknowledged)
        .map(|write| write.name)
        .collect()
}
