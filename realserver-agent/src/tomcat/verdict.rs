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
//! Saturated is Up with every thread of the connector busy.

use std::time::Duration;

use fulcrum_model::{Name, ServerEvidence, ServerLoad, Verdict};

use super::probe::{Answer, Failure};
use super::process::Listener;

/// Failed tries in a row before a server that does not refuse connections is down: one slow answer is no failure.
const TRIES: u32 = 2;

/// What is known of one server.
#[derive(Clone, Debug)]
pub struct Judge {
    real_server: Name,
    standing: Standing,
    pid: Option<u32>,
    failures: u32,
    answer: Option<Answer>,
    load: Option<ServerLoad>,
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
    },
    /// A try's result, with whether the process that served is known to live.
    Probe(Result<Answer, Failure>),
    /// The status page's load, read after a try and told before its result; none when it could not be read.
    Load(Option<ServerLoad>),
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
            Sight::Ended { pid, listener: Listener::None } => {
                self.pid = None;
                self.load = None;
                self.answer = None;
                self.standing = Standing::Down(format!("process {pid} exited"));
            }
            // A server of several processes: another one listens on.
            Sight::Ended { listener: Listener::Hidden, .. } => self.pid = None,
            Sight::Ended { listener: Listener::Process(other), .. } => self.pid = Some(other),
            Sight::Probe(Ok(answer)) => {
                self.failures = 0;
                self.answer = Some(answer);
                self.standing = Standing::Up;
            }
            Sight::Probe(Err(failure)) => self.fail(&failure),
            Sight::Load(load) => self.load = load,
        }
    }

    fn fail(&mut self, failure: &Failure) {
        if matches!(failure, Failure::TimedOut { .. }) && self.is_full() {
            // No thread was free for the try, and the status page, on a connector of its own, says so: it serves.
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

    /// Whether the status page says that every thread of the connector is busy.
    fn is_full(&self) -> bool {
        self.load.is_some_and(|load| load.max_threads > 0 && load.busy_threads >= load.max_threads)
    }

    /// The evidence as it stands.
    pub fn evidence(&self) -> ServerEvidence {
        let (verdict, reason) = match &self.standing {
            Standing::Unknown => (Verdict::Unknown, "not tried yet".to_owned()),
            Standing::Stopping(reason) => (Verdict::Stopping, reason.clone()),
            Standing::Down(reason) => (Verdict::Down, reason.clone()),
            Standing::Up => match self.load {
                Some(load) if self.is_full() => (
                    Verdict::Saturated,
                    format!("{} of {} threads busy", load.busy_threads, load.max_threads),
                ),
                Some(_) | None => (Verdict::Up, answered(self.answer)),
            },
        };
        ServerEvidence {
            real_server: self.real_server.clone(),
            verdict,
            reasons: vec![reason],
            pid: self.pid,
            probe_time: self.answer.map(|answer| answer.time),
            http_status: self.answer.and_then(|answer| answer.status),
            load: self.load,
        }
    }
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
mod tests {
    use super::*;

    fn ok(status: Option<u16>) -> Sight {
        Sight::Probe(Ok(Answer { time: Duration::from_millis(3), status }))
    }
    fn refused() -> Sight {
        Sight::Probe(Err(Failure::Refused("10.0.0.1:80".parse().unwrap())))
    }
    fn slow() -> Sight {
        Sight::Probe(Err(Failure::TimedOut {
            what: "GET /".to_owned(),
            timeout: Duration::from_secs(1),
        }))
    }
    fn load(busy: u32) -> Sight {
        Sight::Load(Some(ServerLoad {
            busy_threads: busy,
            max_threads: 10,
            ..ServerLoad::default()
        }))
    }
    fn listener(pid: u32) -> Sight {
        Sight::Listener(Listener::Process(pid))
    }
    fn ended(pid: u32, listener: Listener) -> Sight {
        Sight::Ended { pid, listener }
    }

    #[test]
    fn verdicts_follow_what_is_seen() {
        use Verdict::{Down, Saturated, Stopping, Unknown, Up};
        let cases: Vec<(&str, Vec<Sight>, Verdict, &str)> = vec![
            ("nothing yet", vec![], Unknown, "not tried yet"),
            ("first try succeeds", vec![ok(None)], Up, "accepts connections"),
            ("a page", vec![ok(Some(200))], Up, "answers 200"),
            ("first try refused", vec![refused()], Down, "connection to 10.0.0.1:80 refused"),
            (
                "killed",
                vec![listener(8), ok(None), ended(8, Listener::None)],
                Down,
                "process 8 exited",
            ),
            (
                "the exit stays the reason",
                vec![listener(8), ok(None), ended(8, Listener::None), refused()],
                Down,
                "process 8 exited",
            ),
            (
                "another process listens on",
                vec![listener(8), ok(None), ended(8, Listener::Process(9))],
                Up,
                "accepts connections",
            ),
            (
                "closes its connector first",
                vec![listener(8), ok(None), refused()],
                Stopping,
                "connection to 10.0.0.1:80 refused while process 8 lives",
            ),
            (
                "then ends",
                vec![listener(8), ok(None), refused(), ended(8, Listener::None)],
                Down,
                "process 8 exited",
            ),
            ("one slow answer is no failure", vec![ok(None), slow()], Up, "accepts connections"),
            ("two are", vec![ok(None), slow(), slow()], Down, "GET / took longer than 1s"),
            ("slow from the start", vec![slow()], Down, "GET / took longer than 1s"),
            ("comes back", vec![ok(None), slow(), slow(), ok(None)], Up, "accepts connections"),
            (
                "a success between failures counts",
                vec![ok(None), slow(), ok(None), slow()],
                Up,
                "accepts connections",
            ),
            ("all threads busy", vec![ok(None), load(10)], Saturated, "10 of 10 threads busy"),
            ("not all", vec![ok(None), load(9)], Up, "accepts connections"),
            (
                "no thread is free for the tries",
                vec![ok(None), load(10), slow(), load(10), slow(), load(10), slow()],
                Saturated,
                "10 of 10 threads busy",
            ),
            (
                "slow from the start for want of threads",
                vec![load(10), slow()],
                Saturated,
                "10 of 10 threads busy",
            ),
            (
                "slow with threads to spare",
                vec![ok(None), load(9), slow(), load(9), slow()],
                Down,
                "GET / took longer than 1s",
            ),
            (
                "the status page is silent too",
                vec![ok(None), load(10), slow(), Sight::Load(None), slow(), slow()],
                Down,
                "GET / took longer than 1s",
            ),
            (
                "down is down, however busy",
                vec![ok(None), load(10), refused()],
                Down,
                "connection to 10.0.0.1:80 refused",
            ),
        ];
        for (what, sights, verdict, reason) in cases {
            let mut judge = Judge::new("web1".parse().unwrap());
            for sight in sights {
                judge.see(sight);
            }
            let evidence = judge.evidence();
            assert_eq!(
                (evidence.verdict, evidence.reasons[0].as_str()),
                (verdict, reason),
                "{what}"
            );
        }
    }

    #[test]
    fn a_dead_process_leaves_no_traces() {
        let mut judge = Judge::new("web1".parse().unwrap());
        for sight in [listener(8), ok(Some(200)), load(3), ended(8, Listener::None)] {
            judge.see(sight);
        }
        let evidence = judge.evidence();
        assert_eq!((evidence.pid, evidence.probe_time, evidence.http_status), (None, None, None));
        assert_eq!(evidence.load, None);
    }
}
