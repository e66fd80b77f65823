//! Checks of real servers: one task for each check that the plan asks for.
//!
//! The tasks only try and tell; [`CheckState`] decides when to try again and what the tries mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fulcrum_model::ProbeKind;
use fulcrum_model::fuse::{HOLD, Remark};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::decide::check::{CheckKey, CheckNews, CheckState, Tried};
use crate::ipvs::IpvsSnapshot;
use crate::metrics::Metrics;

mod datagram;
mod dns;
mod endpoint;
mod grpc;
mod http;
mod lane;
mod lines;
mod local;
mod mysql;
mod path;
mod tls;

use endpoint::Endpoint;
use lane::Lanes;

/// How a single try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The real server answered as it should.
    Passed,
    /// It did, and there is something to tell.
    Remarked(Remark),
    /// It answered otherwise; what was seen, in words for people.
    Failed(String),
    /// It did not answer at all: it may be dead, or the way there cut. What was waited for, in words for people.
    Silent(String),
    /// The fault is on this host, and tells nothing of the real server.
    NotTried(String),
}

/// What a try comes to where it goes well: nothing, or a remark.
type Attempt = Result<Option<Remark>, Outcome>;

fn failed<T>(seen: impl Into<String>) -> Result<T, Outcome> {
    Err(Outcome::Failed(seen.into()))
}

/// The running checks.
#[derive(Debug)]
pub struct Checks {
    running: BTreeMap<CheckKey, AbortHandle>,
    lanes: Lanes,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Shared {
    clock: Clock,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    news: mpsc::Sender<CheckNews>,
    attention: Attention,
    /// Of the programs that this host offers.
    command_dir: Option<Arc<Path>>,
    /// What the kernel forwards.
    kernel: watch::Receiver<IpvsSnapshot>,
}

/// After somebody fell silent or was heard again, each try of anybody is told for a while: who else answers tells whether the
/// way is cut. At other times only what changes is told.
#[derive(Clone, Debug, Default)]
struct Attention {
    /// Milliseconds of the clock.
    until: Arc<AtomicU64>,
}

impl Attention {
    fn call(&self, now: Duration) {
        self.until.fetch_max(millis(now + HOLD), Ordering::Relaxed);
    }

