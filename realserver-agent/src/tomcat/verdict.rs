//! What is made of a server: a pure state machine.
//!
//! ```text
//!            first look              listener gone, process lives
//!  Unknown ─────────────▶ Up ◀────────────────────────────────▶ Stopping
//!                         │ ▲                                       │
//!         process ended,  │ │ a probe succeeds                      │ process ended
//!         refused, or two │ │                                       │
//!         tries failed    ▼ │                                       ▼
//!                        Down ◀─────────────────────────────────────┘
//! ```
//! Saturated is Up with every thread of the connector busy: by the status page's word, because the page or a probe gets no answer while
//! something else proves that the server works, or both; or with a JVM that is kept from its work by a full heap. Draining is Up with a
//! connector that is paused.

use std::time::{Duration, SystemTime};

use fulcrum_model::{Name, ServerEvidence, ServerLoad, Verdict};

use super::probe::{Answer, Failure};
use super::process::Listener;

/// Failed tries in a row before a server that does not refuse connections is down: one slow answer is no failure.
const TRIES: u32 = 2;
/// Share of its time, in thousandths, from which a JVM's collectors are told of, and below which they no longer are.
const GC_TOLD: (u32, u32) = (500, 300);
/// What is told of a JVM whose heap stays full.
const EXHAUSTED: &str = "its heap stays full after full collections, which take most of its time: OutOfMemoryError is near, or was thrown";
/// Most contexts that are named.
const MAX_NAMED: usize = 8;

/// What is known of one server.
#[derive(Clone, Debug)]
pub struct Judge {
    real_server: Name,
    standing: Standing,
    pid: Option<u32>,
    failures: u32,
    answer: Option<Answer>,
    load: Option<ServerLoad>,
    stopped_contexts: Vec<String>,
    /// Every thread of the connector was busy, in words, and nearly all still are.
    full: Option<String>,
    is_collecting: bool,
    is_paused: bool,
    is_exhausted: bool,
    silent: Option<Silence>,
    /// A probe timed out, and this proves that the server works.
    late: Option<String>,
    exit_seen_at: Option<SystemTime>,
}

/// A status page on the server's own connector gave no answer.
#[derive(Clone, Debug)]
struct Silence {
    /// How long it was waited for.
    waited: Duration,
    /// What proves that the server works all the same.
    proof: Option<Proof>,
}

/// What proves that a server works whose connector does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The connector for operations answers.
    Operations,
    /// The JVM's own clock goes on.
    Jvm,
}

impl Proof {
    fn as_str(self) -> &'static str {
        match self {
            Self::Operations => "the ops connector answers",
            Self::Jvm => "its JVM runs",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Unknown,
    Up,
    Stopping(String),
    Down(String),
}

/// Something seen.
#[derive(Clone, Debug)]
pub enum Sight {
    /// Who listens on the port.
    Listener(Listener),
    /// The process that listened has ended; who listens now.
    Ended {
        /// The process.
        pid: u32,
        /// Who listens now.
        listener: Listener,
        /// When it was seen.
        at: SystemTime,
        /// The kernel killed a process of its control group for want of memory.
        out_of_memory: bool,
    },
    /// A try's result.
    Probe(Result<Answer, Failure>),
    /// A try timed out, and the connector for operations answered after it.
    Late(Failure),
    /// The load by the status page and the JVM's counters; none when neither could be read.
    Load(Option<ServerLoad>),
    /// Contexts that are stopped, by the status page.
    Contexts(Vec<String>),
    /// The status page, on the server's own connector, gave no answer in time.
    Silent {
        /// How long it was waited for.
        waited: Duration,
        /// What proves that the server works all the same.
        proof: Option<Proof>,
    },
    /// Whether the connector is paused, by the JMX proxy.
    Paused(bool),
    /// Whether full collections take most of the JVM's time and leave its heap full, by its counters.
    Exhausted(bool),
}

impl Judge {
    /// Nothing is known yet.
    pub fn new(real_server: Name) -> Self {
        Self {
            real_server,
            standing: Standing::Unknown,
            pid: None,
            failures: 0,
            answer: None,
            load: None,
            stopped_contexts: Vec::new(),
            full: None,
            is_collecting: false,
            is_paused: false,
            is_exhausted: false,
            silent: None,
            late: None,
            exit_seen_at: None,
        }
    }

    /// Whether the server is to be tried often, for it may come back at any moment.
    pub fn is_down(&self) -> bool {
        matches!(self.standing, Standing::Down(_))
    }

