//! The driver's thread: takes wishes in, turns them into writes, reads the table again and again.
//!
//! ```text
//!   a wish comes in ----> plan -> write -> told as converged -> read what was touched -> delete what has drained
//!   every second or so -> read a slice of the table ------------^
//! ```

mod read;
mod relay;
mod send;
mod settings;
mod tell;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_ipvs::{Ownership, Reconciler, SchedulerName, VirtualServerKey, rounds};
use fulcrum_runtime::boot;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::read::{Round, Touched};
use self::send::Sent;
use self::settings::Settings;
use super::error::IpvsError;
use super::journal::{self, Journal};
use super::netlink::Kernel;
use super::{
    DriftSeen, Edits, HostSettings, IpvsSnapshot, KernelState, Progress, ReadReply, Relay, Traffic,
    Wish,
};

/// A leaving real server may keep its connections for so long: as long as the kernel keeps an idle TCP connection
/// (900 s, `ipvsadm --list --timeout`), so whoever is cut off has been silent for all that time.
const REMOVAL_ALLOWANCE: Duration = Duration::from_mins(15);
/// Shortest and longest time between two attempts at what the kernel refused. A missing scheduler makes the kernel run
/// modprobe each time.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// Wishes that may interrupt one another before the driver looks at its other duties. Each is begun, so none starves.
const ROUNDS: usize = 16;
/// Another program's change of ours is worth a word for so long: one that does it again shows itself by then.
const DRIFT_TOLD: Duration = Duration::from_mins(1);
/// So many edits at once are worth a line in the log, with the time that they took.
const MANY: u64 = 1000;
/// The thread's niceness, of -20 to 19: what a large plan leaves to the others, reports above all, waits until the kernel has it.
const NICE: i32 = -19;

/// What comes in.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(super) wishes: watch::Receiver<Option<Arc<Wish>>>,
    pub(super) relay: watch::Receiver<Option<Relay>>,
    pub(super) settings: watch::Receiver<Option<HostSettings>>,
    pub(super) frozen: watch::Receiver<bool>,
    pub(super) read_requests: mpsc::Receiver<ReadReply>,
}

