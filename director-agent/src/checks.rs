//! Checks of real servers: one task for each check that the plan asks for.
//!
//! The tasks only try and tell; [`CheckState`] decides when to try again and what the tries mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::ProbeKind;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::decide::check::{CheckKey, CheckNews, CheckState, Tried};
use crate::metrics::Metrics;

mod http;
mod tcp;

/// How a single try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The real server answered as it should.
    Passed,
    /// It did not; what was seen, in words for people.
    Failed(String),
    /// The fault is on this host, and tells nothing of the real server.
    NotTried(String),
}

/// The running checks.
#[derive(Debug)]
pub struct Checks {
    running: BTreeMap<CheckKey, AbortHandle>,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Shared {
    clock: Clock,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    news: mpsc::Sender<CheckNews>,
}

/// News that wait to be read. A check waits with its next try until its news are taken, so nothing is lost; the number
/// lets a whole rack fail at once without a wait.
const NEWS_CAPACITY: usize = 1024;

impl Checks {
    /// No checks yet. At most `slots` tries are under way at once, each with a socket of its own.
    pub fn new(clock: Clock, metrics: Metrics, slots: usize) -> (Self, mpsc::Receiver<CheckNews>) {
        let (news, receiver) = mpsc::channel(NEWS_CAPACITY);
        let slots = Arc::new(Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS)));
        let shared = Shared { clock, metrics, slots, news };
        (Self { running: BTreeMap::new(), shared }, receiver)
    }

    /// Begins checks, with their first try at once, and ends others. The rest goes on as it was.
    pub fn change(&mut self, begun: Vec<CheckKey>, ended: &[CheckKey]) {
        for key in ended {
            if let Some(task) = self.running.remove(key) {
                task.abort();
            }
        }
        for key in begun {
            let task = tokio::spawn(run(key.clone(), self.shared.clone())).abort_handle();
            if let Some(before) = self.running.insert(key, task) {
                before.abort();
            }
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

/// Tries for as long as the check is wanted.
async fn run(key: CheckKey, shared: Shared) {
    let clock = shared.clock;
    let mut state = CheckState::new(rand::random());
    let mut due = clock.now();
    let mut is_fault_logged = false;
    loop {
        tokio::time::sleep_until(clock.at(due)).await;
        let Ok(slot) = shared.slots.acquire().await else { return };
        let started = clock.now();
        let outcome = try_once(&key).await;
        drop(slot);
        let ended = clock.now();
        shared.metrics.checked(&key.check.probe, &outcome, ended.saturating_sub(started));
        let outcome = match outcome {
            Outcome::Passed => Ok(()),
            Outcome::Failed(seen) => Err(seen),
            Outcome::NotTried(fault) => {
                if !is_fault_logged {
                    tracing::warn!(rip = %key.rip, port = %key.port, fault, "check not possible");
                }
                is_fault_logged = true;
                due = ended + key.check.interval;
                continue;
            }
        };
        is_fault_logged = false;
        let before = state.probe().clone();
        due = state.step(&key.check, Tried { started, ended, outcome });
        if *state.probe() != before {
            let news = CheckNews { key: key.clone(), probe: state.probe().clone() };
            if shared.news.send(news).await.is_err() {
                return;
            }
        }
    }
}

/// Tries once, for at most the check's timeout.
pub async fn try_once(key: &CheckKey) -> Outcome {
    let address = (key.rip, key.port.get()).into();
    let attempt = async {
        match &key.check.probe {
            ProbeKind::Tcp => {
                tcp::connect(address).await.map_or_else(|fault| fault, |_| Outcome::Passed)
            }
            ProbeKind::Http(check) => http::get(address, check).await,
        }
    };
    match tokio::time::timeout(key.check.timeout, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failed(timed_out(&key.check.probe, key.check.timeout)),
    }
}

fn timed_out(probe: &ProbeKind, timeout: Duration) -> String {
    let after = humantime::format_duration(timeout);
    match probe {
        ProbeKind::Tcp => format!("connect timed out after {after}"),
        ProbeKind::Http(check) => format!("GET {} timed out after {after}", check.path),
    }
}

/// Most tries at once: each has a socket, and as many dead real servers are tried within one timeout.
const MOST_SLOTS: u64 = 4096;

/// Tries that may be under way at once: half of the descriptors that this process may open.
pub fn slots() -> usize {
    let (soft, _hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from((soft / 2).clamp(1, MOST_SLOTS)).unwrap_or(1)
}

/// Raises the number of descriptors that this process may open to what [`slots`] can use, as far as the host allows.
pub fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.min(2 * MOST_SLOTS);
    if wanted > soft {
        // Refused, there are fewer slots.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}
