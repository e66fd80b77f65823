//! Drives one server's [`Judge`]: watches its process, tries it, looks at its load.

use std::future::pending;
use std::net::SocketAddr;
use std::time::SystemTime;

use fulcrum_model::plan::WatchedServer;
use fulcrum_model::{Name, ServerEvidence};
use futures::future::{BoxFuture, Either, Fuse, FutureExt as _, select};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::findings::Tomcats;
use super::hsperf::Pace;
use super::jvm::OomWatch;
use super::load::{LOOK_INTERVAL, Look, Looker, PATIENCE};
use super::probe::{self, Failure};
use super::process::{self, Listener, Watch};
use super::status_page;
use super::verdict::{Judge, Sight, next_try};

/// What a watcher tells.
#[derive(Clone, Debug)]
pub struct Report {
    /// The server's evidence as it stands.
    pub evidence: ServerEvidence,
    /// What keeps the watcher from seeing all, with the remedy, or what is wrong beside the verdict.
    pub problem: Option<String>,
    /// The Tomcats that its findings are about.
    pub tomcats: Tomcats,
    /// It follows a try.
    pub is_try: bool,
    /// What the JVM did, where it follows a look.
    pub pace: Option<Pace>,
}

/// Watches a server until the receiver is gone.
pub async fn watch(server: WatchedServer, reports: mpsc::Sender<(Name, Report)>) {
    let mut watcher = Watcher {
        address: SocketAddr::new(server.rip, server.port.get()),
        judge: Judge::new(server.real_server.clone()),
        process: None,
        server,
        load_problem: None,
        tomcats: Tomcats::None,
        hidden: false,
    };
    watcher.run(&reports).await;
}

struct Watcher {
    server: WatchedServer,
    address: SocketAddr,
    judge: Judge,
    process: Option<Followed>,
    load_problem: Option<String>,
    tomcats: Tomcats,
    hidden: bool,
}

/// The process that listens on the port.
struct Followed {
    pid: u32,
    watch: Watch,
    /// None where its control group tells nothing.
    oom: Option<OomWatch>,
}

/// What a report follows.
enum Turn {
    Exit,
    Try,
    Look(Option<Pace>),
}