    /// Takes in a sight.
    pub fn see(&mut self, sight: Sight) {
        match sight {
            Sight::Listener(Listener::Process(pid)) => self.pid = Some(pid),
            Sight::Listener(Listener::Hidden | Listener::None) => self.pid = None,
            Sight::Ended { pid, listener, at, out_of_memory } => {
                self.exit_seen_at = Some(at);
                self.ended(pid, listener, out_of_memory);
            }
            Sight::Probe(Ok(answer)) => {
                self.failures = 0;
                self.late = None;
                // A page needs a thread; a connection is accepted without one.
                if answer.status.is_some() {
                    self.silent = None;
                }
                self.answer = Some(answer);
                self.standing = Standing::Up;
            }
            Sight::Probe(Err(failure)) => {
                self.late = None;
                self.fail(&failure);
            }
            Sight::Late(failure) => {
                self.late = Some(format!("{failure}, while {}", Proof::Operations.as_str()));
                self.fail(&failure);
            }
            Sight::Load(load) => self.loaded(load),
            Sight::Contexts(stopped) => self.stopped_contexts = stopped,
            Sight::Silent { waited, proof } => {
                // What the page said before is old: only a proof excuses what times out from here on.
                self.full = None;
                self.silent = Some(Silence { waited, proof });
            }
            Sight::Paused(is_paused) => self.is_paused = is_paused,
            Sight::Exhausted(is_exhausted) => self.is_exhausted = is_exhausted,
        }
    }

    fn ended(&mut self, pid: u32, listener: Listener, out_of_memory: bool) {
        match listener {
            Listener::None => {
                self.pid = None;
                let how = match (out_of_memory, self.is_exhausted) {
                    (true, _) => "killed: out of memory",
                    // Such as by -XX:+ExitOnOutOfMemoryError.
                    (false, true) => "exited with its heap full",
                    (false, false) => "exited",
                };
                self.forget();
                self.standing = Standing::Down(format!("process {pid} {how}"));
            }
            // A server of several processes: another one listens on.
            Listener::Hidden => self.pid = None,
            Listener::Process(other) => self.pid = Some(other),
        }
    }

    /// What was seen of a process that has gone says nothing of the next.
    fn forget(&mut self) {
        self.load = None;
        self.answer = None;
        self.stopped_contexts.clear();
        self.full = None;
        self.is_collecting = false;
        self.is_paused = false;
        self.is_exhausted = false;
        self.silent = None;
        self.late = None;
    }

    fn loaded(&mut self, load: Option<ServerLoad>) {
        self.load = load;
        self.silent = None;
        let (busy, most) = load.map_or((0, 0), |load| (load.busy_threads, load.max_threads));
        if most > 0 && busy >= most {
            self.full = Some(format!("{busy} of {most} threads busy"));
        } else if u64::from(busy) * 8 <= u64::from(most) * 7 {
            // Not before an eighth of them is free: a server on the edge would chatter.
            self.full = None;
        }
        let share = load.map_or(0, |load| load.gc_share_permille);
        let (from, until) = GC_TOLD;
        self.is_collecting = share >= if self.is_collecting { until } else { from };
    }

    /// Whether a try that timed out is no failure: the server works, and has no thread for us, or takes no new connections.
    fn is_excused(&self, failure: &Failure) -> bool {
        let is_proven = self.silent.as_ref().is_some_and(|silence| silence.proof.is_some());
        matches!(failure, Failure::TimedOut { .. })
            && (self.full.is_some() || self.is_paused || is_proven || self.late.is_some())
    }

