//! Looks at a server's load: its status page, its JVM's counters, and once in a while its files and its JMX.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::ServerLoad;
use fulcrum_model::plan::WatchedServer;
use tokio::time::Instant;

use super::findings::Tomcats;
use super::hsperf::{Counters, Pace, Readings};
use super::installation;
use super::jmx::{self, Proxy};
use super::jvm::CounterFile;
use super::status_page::{self, DENIED_PAUSE, Page, StatusPageError};
use super::verdict::{Proof, Sight, stopped};

/// Time between looks. With [`PATIENCE`] a server whose threads are all taken is known within a second.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Least wait for the status page. It takes some milliseconds, more with many contexts: then it is waited for longer.
pub const PATIENCE: Duration = Duration::from_millis(400);
/// A page is late after so many times the time that it took before.
const LATE_FACTOR: u32 = 4;
/// Time between readings of files, which change with a restart, and searches for a JVM's counters.
const FILES_INTERVAL: Duration = Duration::from_secs(30);
/// Time between questions to JMX, which is for what people do.
const JMX_INTERVAL: Duration = Duration::from_secs(2);

/// What a look saw.
#[derive(Debug)]
pub struct Look {
    /// The process that was looked at.
    pub pid: Option<u32>,
    /// In the order in which the judge is to see them.
    pub sights: Vec<Sight>,
    /// What the JVM did since the look before.
    pub pace: Option<Pace>,
    /// What keeps it from being seen, or is wrong with it.
    pub problem: Option<String>,
    /// The Tomcats, where their files were read.
    pub tomcats: Option<Tomcats>,
}

/// Looks at one server, and knows what it saw before.
pub struct Looker {
    server: WatchedServer,
    /// The status page is served by the server's own connector.
    is_own: bool,
    page: Option<(Page, Duration)>,
    /// Not even after a restart: the user may be locked out.
    page_not_before: Instant,
    pid: Option<u32>,
    counters: Option<Arc<CounterFile>>,
    readings: Readings,
    started: Instant,
    is_exhausted: bool,
    files_next: Instant,
    engine: Option<String>,
    proxy: Option<Proxy>,
    jmx_next: Instant,
    is_paused: bool,
    page_problem: Option<String>,
    jmx_problem: Option<String>,
}