impl Watcher {
    async fn run(&mut self, reports: &mpsc::Sender<(Name, Report)>) {
        self.find().await;
        let mut next = Instant::now();
        let mut next_look = next;
        let mut attempt = std::pin::pin!(Fuse::<BoxFuture<'static, Sight>>::terminated());
        let mut is_trying = false;
        let mut looking = std::pin::pin!(Fuse::<BoxFuture<'static, (Looker, Look)>>::terminated());
        let mut looker = Some(Looker::new(self.server.clone(), next));
        loop {
            let turn = tokio::select! {
                // The exit of a process goes before all else.
                biased;
                () = ended(self.process.as_ref()) => {
                    self.process_ended().await;
                    // A try under way is the dead process's answer: it would say up again of what has gone.
                    attempt.set(Fuse::terminated());
                    is_trying = false;
                    next = Instant::now() + next_try(&self.judge, self.server.probe.interval);
                    Turn::Exit
                }
                // The load goes first: it tells a server that is full from one that is stuck.
                (idle, look) = &mut looking, if looker.is_none() => {
                    looker = Some(idle);
                    next_look = next_look.max(Instant::now());
                    Turn::Look(self.looked(look))
                }
                sight = &mut attempt, if is_trying => {
                    is_trying = false;
                    self.tried(sight).await;
                    next += next_try(&self.judge, self.server.probe.interval);
                    next = next.max(Instant::now());
                    Turn::Try
                }
                () = tokio::time::sleep_until(next_look), if looker.is_some() => {
                    next_look += LOOK_INTERVAL;
                    if let Some(idle) = looker.take() {
                        let pid = self.process.as_ref().map(|process| process.pid);
                        looking.set(idle.look(pid, self.hidden).boxed().fuse());
                    }
                    continue;
                }
                () = tokio::time::sleep_until(next), if !is_trying => {
                    attempt.set(attempt_once(self.server.clone(), self.address).boxed().fuse());
                    is_trying = true;
                    continue;
                }
            };
            // The agent keeps the newest of each server; a full channel makes us wait here, never grow.
            if reports.send((self.server.real_server.clone(), self.report(&turn))).await.is_err() {
                return;
            }
        }
    }

    async fn tried(&mut self, sight: Sight) {
        let serves = matches!(sight, Sight::Probe(Ok(_)));
        self.judge.see(sight);
        if serves && self.process.is_none() {
            self.find().await;
        }
    }

    fn looked(&mut self, look: Look) -> Option<Pace> {
        if let Some(oom) = self.process.as_mut().and_then(|process| process.oom.as_mut()) {
            // So that an old kill is not taken for that of the exit.
            oom.has_killed(std::time::Instant::now());
        }
        // What was seen of a process that has gone meanwhile says nothing of the next.
        if look.pid != self.process.as_ref().map(|process| process.pid) {
            return None;
        }
        for sight in look.sights {
            self.judge.see(sight);
        }
        self.load_problem = look.problem;
        if let Some(tomcats) = look.tomcats {
            self.tomcats = tomcats;
        }
        look.pace
    }

    async fn process_ended(&mut self) {
        let Some(Followed { pid, oom, .. }) = self.process.take() else { return };
        let at = SystemTime::now();
        let out_of_memory = oom.is_some_and(|mut oom| oom.has_killed(std::time::Instant::now()));
        let listener = self.listener().await;
        tracing::info!(
            real_server = %self.server.real_server, pid, ?listener, out_of_memory, "process ended"
        );
        self.judge.see(Sight::Ended { pid, listener, at, out_of_memory });
        self.load_problem = None;
        self.follow(listener);
    }

    /// Finds the process that listens, and begins to watch it.
    async fn find(&mut self) {
        let listener = self.listener().await;
        self.judge.see(Sight::Listener(listener));
        self.follow(listener);
    }

    fn follow(&mut self, listener: Listener) {
        self.hidden = listener == Listener::Hidden;
        self.process = match listener {
            // One that ended meanwhile is found out by the next try.
            Listener::Process(pid) => Watch::new(pid).ok().map(|watch| {
                let oom = OomWatch::new(pid).ok();
                Followed { pid, watch, oom }
            }),
            Listener::None | Listener::Hidden => None,
        };
    }

    async fn listener(&self) -> Listener {
        let (address, port) = (self.address.ip(), self.address.port());
        let found =
            tokio::task::spawn_blocking(move || process::find_listener(address, port)).await;
        match found {
            Ok(Ok(listener)) => listener,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read /proc");
                Listener::Hidden
            }
            // The runtime is shutting down.
            Err(_) => Listener::Hidden,
        }
    }

    fn report(&self, turn: &Turn) -> Report {
        let hidden = self.hidden.then(|| {
            format!(
                "cannot see which process listens on {}, so its exit is only noticed by probes: run the agent as root or \
                 with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
                self.address
            )
        });
        let (is_try, pace) = match turn {
            Turn::Exit => (false, None),
            Turn::Try => (true, None),
            Turn::Look(pace) => (false, *pace),
        };
        Report {
            evidence: self.judge.evidence(),
            problem: hidden.or_else(|| self.load_problem.clone()),
            tomcats: self.tomcats.clone(),
            is_try,
            pace,
        }
    }
}

async fn ended(process: Option<&Followed>) {
    match process {
        Some(process) if process.watch.ended().await.is_ok() => {}
        Some(_) | None => pending().await,
    }
}

async fn attempt_once(server: WatchedServer, address: SocketAddr) -> Sight {
    let spec = &server.probe;
    let probe = std::pin::pin!(probe::probe(address, spec.http_path.as_deref(), spec.timeout));
    let Some(url) = &spec.ops_url else { return Sight::Probe(probe.await) };
    // Asked shortly before the try is late, so that a server that hangs is not found out later for it.
    let patience = PATIENCE.min(spec.timeout / 2);
    let operations = std::pin::pin!(async {
        tokio::time::sleep(spec.timeout.saturating_sub(patience)).await;
        status_page::answers(url, patience).await
    });
    let (tried, operations) = match select(probe, operations).await {
        Either::Left((tried, operations)) => (tried, Either::Left(operations)),
        Either::Right((answers, probe)) => (probe.await, Either::Right(answers)),
    };
    match tried {
        Err(failure @ Failure::TimedOut { .. }) => {
            let answers = match operations {
                Either::Left(operations) => operations.await,
                Either::Right(answers) => answers,
            };
            if answers { Sight::Late(failure) } else { Sight::Probe(Err(failure)) }
        }
        Ok(_) | Err(Failure::Refused(_) | Failure::Status { .. } | Failure::Other(_)) => {
            Sight::Probe(tried)
        }
    }
}