/// Starts the thread and waits until it has read the table.
pub(super) async fn spawn(
    state_dir: &Path,
    inbox: Inbox,
    progress: watch::Sender<Progress>,
) -> Result<watch::Receiver<IpvsSnapshot>, IpvsError> {
    let (started, start) = oneshot::channel();
    let state_dir = state_dir.to_owned();
    let body = move || {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::info!(%error, "IPVS is written at normal priority: LimitNICE= would let it before other work");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                // The other side has gone when nobody waits any more.
                let _ = started.send(Err(IpvsError::Thread(error)));
                return;
            }
        };
        runtime.block_on(async {
            match Driver::start(&state_dir, inbox, progress).await {
                Ok((driver, snapshots)) => {
                    if started.send(Ok(snapshots)).is_ok() {
                        driver.run().await;
                    }
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
    };
    std::thread::Builder::new().name("ipvs".to_owned()).spawn(body).map_err(IpvsError::Thread)?;
    start.await.map_err(|_| IpvsError::Stopped)?
}

/// What this thread, which is the driver's own, has had of a processor: others that are busy must not make looks rarer.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// When the last that was sent was done, and what the thread had had of a processor.
#[derive(Clone, Copy)]
struct Written {
    at: Instant,
    processor: Duration,
}

impl Written {
    fn now() -> Self {
        Self { at: Instant::now(), processor: processor_time() }
    }
}

struct Driver {
    inbox: Inbox,
    progress: watch::Sender<Progress>,
    snapshots: watch::Sender<IpvsSnapshot>,
    kernel: Kernel,
    kernel_state: Option<KernelState>,
    reconciler: Reconciler,
    journal: Journal,
    relay: Option<Relay>,
    settings: Settings,
    /// Everything but relays is left alone.
    is_frozen: bool,
    start: Instant,
    wish: Option<Arc<Wish>>,
    edits: Edits,
    written: Written,
    /// The changes of the table that the newest snapshot has.
    published: Option<u64>,
    problems: Problems,
    /// Schedulers that the kernel is known to have: asking for others may make it load modules.
    schedulers: BTreeSet<SchedulerName>,
    /// Written in this turn.
    touched: Touched,
    /// Held something else than was thought, in this turn.
    surprised: BTreeSet<VirtualServerKey>,
    round: Round,
    retry_at: Instant,
    retry_after: Duration,
    traffic: Arc<Traffic>,
    traffic_at: Instant,
    /// The latest first.
    drift: Arc<VecDeque<DriftSeen>>,
}

/// What does not fit, by where it shows.
#[derive(Default)]
struct Problems {
    journal: Option<String>,
    reading: Option<String>,
    writing: Option<String>,
    entries: Vec<String>,
    drift: Option<(Instant, String)>,
}

impl Driver {
    async fn start(
        state_dir: &Path,
        inbox: Inbox,
        progress: watch::Sender<Progress>,
    ) -> Result<(Self, watch::Receiver<IpvsSnapshot>), IpvsError> {
        let mut kernel = Kernel::open().await?;
        let (held, entries) = read::everything(&mut kernel).await?;
        let kernel_state = read::state(&mut kernel).await?;
        let (journal, known, problem) = Journal::open(state_dir.join(journal::FILE), table_name());
        if let Some(problem) = &problem {
            tracing::error!("{problem}");
        }
        let made: Ownership = known.made.iter().copied().collect();
        tracing::info!(
            virtual_servers = held.virtual_servers.len(),
            entries = held.entries(),
            made = known.made.len(),
            "IPVS table read"
        );
        let schedulers = held.virtual_servers.values().map(|v| v.settings.scheduler.clone());
        let schedulers = schedulers.collect();
        let (snapshots, seen) = watch::channel(IpvsSnapshot::default());
        let now = Instant::now();
        let mut driver = Self {
            inbox,
            progress,
            snapshots,
            kernel,
            kernel_state,
            reconciler: Reconciler::new(&made, known.relays, held, REMOVAL_ALLOWANCE),
            journal,
            relay: None,
            settings: Settings::new(known.settings),
            is_frozen: false,
            start: now,
            wish: None,
            edits: Edits::default(),
            written: Written::now(),
            published: None,
            problems: Problems { journal: problem, entries, ..Problems::default() },
            schedulers,
            touched: Touched::default(),
            surprised: BTreeSet::new(),
            round: Round::begun(now),
            retry_at: now,
            retry_after: SHORTEST_RETRY,
            traffic: Arc::default(),
            traffic_at: now,
            drift: Arc::default(),
        };
        // Takes back what a relay of an earlier life left behind.
        driver.set_relay(None);
        driver.publish();
        Ok((driver, seen))
    }

    /// Until every handle is dropped. The kernel's table stays as it is.
    async fn run(mut self) {
        let mut next_look = Instant::now() + rounds::INTERVAL;
        loop {
            tokio::select! {
                changed = self.inbox.wishes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.turn().await;
                }
                changed = self.inbox.relay.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.turn().await;
                }
                changed = self.inbox.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.turn().await;
                }
                changed = self.inbox.frozen.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.turn().await;
                }
                Some(reply) = self.inbox.read_requests.recv() => {
                    let read = self.read_all().await;
                    // Whoever asked may have given up.
                    let _ = reply.send(read);
                    self.turn().await;
                }
                () = tokio::time::sleep_until(next_look) => {
                    let before = processor_time();
                    self.look_and_repair().await;
                    let took = processor_time().saturating_sub(before);
                    next_look = Instant::now() + rounds::pause(took);
                }
            }
        }
    }

    /// Takes in the newest wishes and writes them, then what has drained meanwhile.
    async fn turn(&mut self) {
        self.take_wishes();
        self.write_wishes().await;
        self.publish();
        self.read_touched().await;
        self.write_wishes().await;
        self.reconciler.end_turn();
        self.surprised.clear();
        self.publish();
    }

    /// The look at the table that comes round.
    async fn look_and_repair(&mut self) {
        if Instant::now() >= self.retry_at {
            let longer = (2 * self.retry_after).min(LONGEST_RETRY);
            self.retry_after = if self.reconciler.retry() { longer } else { SHORTEST_RETRY };
            self.retry_at = Instant::now() + self.retry_after;
        }
        match self.look(rounds::slice(self.reconciler.held().entries())).await {
            Ok(()) => self.problems.reading = None,
            Err(error) => {
                let problem = error.to_string();
                if self.problems.reading.as_ref() != Some(&problem) {
                    tracing::error!(%error, "the IPVS table cannot be read");
                }
                self.problems.reading = Some(problem);
            }
        }
        self.read_stale().await;
        self.read_traffic().await;
        self.turn().await;
    }

    /// Makes the newest wishes the reconciler's.
    fn take_wishes(&mut self) {
        let wish = self.inbox.wishes.borrow_and_update().clone();
        let is_known =
            |wish: &Arc<Wish>| self.wish.as_ref().is_some_and(|known| Arc::ptr_eq(known, wish));
        if let Some(wish) = wish.filter(|wish| !is_known(wish)) {
            self.reconciler.want(Arc::clone(&wish.table), wish.allowances.clone());
            self.wish = Some(wish);
        }
        let relay = *self.inbox.relay.borrow_and_update();
        if relay != self.relay {
            self.set_relay(relay);
        }
        let settings = self.inbox.settings.borrow_and_update().clone();
        if let Some(settings) = settings {
            self.reconciler.set_exclusive(settings.ordered.exclusive);
            self.settings.want(settings);
        }
        let is_frozen = *self.inbox.frozen.borrow_and_update();
        if is_frozen != self.is_frozen {
            self.freeze(is_frozen);
        }
    }

    /// Writes until nothing is left to write, taking in newer wishes on the way, and tells how far that came.
    async fn write_wishes(&mut self) {
        self.keep_settings().await;
        let (began, before) = (Written::now(), self.edits.all());
        let busy_before = self.kernel.busy();
        let mut is_settled = false;
        for _ in 0..ROUNDS {
            let work = self.reconciler.plan(self.start.elapsed());
            if work.is_empty() {
                self.problems.writing = None;
                is_settled = true;
                break;
            }
            let sent = self.send(work).await;
            let is_clear = self.reconciler.stale().is_empty();
            match sent {
                Sent::Interrupted => self.take_wishes(),
                Sent::All if !is_clear && self.read_stale().await => {}
                Sent::All | Sent::Failed => {
                    is_settled = true;
                    break;
                }
            }
        }
        // Whoever waits for the table goes on before this is told in the log: it stands since then.
        let times = [
            self.written.at.saturating_duration_since(began.at),
            self.written.processor.saturating_sub(began.processor),
            self.kernel.busy().saturating_sub(busy_before),
        ];
        if is_settled {
            self.tell_progress();
        }
        let edits = self.edits.all() - before;
        if edits >= MANY {
            let [took_ms, processor_ms, kernel_ms] = times.map(|time| 1000.0 * time.as_secs_f64());
            tracing::info!(edits, took_ms, processor_ms, kernel_ms, "IPVS table programmed");
        }
        if self.reconciler.journal_is_due() {
            self.write_journal();
        }
    }
}

/// Names the kernel's table for the journal: this boot's, of this network namespace.
pub(crate) fn table_name() -> String {
    let boot_id = boot::boot_id().unwrap_or_else(|error| {
        tracing::warn!(%error, "no boot id: the IPVS journal is not trusted after a restart");
        format!("unknown-{}", std::process::id())
    });
    let namespace = std::fs::read_link("/proc/self/ns/net")
        .map_or_else(|_| "unknown".to_owned(), |link| link.to_string_lossy().into_owned());
    format!("{boot_id} {namespace}")
}
