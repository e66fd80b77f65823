//! Checks of real servers: one task for each check that the plan asks for, and one thread for all that only try by TCP.
//!
//! They only try and tell; [`CheckState`](crate::decide::check::CheckState) decides when to try again and what the tries mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fulcrum_model::ProbeKind;
use fulcrum_model::fuse::{HOLD, Remark};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::decide::check::{CheckKey, CheckNews};
use crate::ipvs::IpvsSnapshot;
use crate::metrics::Metrics;
use crate::track::command::CommandHome;

mod datagram;
mod dns;
mod endpoint;
mod grpc;
mod http;
mod knock;
mod knocker;
mod lane;
mod lines;
mod local;
mod mysql;
mod path;
mod tls;
mod watched;

use endpoint::Endpoint;
use knock::IdleSockets;
use knocker::Knocker;
use lane::Lanes;
use watched::Watched;

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
    /// Those with a task of their own.
    running: BTreeMap<CheckKey, AbortHandle>,
    lanes: Lanes,
    /// None where the host grants it no thread: then those have tasks too.
    knocker: Option<Knocker>,
    shared: Shared,
}

#[derive(Clone, Debug)]
struct Shared {
    clock: Clock,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    news: mpsc::Sender<CheckNews>,
    attention: Attention,
    means: Means,
    /// What the kernel forwards.
    kernel: watch::Receiver<IpvsSnapshot>,
}

/// What tries make use of.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// Of the programs that this host offers.
    commands: Option<Arc<CommandHome>>,
    idle: IdleSockets,
}

impl Means {
    /// `commands` are those that checks may run.
    pub fn new(commands: Option<CommandHome>) -> Self {
        Self { commands: commands.map(Arc::new), idle: IdleSockets::default() }
    }
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
    /// No checks yet; within a Tokio runtime. At most `slots` tries, two at least, are under way at once, each with a
    /// socket of its own: half of them by TCP alone.
    /// `commands` are those that checks may run. Checks through VIPs wait until `kernel` knows their ways.
    pub fn new(
        clock: Clock,
        metrics: Metrics,
        slots: usize,
        commands: Option<CommandHome>,
        kernel: watch::Receiver<IpvsSnapshot>,
    ) -> (Self, mpsc::Receiver<CheckNews>) {
        let (news, receiver) = mpsc::channel(NEWS_CAPACITY);
        // The thread has slots of its own: it does not stand in the queue for the others.
        let slots = slots.clamp(2, Semaphore::MAX_PERMITS);
        let of_thread = Arc::new(Semaphore::new(slots / 2));
        let slots = Arc::new(Semaphore::new(slots - slots / 2));
        let (attention, means) = (Attention::default(), Means::new(commands));
        let shared = Shared { clock, metrics, slots, news, attention, means, kernel };
        let of_thread = Shared { slots: of_thread, ..shared.clone() };
        let knocker = Knocker::start(of_thread).inspect_err(|error| {
            tracing::warn!(%error, "checks by TCP get no thread of their own, and run beside the rest");
        });
        let (running, lanes) = (BTreeMap::new(), Lanes::start());
        (Self { running, lanes, knocker: knocker.ok(), shared }, receiver)
    }

    /// Begins checks, with their first try at once, and ends others. The rest goes on as it was.
    pub fn change(&mut self, begun: Vec<CheckKey>, ended: &[CheckKey]) {
        for key in ended {
            if let Some(task) = self.running.remove(key) {
                task.abort();
            }
        }
        let begun = match &self.knocker {
            None => begun,
            Some(knocker) => {
                let (knocked, others) = begun.into_iter().partition(knocker::takes);
                let gone = ended.iter().filter(|key| knocker::takes(key)).cloned().collect();
                knocker.change(knocked, gone);
                others
            }
        };
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
    let mut watched = Watched::new(key);
    let mut due = clock.now();
    loop {
        tokio::time::sleep_until(clock.at(watched.time_of(clock.now(), due))).await;
        if !path::is_there(&watched.key, &mut shared.kernel).await {
            return;
        }
        let Ok(slot) = shared.slots.acquire().await else { return };
        let started = clock.now();
        let outcome = path::tried(&watched.key, &shared.means).await;
        drop(slot);
        let news;
        (due, news) = watched.ended(&shared, (started, clock.now()), outcome);
        if let Some(news) = news
            && shared.news.send(news).await.is_err()
        {
            return;
        }
    }
}

/// Tries once, for at most the check's timeout.
pub async fn try_once(key: &CheckKey, means: &Means) -> Outcome {
    let check = &key.check;
    let endpoint = match endpoint(key) {
        Ok(endpoint) => endpoint,
        Err(outcome) => return outcome,
    };
    match tokio::time::timeout(check.timeout, attempt(&endpoint, &check.probe, means)).await {
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

async fn attempt(endpoint: &Endpoint, probe: &ProbeKind, means: &Means) -> Attempt {
    match probe {
        ProbeKind::Tcp(None) => endpoint.is_accepted(&means.idle).await.map(|()| None),
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
        ProbeKind::Command(check) => local::run(endpoint, check, means.commands.as_deref()).await,
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