impl Looker {
    /// Nothing was seen yet.
    pub fn new(server: WatchedServer, now: Instant) -> Self {
        let probe = &server.probe;
        let page = probe.status_page.as_ref();
        let (proxy, jmx_problem) = match page.filter(|_| probe.jmx) {
            None => (None, None),
            Some(page) => match Proxy::beside(page, probe.timeout) {
                Ok(proxy) => (Some(proxy), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        Self {
            is_own: page.is_some_and(|page| status_page::is_on(&page.url, server.port.get())),
            server,
            page: None,
            page_not_before: now,
            pid: None,
            counters: None,
            readings: Readings::default(),
            started: now,
            is_exhausted: false,
            files_next: now,
            engine: None,
            proxy,
            jmx_next: now,
            is_paused: false,
            page_problem: None,
            jmx_problem,
        }
    }

    /// Looks once. `pid` listens on the port; `is_hidden` when somebody does whom we may not see.
    pub async fn look(mut self, pid: Option<u32>, is_hidden: bool) -> (Self, Look) {
        if pid != self.pid {
            self.pid = pid;
            self.page = None;
            self.counters = None;
            self.readings = Readings::default();
            self.is_paused = false;
            self.is_exhausted = false;
            self.files_next = Instant::now();
        }
        let tomcats = self.files(is_hidden).await;
        let counters = self.count().await;
        let at = self.started.elapsed();
        let pace = counters.map(|counters| self.readings.push(at, counters));
        let mut look = Look { pid, sights: Vec::new(), pace, problem: None, tomcats };
        let serves = pid.is_some() || is_hidden;
        let page = if serves { self.page().await } else { None };
        let jvm = |load: ServerLoad| {
            let gc_share_permille = pace.map_or(0, |pace| pace.gc_share_permille);
            ServerLoad { gc_share_permille, ..load }
        };
        match page {
            Some(Ok((page, load))) => {
                self.ask_whether_paused(&page.connector).await;
                look.problem = (!page.stopped.is_empty())
                    .then(|| format!("Tomcat: {}", stopped(&page.stopped)));
                look.sights.push(Sight::Load(Some(jvm(load))));
                look.sights.push(Sight::Contexts(page.stopped));
            }
            Some(Err(StatusPageError::Silent(waited))) if self.is_own => {
                let proof = self.proof(counters).await;
                look.sights.push(Sight::Silent { waited, proof });
            }
            Some(Err(error)) => {
                look.problem = Some(error.to_string());
                look.sights.push(Sight::Load(pace.map(|_| jvm(ServerLoad::default()))));
                look.sights.push(Sight::Contexts(Vec::new()));
            }
            None => look.sights.push(Sight::Load(pace.map(|_| jvm(ServerLoad::default())))),
        }
        if self.proxy.is_some() {
            look.sights.push(Sight::Paused(self.is_paused));
        }
        // Counters that can no longer be read say nothing.
        let was_exhausted =
            std::mem::replace(&mut self.is_exhausted, pace.is_some_and(|pace| pace.is_exhausted));
        if self.is_exhausted || was_exhausted {
            look.sights.push(Sight::Exhausted(self.is_exhausted));
        }
        let known = || self.page_problem.clone().or_else(|| self.jmx_problem.clone());
        look.problem = look.problem.or_else(known);
        (self, look)
    }

    /// The page and the load that it tells; none where it is not to be asked.
    async fn page(&mut self) -> Option<Result<(Page, ServerLoad), StatusPageError>> {
        let page = self.server.probe.status_page.clone()?;
        let started = Instant::now();
        if started < self.page_not_before {
            return None;
        }
        let (port, timeout) = (self.server.port.get(), self.server.probe.timeout);
        let patience = match &self.page {
            Some((_, took)) => timeout.min(PATIENCE.max(took.saturating_mul(LATE_FACTOR))),
            None => timeout,
        };
        match status_page::read(&page, port, patience).await {
            Ok(page) => {
                let before = self.page.as_ref();
                let mean_request_us = before.map_or(0, |(before, _)| page.mean_request_us(before));
                let load = ServerLoad { mean_request_us, ..page.load };
                // One of the threads is busy with the page itself.
                let busy_threads = load.busy_threads.saturating_sub(u32::from(self.is_own));
                let load = ServerLoad { busy_threads, ..load };
                self.page = Some((page.clone(), whole_millis(started.elapsed())));
                self.page_problem = None;
                Some(Ok((page, load)))
            }
            Err(error) => {
                if let StatusPageError::Denied(_) = &error {
                    self.page_not_before = started + DENIED_PAUSE;
                    // Every look until then would forget it.
                    self.page_problem = Some(error.to_string());
                }
                Some(Err(error))
            }
        }
    }

    /// What proves that a server works whose page, on its own connector, is silent.
    async fn proof(&mut self, before: Option<Counters>) -> Option<Proof> {
        if let Some(url) = &self.server.probe.ops_url
            && status_page::answers(url, self.server.probe.timeout.min(PATIENCE)).await
        {
            return Some(Proof::Operations);
        }
        // Its clock ticks every 50 ms; the page was waited for longer.
        let (before, now) = (before?, self.count().await?);
        // Without a clock in its counters nothing is proven.
        (now.uptime > before.uptime).then_some(Proof::Jvm)
    }

    async fn count(&self) -> Option<Counters> {
        let file = Arc::clone(self.counters.as_ref()?);
        // A file of another mount namespace may lie on anything.
        let read = tokio::task::spawn_blocking(move || file.read()).await.ok()?;
        read.inspect_err(|error| tracing::debug!(%error, "hsperfdata")).ok()
    }

    /// Reads the files, where they are due.
    async fn files(&mut self, is_hidden: bool) -> Option<Tomcats> {
        let now = Instant::now();
        if now < self.files_next {
            return None;
        }
        self.files_next = now + FILES_INTERVAL;
        let pid = self.pid;
        let read = tokio::task::spawn_blocking(move || {
            let Some(pid) = pid else {
                // Somebody does listen, whose files we may not see.
                if is_hidden {
                    return (Tomcats::None, None);
                }
                let others = installation::all().unwrap_or_default();
                return (Tomcats::Others(Arc::new(others)), None);
            };
            let own = installation::read(pid).unwrap_or_else(|error| {
                tracing::debug!(pid, %error, "the files of a server are not read");
                None
            });
            let tomcats = own.map_or(Tomcats::None, |own| Tomcats::Own(Arc::new(own)));
            (tomcats, CounterFile::find(pid).ok().flatten())
        });
        // The runtime is shutting down.
        let Ok((tomcats, counters)) = read.await else { return None };
        if self.counters.is_none() {
            self.counters = counters.map(Arc::new);
        }
        self.engine = match &tomcats {
            Tomcats::Own(own) => own.server.hosts.first().map(|host| host.engine.clone()),
            Tomcats::None | Tomcats::Others(_) => None,
        };
        Some(tomcats)
    }

    async fn ask_whether_paused(&mut self, connector: &str) {
        let now = Instant::now();
        let Some(proxy) = self.proxy.as_mut().filter(|_| now >= self.jmx_next) else { return };
        self.jmx_next = now + JMX_INTERVAL;
        let engine = self.engine.as_deref().unwrap_or(jmx::ENGINE);
        let answer = proxy.get(&jmx::thread_pool(engine, connector), "paused").await;
        self.is_paused = answer.as_deref() == Ok("true");
        match answer {
            Ok(_) => self.jmx_problem = None,
            // The first word, which names the remedy, stays.
            Err(jmx::JmxError::BackedOff(_)) => {}
            Err(error) => self.jmx_problem = Some(error.to_string()),
        }
    }
}

/// It is told to people.
fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
