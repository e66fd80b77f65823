//! The client of all scenarios: one new connection at a steady pace, one HTTP GET on it, one second to answer, no retry.
//! It keeps its pace while requests hang, because no request waits for another.

pub(crate) mod asked;
mod engine;
pub(crate) mod kept;
pub(crate) mod page;
mod report;
pub(crate) mod reused;

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

pub(crate) use report::{Request, Window};

use crate::net::namespace;

/// The pace of all scenarios unless they say otherwise.
pub(crate) const INTERVAL: Duration = Duration::from_millis(10);
/// The same in connections per second.
pub(crate) const RATE: f64 = 100.0;
/// How long a request may take before it has failed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// A client at work, until stopped or dropped.
#[derive(Debug)]
pub(crate) struct Client {
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Client {
    /// Begins to reload the page at `target` from the node.
    pub(crate) fn start(node: &'static str, target: SocketAddrV4) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            namespace::enter(node)?;
            engine::run(target, INTERVAL, TIMEOUT, &stopped, &kept)
        });
        Self { requests, stop, thread: Some(thread) }
    }

    /// Waits until the page has been answered without a failure for `steady`, counted from now.
    pub(crate) fn wait_steady(&self, steady: Duration, timeout: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            let now = Instant::now();
            if now.duration_since(begin) > timeout {
                let last: Vec<String> = self.with(|all| {
                    all.iter()
                        .rev()
                        .take(5)
                        .map(|request| format!("{:?}", request.answer))
                        .collect()
                });
                bail!("the page was not steady for {steady:?} within {timeout:?}; last: {last:?}");
            }
            let from = now.checked_sub(steady).unwrap_or(now).max(begin);
            let window = self.window(from, now);
            if now.duration_since(begin) >= steady
                && window.failed() == 0
                && window.gap_to_end() < Duration::from_millis(200)
            {
                return Ok(());
            }
            self.check()?;
            std::thread::sleep(crate::process::POLL);
        }
    }

    /// Waits until a request that began after `since` was answered; answers with when it began.
    pub(crate) fn wait_answer_since(&self, since: Instant, timeout: Duration) -> Result<Instant> {
        let found = crate::process::wait_until("the page is answered", timeout, || {
            self.check()?;
            Ok(self.with(|all| {
                all.iter().find(|r| r.started >= since && r.answer.is_ok()).map(|r| r.started)
            }))
        })?;
        Ok(found)
    }

    /// Waits until a request that began after `since` was answered by that web server; answers with when it began.
    pub(crate) fn wait_answer_of(
        &self,
        web: &str,
        since: Instant,
        timeout: Duration,
    ) -> Result<Instant> {
        let is_of = |request: &&Request| {
            request.started >= since && request.answer.as_deref().is_ok_and(|name| name == web)
        };
        crate::process::wait_until(&format!("{web} answers"), timeout, || {
            self.check()?;
            Ok(self.with(|all| all.iter().filter(is_of).map(|request| request.started).min()))
        })
    }

    /// The requests that began from `from` to `to`. Those that are still under way are waited for.
    pub(crate) fn settled(&self, from: Instant, to: Instant) -> Window {
        let settled = to + TIMEOUT + Duration::from_millis(100);
        if let Some(left) = settled.checked_duration_since(Instant::now()) {
            std::thread::sleep(left);
        }
        self.window(from, to)
    }

    /// Ends it.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// The same of one that is asked for what it saw later on.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the client panicked"))?,
            None => Ok(()),
        }
    }

    fn window(&self, from: Instant, to: Instant) -> Window {
        self.with(|all| {
            let mut requests: Vec<Request> =
                all.iter().filter(|r| r.started >= from && r.started <= to).cloned().collect();
            requests.sort_by_key(|request| request.started);
            Window { from, to, requests }
        })
    }

    fn check(&self) -> Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            bail!("the client ended early");
        }
        Ok(())
    }

    fn with<T>(&self, look: impl FnOnce(&[Request]) -> T) -> T {
        look(&self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A scenario that fails drops its client; the scenario's own error matters more.
            let _ = thread.join();
        }
    }
}

/// Which part of a whole lies before the piece `index` of `count` equal ones.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn share(index: usize, count: usize) -> f64 {
    index as f64 / count.max(1) as f64
}

/// One request from the node, waited for.
pub(crate) fn get_once(node: &str, target: SocketAddrV4, path: &str) -> Result<String> {
    namespace::inside(node, || page::get(target, path, TIMEOUT))
        .with_context(|| format!("GET http://{target}{path} from {node}"))
}