    fn is_called(&self, now: Duration) -> bool {
        millis(now) < self.until.load(Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// News that wait to be read. A check waits with its next try until its news are taken, so nothing is lost; the number
/// lets a whole rack fail at once without a wait.
const NEWS_CAPACITY: usize = 1024;

impl Checks {
    /// No checks yet; within a Tokio runtime. At most `slots` tries are under way at once, each with a socket of its own.
    /// `command_dir` holds the programs that checks may run. Checks through VIPs wait until `kernel` knows their ways.
    pub fn new(
        clock: Clock,
        metrics: Metrics,
        slots: usize,
        command_dir: Option<&Path>,
        kernel: watch::Receiver<IpvsSnapshot>,
    ) -> (Self, mpsc::Receiver<CheckNews>) {
        let (news, receiver) = mpsc::channel(NEWS_CAPACITY);
        let slots = Arc::new(Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS)));
        let command_dir = command_dir.map(Arc::from);
        let attention = Attention::default();
        let shared = Shared { clock, metrics, slots, news, attention, command_dir, kernel };
        (Self { running: BTreeMap::new(), lanes: Lanes::start(), shared }, receiver)
    }

    /// Begins checks, with their first try at once, and ends others. The rest goes on as it was.
    pub fn change(&mut self, begun: Vec<CheckKey>, ended: &[CheckKey]) {
        for key in ended {
            if let Some(task) = self.running.remove(key) {
                task.abort();
            }
        }
        for key in begun {
            let lane = self.lanes.of(&key.check.probe);
            let task = lane.spawn(run(key.clone(), self.shared.clone())).abort_handle();
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
async fn run(key: CheckKey, mut shared: Shared) {
    let clock = shared.clock;
    let mut state = CheckState::new(rand::random());
    let mut due = clock.now();
    let mut is_fault_logged = false;
    loop {
        let late = key.check.jitter.mul_f64(rand::random());
        tokio::time::sleep_until(clock.at(due + late)).await;
        if !path::is_there(&key, &mut shared.kernel).await {
            return;
        }
        let Ok(slot) = shared.slots.acquire().await else { return };
        let started = clock.now();
        let outcome = path::tried(&key, shared.command_dir.as_deref()).await;
        drop(slot);
        let ended = clock.now();
        shared.metrics.checked(&key.check.probe, &outcome, ended.saturating_sub(started));
        let is_answered = !matches!(outcome, Outcome::Silent(_));
        let outcome = match outcome {
            Outcome::Passed => Ok(None),
            Outcome::Remarked(remark) => Ok(Some(remark)),
            Outcome::Failed(seen) | Outcome::Silent(seen) => Err(seen),
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
        let (before, tries) = (state.probe().clone(), state.tries());
        due = state.step(&key.check, Tried { started, ended, outcome, is_answered });
        let turns = tries.silence.is_some() != state.tries().silence.is_some();
        if turns {
            shared.attention.call(ended);
        }
        if turns || *state.probe() != before || shared.attention.is_called(ended) {
            let probe = state.probe().clone();
            let news = CheckNews { key: key.clone(), probe, tries: state.tries() };
            if shared.news.send(news).await.is_err() {
                return;
            }
        }
    }
}

/// Tries once, for at most the check's timeout. `command_dir` holds the programs that this host offers.
pub async fn try_once(key: &CheckKey, command_dir: Option<&Path>) -> Outcome {
    let check = &key.check;
    let endpoint = match endpoint(key) {
        Ok(endpoint) => endpoint,
        Err(outcome) => return outcome,
    };
    match tokio::time::timeout(check.timeout, attempt(&endpoint, &check.probe, command_dir)).await {
        Ok(Ok(None)) => Outcome::Passed,
        Ok(Ok(Some(remark))) => Outcome::Remarked(remark),
        Ok(Err(outcome)) => outcome,
        // Nobody said that nobody listens.
        Err(_) if matches!(&check.probe, ProbeKind::Udp(udp) if udp.min_reply.is_none()) => {
            Outcome::Passed
        }
        Err(_) => match &check.probe {
            // The fault is nobody's on the way.
            ProbeKind::Command(_) | ProbeKind::File(_) => Outcome::Failed(timed_out(key)),
            ProbeKind::Tcp(_)
            | ProbeKind::Http(_)
            | ProbeKind::Grpc(_)
            | ProbeKind::Udp(_)
            | ProbeKind::Icmp
            | ProbeKind::Dns(_)
            | ProbeKind::Smtp(_)
            | ProbeKind::Redis(_)
            | ProbeKind::Mysql => Outcome::Silent(timed_out(key)),
        },
    }
}

fn endpoint(key: &CheckKey) -> Result<Endpoint, Outcome> {
    let CheckKey { rip, port, check, via } = key;
    if let Some(via) = via {
        return path::endpoint(key, *via);
    }
    let address = (*rip, port.get()).into();
    Ok(Endpoint { address, source: check.source, fwmark: check.fwmark, hops: None })
}

async fn attempt(endpoint: &Endpoint, probe: &ProbeKind, command_dir: Option<&Path>) -> Attempt {
    match probe {
        ProbeKind::Tcp(None) => endpoint.is_accepted().await.map(|()| None),
        ProbeKind::Tcp(Some(check)) => {
            let stream = endpoint.connect().await?;
            let rip = endpoint.address.ip();
            tls::handshake(check, (rip, None), &[], stream).await.map(|(_, remark)| remark)
        }
        ProbeKind::Http(check) => http::get(endpoint, check).await,
        ProbeKind::Grpc(check) => grpc::ask(endpoint, check).await,
        ProbeKind::Udp(check) => datagram::udp(endpoint, check).await,
        ProbeKind::Icmp => datagram::echo(endpoint).await,
        ProbeKind::Dns(check) => dns::ask(endpoint, check).await,
        ProbeKind::Smtp(check) => lines::smtp(endpoint, check).await,
        ProbeKind::Redis(check) => lines::redis(endpoint, check).await,
        ProbeKind::Mysql => mysql::handshake(endpoint).await,
        ProbeKind::Command(check) => local::run(endpoint, check, command_dir).await,
        ProbeKind::File(check) => local::file(check).await,
    }
}

fn timed_out(key: &CheckKey) -> String {
    let after = humantime::format_duration(key.check.timeout);
    let rip = key.rip;
    match &key.check.probe {
        ProbeKind::Tcp(None) => format!("connect timed out after {after}"),
        ProbeKind::Tcp(Some(_)) => format!("TLS handshake timed out after {after}"),
        ProbeKind::Http(check) => {
            let paths: Vec<_> = check.pages.iter().map(|page| page.path.as_str()).collect();
            format!("GET {} timed out after {after}", paths.join(", "))
        }
        ProbeKind::Grpc(_) => format!("gRPC health check timed out after {after}"),
        ProbeKind::Udp(_) => format!("no answer of UDP within {after}"),
        ProbeKind::Icmp => format!("no echo from {rip} within {after}"),
        ProbeKind::Dns(check) => {
            format!("no answer to {} {} within {after}", check.record.as_str(), check.name)
        }
        ProbeKind::Smtp(_) => format!("SMTP timed out after {after}"),
        ProbeKind::Redis(_) => format!("Redis timed out after {after}"),
        ProbeKind::Mysql => format!("MySQL handshake timed out after {after}"),
        ProbeKind::Command(check) => {
            format!("command {} did not end within {after} and was killed", check.program)
        }
        ProbeKind::File(check) => format!("{} could not be read within {after}", check.path),
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