    fn fail(&mut self, failure: &Failure) {
        if self.is_excused(failure) {
            self.failures = 0;
            self.answer = None;
            self.standing = Standing::Up;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let refused = matches!(failure, Failure::Refused(_));
        match (&self.standing, refused, self.pid) {
            // The connector is closed while the process lives: it is on its way out, or not yet there.
            (Standing::Up | Standing::Stopping(_), true, Some(pid)) => {
                self.standing = Standing::Stopping(format!("{failure} while process {pid} lives"));
            }
            // The exit of a process stays the reason until something new is known.
            (Standing::Down(_), true, _) => {}
            (Standing::Unknown | Standing::Up | Standing::Stopping(_), true, _) => {
                self.standing = Standing::Down(failure.to_string());
            }
            (Standing::Up | Standing::Stopping(_), false, _) if self.failures < TRIES => {}
            (
                Standing::Unknown | Standing::Up | Standing::Stopping(_) | Standing::Down(_),
                false,
                _,
            ) => {
                self.standing = Standing::Down(failure.to_string());
            }
        }
        if !matches!(self.standing, Standing::Up) {
            self.answer = None;
        }
    }

    /// The evidence as it stands.
    pub fn evidence(&self) -> ServerEvidence {
        let (verdict, reason) = match &self.standing {
            Standing::Unknown => (Verdict::Unknown, "not tried yet".to_owned()),
            Standing::Stopping(reason) => (Verdict::Stopping, reason.clone()),
            Standing::Down(reason) => (Verdict::Down, reason.clone()),
            Standing::Up => self.serving(),
        };
        let remarks = self.remarks().into_iter().filter(|remark| *remark != reason);
        let mut reasons: Vec<String> = remarks.collect();
        reasons.insert(0, reason);
        ServerEvidence {
            real_server: self.real_server.clone(),
            verdict,
            reasons,
            pid: self.pid,
            probe_time: self.answer.map(|answer| answer.time),
            http_status: self.answer.and_then(|answer| answer.status),
            // A connector that has no thread for the status page has all of them busy.
            load: self.load.map(|load| match &self.silent {
                Some(_) => ServerLoad { busy_threads: load.max_threads, ..load },
                None => load,
            }),
            exit_seen_at: self.exit_seen_at,
            // The agent adds it.
            restart: None,
        }
    }

    /// The verdict of a server that is up.
    fn serving(&self) -> (Verdict, String) {
        if self.is_paused {
            let reason = "its connector is paused: new connections get no answer";
            return (Verdict::Draining, reason.to_owned());
        }
        // The cause before what it brings about.
        if self.is_exhausted {
            return (Verdict::Saturated, EXHAUSTED.to_owned());
        }
        if let Some(full) = &self.full {
            return (Verdict::Saturated, full.clone());
        }
        if let Some(Silence { waited, proof }) = &self.silent {
            let waited = humantime::format_duration(*waited);
            let proof = proof.map(|proof| format!(", while {}", proof.as_str()));
            let proof = proof.unwrap_or_default();
            let reason = format!("no thread for the status page within {waited}{proof}");
            return (Verdict::Saturated, reason);
        }
        match &self.late {
            Some(late) => (Verdict::Saturated, late.clone()),
            None => (Verdict::Up, answered(self.answer)),
        }
    }

    /// What is told beside the verdict. Without numbers that change all the time, lest each be news.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.stopped_contexts.is_empty() {
            remarks.push(stopped(&self.stopped_contexts));
        }
        if self.is_exhausted {
            remarks.push(EXHAUSTED.to_owned());
        } else if self.is_collecting {
            remarks.push("garbage collection takes most of its JVM's time".to_owned());
        }
        remarks
    }
}

/// `contexts localhost/a, localhost/b are stopped`.
pub fn stopped(contexts: &[String]) -> String {
    let named = contexts.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = contexts.len().saturating_sub(MAX_NAMED);
    match (contexts.len(), more) {
        (1, _) => format!("context {named} is stopped"),
        (_, 0) => format!("contexts {named} are stopped"),
        (_, more) => format!("contexts {named} and {more} more are stopped"),
    }
}

/// Whether a load differs enough from the one told last to be told at once. The ratio of busy threads must change by an eighth, so
/// that a server under an even load does not chatter, whichever step it is at.
pub fn is_news(told: Option<&ServerLoad>, now: Option<&ServerLoad>) -> bool {
    const STEP: u64 = 125;
    let (told, now) = match (told, now) {
        (Some(told), Some(now)) => (told, now),
        (None, None) => return false,
        (None, Some(_)) | (Some(_), None) => return true,
    };
    let ratio = |load: &ServerLoad| {
        let busy = u64::from(load.busy_threads) * 1000;
        busy.checked_div(u64::from(load.max_threads)).unwrap_or(0).min(1000)
    };
    let (before, after) = (ratio(told), ratio(now));
    let is_edge = |ratio: u64| ratio == 1000;
    let gc = u64::from(told.gc_share_permille).abs_diff(u64::from(now.gc_share_permille));
    before.abs_diff(after) >= STEP
        || is_edge(before) != is_edge(after)
        || gc >= STEP
        || told.contexts_stopped != now.contexts_stopped
}

fn answered(answer: Option<Answer>) -> String {
    match answer {
        Some(Answer { status: Some(status), .. }) => format!("answers {status}"),
        Some(Answer { status: None, .. }) | None => "accepts connections".to_owned(),
    }
}

/// Time to the next try: every 100 ms while down, so that a server that comes back is seen at once; a try at a closed port
/// on the own host costs some 50 µs. Otherwise the interval.
pub fn next_try(judge: &Judge, interval: Duration) -> Duration {
    if judge.is_down() { interval.min(Duration::from_millis(100)) } else { interval }
}

#[cfg(test)]
mod tests;
