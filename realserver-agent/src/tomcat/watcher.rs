//! Drives one server's [`Judge`]: watches its process, tries it, reads its load.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use fulcrum_model::plan::WatchedServer;
use fulcrum_model::{Name, ServerEvidence, ServerLoad, StatusPage};
use futures::future::{BoxFuture, Fuse, FutureExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::probe::{self, Answer, Failure};
use super::process::{self, Listener, Watch};
use super::status_page::{self, StatusPageError};
use super::verdict::{Judge, Sight, next_try};

/// Wait after a refused password before the status page is asked again: twice Tomcat's default lock-out of 300 s.
const DENIED_PAUSE: Duration = Duration::from_mins(10);
/// Time between readings of the status page: it walks every context, and load is no matter of milliseconds.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// What a watcher tells.
#[derive(Clone, Debug)]
pub struct Report {
    /// The server's evidence as it stands.
    pub evidence: ServerEvidence,
    /// What keeps the watcher from seeing all, with the remedy.
    pub problem: Option<String>,
}

/// Watches a server until the receiver is gone.
pub async fn watch(server: WatchedServer, reports: mpsc::Sender<(Name, Report)>) {
    let mut watcher = Watcher {
        address: SocketAddr::new(server.rip, server.port.get()),
        judge: Judge::new(server.real_server.clone()),
        process: None,
        server,
        load_error: None,
        hidden: false,
    };
    watcher.run(&reports).await;
}

struct Watcher {
    server: WatchedServer,
    address: SocketAddr,
    judge: Judge,
    process: Option<(u32, Watch)>,
    load_error: Option<String>,
    hidden: bool,
}

/// When to ask the status page.
struct Asking {
    /// As a matter of routine.
    next: Instant,
    /// Not even for a try that got no answer.
    not_before: Instant,
}

/// A try's result, and the load if the page was asked.
type Tried = (Result<Answer, Failure>, Option<Result<ServerLoad, StatusPageError>>);

impl Watcher {
    async fn run(&mut self, reports: &mpsc::Sender<(Name, Report)>) {
        self.find().await;
        let mut next = Instant::now();
        let mut asking = Asking { next, not_before: next };
        let mut attempt = std::pin::pin!(Fuse::<BoxFuture<'static, Tried>>::terminated());
        let mut is_trying = false;
        loop {
            tokio::select! {
                // The exit of a process goes before all else.
                biased;
                () = ended(self.process.as_ref()) => {
                    self.process_ended().await;
                    // A try under way is the dead process's answer: it would say up again of what has gone.
                    attempt.set(Fuse::terminated());
                    is_trying = false;
                    next = Instant::now() + next_try(&self.judge, self.server.probe.interval);
                }
                (result, load) = &mut attempt, if is_trying => {
                    is_trying = false;
                    // The load goes first: it tells a server that is full from one that is stuck.
                    if let Some(load) = load {
                        asking = self.loaded(load, Instant::now());
                    }
                    self.tried(result).await;
                    next += next_try(&self.judge, self.server.probe.interval);
                    next = next.max(Instant::now());
                }
                () = tokio::time::sleep_until(next), if !is_trying => {
                    let now = Instant::now();
                    let page = self.server.probe.status_page.clone();
                    let page = page.filter(|_| now >= asking.not_before);
                    let is_due = now >= asking.next;
                    let tried = attempt_once(self.server.clone(), self.address, page, is_due);
                    attempt.set(tried.boxed().fuse());
                    is_trying = true;
                    continue;
                }
            }
            // The agent keeps the newest of each server; a full channel makes us wait here, never grow.
            if reports.send((self.server.real_server.clone(), self.report())).await.is_err() {
                return;
            }
        }
    }

    async fn tried(&mut self, result: Result<Answer, Failure>) {
        let serves = result.is_ok();
        self.judge.see(Sight::Probe(result));
        if serves && self.process.is_none() {
            self.find().await;
        }
    }

    fn loaded(&mut self, load: Result<ServerLoad, StatusPageError>, now: Instant) -> Asking {
        let not_before = match &load {
            Err(StatusPageError::Denied(_)) => now + DENIED_PAUSE,
            Ok(_) | Err(_) => now,
        };
        self.load_error = load.as_ref().err().map(ToString::to_string);
        self.judge.see(Sight::Load(load.ok()));
        Asking { next: now + STATUS_INTERVAL, not_before }
    }

    async fn process_ended(&mut self) {
        let Some((pid, _)) = self.process.take() else { return };
        let listener = self.listener().await;
        tracing::info!(real_server = %self.server.real_server, pid, ?listener, "process ended");
        self.judge.see(Sight::Ended { pid, listener });
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
        // One that ended meanwhile is found out by the next try.
        self.process = match listener {
            Listener::Process(pid) => Watch::new(pid).ok().map(|watch| (pid, watch)),
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

    fn report(&self) -> Report {
        let hidden = self.hidden.then(|| {
            format!(
                "cannot see which process listens on {}, so its exit is only noticed by probes: run the agent as root or \
                 with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
                self.address
            )
        });
        Report {
            evidence: self.judge.evidence(),
            problem: hidden.or_else(|| self.load_error.clone()),
        }
    }
}

async fn ended(process: Option<&(u32, Watch)>) {
    match process {
        Some((_, watch)) if watch.ended().await.is_ok() => {}
        Some(_) | None => pending().await,
    }
}

async fn attempt_once(
    server: WatchedServer,
    address: SocketAddr,
    page: Option<StatusPage>,
    is_due: bool,
) -> Tried {
    let spec = &server.probe;
    let tried = probe::probe(address, spec.http_path.as_deref(), spec.timeout).await;
    let is_asked = match &tried {
        Ok(_) => is_due,
        Err(Failure::TimedOut { .. }) => true,
        Err(Failure::Refused(_) | Failure::Status { .. } | Failure::Other(_)) => false,
    };
    let load = match page {
        Some(page) if is_asked => {
            Some(status_page::read(&page, address.port(), spec.timeout).await)
        }
        Some(_) | None => None,
    };
    (tried, load)
}
