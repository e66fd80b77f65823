//! The daemon: keeps the loopback as planned, watches servers, tells both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use fulcrum_model::plan::{RealServerHostPlan, WatchedServer};
use fulcrum_model::{Evidence, EvidenceStamp, Name, ServerEvidence, VipEvidence};
use fulcrum_proto::convert::real_server_plan_from_objects;
use fulcrum_proto::finding::Look;
use fulcrum_proto::v1;
use fulcrum_runtime::local_socket::{self, Writers};
use fulcrum_runtime::{boot, durable, trace};
use fulcrum_session::credentials::Keeper;
use fulcrum_session::host::Paths;
use fulcrum_session::{
    ClockReading, PlanCache, Session, SessionConfig, SessionEvent, SessionHandle, local_orders,
};
use futures::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::certificates::{self, Configured, Ends, Target};
use crate::config::Config;
use crate::findings;
use crate::local as door;
use crate::loopback::driver::{Loopback, Wanted};
use crate::loopback::netlink::Addresses;
use crate::loopback::tunnels;
use crate::metrics::Metrics;
use crate::restart::Restarts;
use crate::restart::leave::Leaving;
use crate::tomcat::watcher::{self, Report};
use crate::tomcat::{self, sockets, verdict};

mod leavers;
mod local;

use leavers::Leavers;
use local::Local;

/// How long evidence counts. Long enough that a controller's restart (seconds) makes nobody unknown, short enough that a
/// host that lost its network is left to the directors' own probes soon.
const VALID_FOR: Duration = Duration::from_secs(15);
/// Evidence is told again this often, so that two may be lost.
const REFRESH: Duration = Duration::from_secs(5);
/// The ARP settings send no notifications when another program changes them.
const LOOK: Duration = Duration::from_secs(1);
/// A VIP that left the plan stays for its connections, at most so long.
const LINGER: Duration = Duration::from_mins(1);
/// Reports under way from watchers: they wait when it is full.
const REPORTS: usize = 64;

/// Runs until `shutdown`. Nothing is unbound at the end: the data plane outlives the program.
///
/// # Errors
/// What keeps the agent from running at all: its state directory, netlink, `/proc`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let state_dir = &config.state_dir;
    std::fs::create_dir_all(state_dir).with_context(|| {
        format!("state_dir {}: make it writable for the agent", state_dir.display())
    })?;
    let epoch_file = state_dir.join("epoch");
    let epoch = durable::next_counter(&epoch_file)
        .with_context(|| format!("{}: the epoch must be durable", epoch_file.display()))?;
    let boot_id = boot::boot_id().context("read the kernel's boot id")?;
    let socket = local_socket::bind(&config.socket)?;
    let writers = Writers::of_this_program().context("find out who may give orders")?;
    let (addresses, mut changes) = Addresses::open().context("open netlink")?;
    let loopback = Loopback::new(addresses, state_dir, &boot_id);
    let cache = open_cache(&state_dir.join("plan"));

    let paths = Paths { state_dir: state_dir.clone(), tls: config.tls.clone() };
    let (looks_for, wanted) = watch::channel(findings::Wanted::default());
    let found = findings::follow(paths, wanted);
    let mut found_more = found.clone();
    let (asks_for, asked) = watch::channel(BTreeSet::new());
    let certificate_ends = certificates::follow(asked);
    let mut certificate_news = certificate_ends.clone();

    let (version, version_watch) = watch::channel(cache.version().cloned());
    if let Some(files) = config.tls.clone() {
        let endpoints = config.controllers.clone();
        let keeper = Keeper { files, token: config.join_token.clone(), endpoints };
        tokio::spawn(keeper.run(shutdown.clone()));
    }
    let session = SessionConfig {
        role: v1::AgentRole::RealServer,
        name: config.name.clone(),
        epoch,
        boot_id: boot_id.clone(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        controllers: config.controllers.clone(),
        tls: config.tls.clone(),
    };
    let (handle, mut events) = Session::spawn(session, version_watch, shutdown.clone());
    let (door, mut requests) = door::serve(socket, writers, shutdown.clone());
    let (reports_in, mut reports) = mpsc::channel(REPORTS);
    let (restarts, mut ends) = Restarts::new(config.actions, state_dir);
    let (keep_alive, mut answers) = Leaving::new(state_dir);
    let mut agent = Agent {
        local: Local::open(state_dir.join(local_orders::FILE), &boot_id),
        name: config.name,
        metrics: Metrics::new(),
        stamp: EvidenceStamp { epoch, sequence: 0 },
        boot_id,
        epoch_file,
        loopback,
        cache,
        held: None,
        held_steps: 0,
        controller: String::new(),
        version,
        handle,
        plan: RealServerHostPlan::default(),
        leaving: Leavers::default(),
        watchers: BTreeMap::new(),
        reports_in,
        reports: BTreeMap::new(),
        restarts,
        keep_alive,
        vips: Vec::new(),
        tunnel_ends: Vec::new(),
        problem: None,
        left_behind: Vec::new(),
        refused: false,
        looks_for,
        found,
        certificates: config.certificates,
        asks_for,
        certificate_ends,
        told_servers: BTreeMap::new(),
        told: None,
        skew: None,
    };
    agent.adopt_plan();
    agent.reconcile().await;
    agent.tell("");
    tracing::info!(agent = %agent.name, epoch, vips = agent.plan.vips.len(), "ready");

    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some((server, report)) = reports.recv() => agent.reported(server, report),
            Some(ended) = ends.recv() => {
                agent.restarts.ended(ended);
                agent.follow_orders();
            }
            Some(answer) = answers.recv() => agent.keep_alive.answered(answer),
            event = events.recv() => match event {
                Some(event) => agent.event(event).await,
                None => break,
            },
            Some(request) = requests.recv() => agent.request(request).await,
            Some(()) = changes.next() => agent.look().await,
            Ok(()) = found_more.changed() => agent.tell_observed(),
            Ok(()) = certificate_news.changed() => agent.tell_observed(),
            _ = look.tick() => agent.look().await,
            _ = refresh.tick() => agent.tell(""),
        }
    }
    // The session sends the last news and closes in good order, within half a second, before the runtime goes.
    while events.recv().await.is_some() {}
    door.closed().await;
    Ok(())
}

struct Agent {
    name: Name,
    metrics: Metrics,
    stamp: EvidenceStamp,
    boot_id: String,
    epoch_file: PathBuf,
    loopback: Loopback,
    cache: PlanCache,
    /// What was ordered by the local socket.
    local: Local,
    /// The plan that came while the host is frozen, to be put in force afterwards.
    held: Option<PlanCache>,
    /// Steps that a freeze holds back.
    held_steps: u64,
    /// The controller that we are attached to; empty when none.
    controller: String,
    version: watch::Sender<Option<v1::PlanVersion>>,
    handle: SessionHandle,
    plan: RealServerHostPlan,
    /// VIPs and tunnels that left the plan and may stay for their connections, with their deadlines.
    leaving: Leavers,
    watchers: BTreeMap<Name, (WatchedServer, JoinHandle<()>)>,
    reports_in: mpsc::Sender<(Name, Report)>,
    reports: BTreeMap<Name, Report>,
    restarts: Restarts,
    keep_alive: Leaving,
    vips: Vec<VipEvidence>,
    tunnel_ends: Vec<tunnels::End>,
    problem: Option<String>,
    /// Why something of ours that is not wanted is still on the host.
    left_behind: Vec<String>,
    /// The plan in force was taken, and cannot be brought about for now.
    refused: bool,
    /// What is looked for on the host, and what is found there.
    looks_for: watch::Sender<findings::Wanted>,
    found: watch::Receiver<Look>,
    /// Ports whose certificates are to be looked at, beside the Tomcats' own.
    certificates: Vec<Configured>,
    /// Certificates that are looked at, and when they end.
    asks_for: watch::Sender<BTreeSet<Target>>,
    certificate_ends: watch::Receiver<Ends>,
    /// What was told of each server last.
    told_servers: BTreeMap<Name, ServerEvidence>,
    told: Option<v1::RealServerObserved>,
    /// How far the controller's clock is from ours, by the newest comparison.
    skew: Option<ClockReading>,
}

impl Agent {
    async fn event(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Attached { controller, highest_epoch, .. } => {
                tracing::info!(controller, "attached");
                self.controller = controller;
                if highest_epoch > self.stamp.epoch {
                    self.raise_epoch(highest_epoch);
                }
                self.tell("");
            }
            SessionEvent::Detached { reason } => {
                tracing::info!(reason, "detached");
                self.controller.clear();
            }
            SessionEvent::Plan(update) => self.plan_update(&update).await,
            SessionEvent::Evidence(_) => tracing::debug!("evidence is for directors; passed over"),
            SessionEvent::Clock(reading) => {
                self.skew = Some(reading);
                self.tell_observed();
            }
        }
    }

    /// Our counter was lost, or another agent has our name: news of a lower epoch would be ignored.
    fn raise_epoch(&mut self, highest: u64) {
        tracing::warn!(
            ours = self.stamp.epoch,
            highest,
            "a higher epoch of this agent was seen: jumping above it"
        );
        match durable::raise_counter(&self.epoch_file, highest.saturating_add(1)) {
            Ok(epoch) => {
                self.stamp = EvidenceStamp { epoch, sequence: 0 };
                self.handle.raise_epoch(epoch);
            }
            Err(error) => {
                tracing::error!(%error, "the epoch cannot be made durable; make state_dir writable");
            }
        }
    }

    async fn plan_update(&mut self, update: &v1::PlanUpdate) {
        let revision = update.version.as_ref().map_or(0, |version| version.revision);
        let span = tracing::info_span!("plan.apply", real_server = %self.name, revision);
        trace::set_parent(&span, &update.traceparent);
        async {
            let answer = self.take_plan(update).await;
            if let Err(reason) = &answer {
                tracing::warn!(reason, "the plan is refused");
            }
            self.ack(update.version.clone(), answer);
            self.tell(&trace::traceparent());
        }
        .instrument(span)
        .await;
    }

    async fn take_plan(&mut self, update: &v1::PlanUpdate) -> Result<(), String> {
        if let Some(reason) = self.hold_plan(update) {
            return Err(reason);
        }
        // On a copy, so that a plan that cannot be read leaves the one in force.
        let mut cache = self.cache.clone();
        cache.apply(update).map_err(|refused| refused.to_string())?;
        real_server_plan_from_objects(cache.objects()).map_err(|error| error.to_string())?;
        self.put_in_force(cache);
        self.reconcile().await;
        self.standing()
    }

    fn put_in_force(&mut self, cache: PlanCache) {
        self.cache = cache;
        if let Err(error) = self.cache.save() {
            // The plan is in force all the same; only a restart without controllers would miss it.
            tracing::error!(%error, "the plan cannot be saved; make state_dir writable and free space on its disk");
        }
        self.version.send_replace(self.cache.version().cloned());
        self.adopt_plan();
    }

    /// Whether the host is as the plan wants it, or why not.
    fn standing(&self) -> Result<(), String> {
        let unsafe_vips = self.vips.iter().filter(|vip| !vip.arp_safe);
        let reasons: Vec<&str> = if let Some(problem) = &self.problem {
            vec![problem]
        } else {
            let vips = unsafe_vips.map(|vip| vip.detail.as_str());
            vips.chain(self.left_behind.iter().map(String::as_str)).collect()
        };
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    }

    fn ack(&mut self, version: Option<v1::PlanVersion>, answer: Result<(), String>) {
        self.refused = answer.is_err() && version.as_ref() == self.cache.version();
        self.handle.ack(v1::PlanAck {
            version,
            applied: answer.is_ok(),
            reason: answer.err().unwrap_or_default(),
        });
    }

    /// Takes the cached plan as the one in force. A damaged one leaves what was in force.
    fn adopt_plan(&mut self) {
        let plan = match real_server_plan_from_objects(self.cache.objects()) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::error!(%error, "the plan on disk cannot be read and is left alone until a controller sends it again");
                return;
            }
        };
        self.leaving.follow(&self.plan, &plan, Instant::now() + LINGER);
        self.plan = plan;
        self.follow_servers();
        self.follow_orders();
    }

    /// Does what orders want, and tells what is new of them.
    fn follow_orders(&mut self) {
        self.keep_alive.follow(&self.plan.servers);
        if self.restarts.follow(&self.plan.servers) {
            self.tell("");
        }
    }

    fn follow_servers(&mut self) {
        // An order changes nothing in how a server is watched: what is known of it stands.
        let watched: Vec<WatchedServer> = self
            .plan
            .servers
            .iter()
            .map(|server| WatchedServer { restart: None, drained: false, ..server.clone() })
            .collect();
        let wanted: BTreeMap<&Name, _> =
            watched.iter().map(|server| (&server.real_server, server)).collect();
        self.watchers.retain(|name, (server, task)| {
            let stays = wanted.get(name).is_some_and(|wanted| *wanted == server);
            if !stays {
                task.abort();
            }
            stays
        });
        self.reports.retain(|name, _| wanted.contains_key(name));
        for server in &watched {
            if !self.watchers.contains_key(&server.real_server) {
                let task = tokio::spawn(watcher::watch(server.clone(), self.reports_in.clone()));
                self.watchers.insert(server.real_server.clone(), (server.clone(), task));
            }
        }
    }

    /// Looks at the loopback, puts it right, and tells if something changed.
    async fn look(&mut self) {
        self.expire_local_orders().await;
        let before = self.vips.clone();
        self.reconcile().await;
        self.follow_orders();
        if self.vips != before {
            self.tell("");
        }
        // What kept the plan from being applied has gone: a person started what was stopped, or lent the capability.
        if self.refused && !self.is_frozen() && self.standing().is_ok() {
            self.ack(self.cache.version().cloned(), Ok(()));
        }
        self.tell_observed();
    }

    async fn reconcile(&mut self) {
        // Without a plan nothing is known of what is wanted: the host stays as it is.
        if self.cache.version().is_none() {
            return;
        }
        let (busy, leaving) = self.leaving.stay(Instant::now(), |vips| {
            sockets::read().map(|sockets| sockets::busy(&sockets, vips)).unwrap_or_default()
        });
        let wanted = Wanted {
            vips: self.plan.vips.iter().copied().collect(),
            busy,
            rips: self.plan.servers.iter().map(|server| server.rip).collect(),
            tunnels: Some(self.plan.tunnels.clone()),
            leaving,
        };
        let turn = if self.is_frozen() {
            self.loopback.hold_back(&wanted).await
        } else {
            self.loopback.reconcile(&wanted).await
        };
        match turn {
            Ok(turn) => {
                let is_held = self.is_frozen();
                self.held_steps =
                    if is_held { turn.steps.len().try_into().unwrap_or(0) } else { 0 };
                self.vips = turn.evidence;
                self.tunnel_ends = turn.ends;
                self.left_behind = turn.left_behind;
                self.problem = None;
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    tracing::error!("{problem}");
                }
                // What cannot be seen to be safe is not told to be.
                for vip in &mut self.vips {
                    vip.arp_safe = false;
                    vip.detail.clone_from(&problem);
                }
                self.problem = Some(problem);
            }
        }
    }

    fn reported(&mut self, server: Name, report: Report) {
        let told = self.told_servers.get(&server);
        let before = self.reports.get(&server).map(|known| known.evidence.verdict);
        self.metrics.seen(&report, before);
        let news = told.is_none_or(|told| is_news(told, &report.evidence));
        // A watcher of a server that has left the plan may still have had something to say.
        if self.watchers.contains_key(&server) {
            self.reports.insert(server.clone(), report);
        }
        if news {
            let span = tracing::info_span!("evidence.report", real_server = %server);
            let _entered = span.enter();
            self.tell(&trace::traceparent());
        }
        self.tell_observed();
    }

    /// Sends the whole evidence as it stands.
    fn tell(&mut self, traceparent: &str) {
        self.stamp.sequence += 1;
        let evidence = self.evidence(traceparent);
        self.handle.evidence(v1::Evidence::from(&evidence));
        let told = evidence.servers.into_iter();
        self.told_servers = told.map(|server| (server.real_server.clone(), server)).collect();
    }

    /// The whole evidence as it stands, with the stamp of what was told last.
    fn evidence(&self, traceparent: &str) -> Evidence {
        self.with_drains(Evidence {
            agent: self.name.clone(),
            stamp: self.stamp,
            age: Duration::ZERO,
            valid_for: VALID_FOR,
            boot_id: self.boot_id.clone(),
            servers: self.evidence_of_servers(),
            vips: self.vips.clone(),
            traceparent: traceparent.to_owned(),
        })
    }

    fn evidence_of_servers(&self) -> Vec<ServerEvidence> {
        let with_order = |(name, report): (&Name, &Report)| ServerEvidence {
            restart: self.restarts.evidence(name),
            ..report.evidence.clone()
        };
        self.reports.iter().map(with_order).collect()
    }

    fn tell_observed(&mut self) {
        let wanted = findings::Wanted::new(&self.plan.vips, &self.plan.servers, &self.vips);
        self.looks_for.send_if_modified(|known| {
            let has_changed = *known != wanted;
            *known = wanted;
            has_changed
        });
        let certificates = self.wanted_certificates();
        self.asks_for.send_if_modified(|known| {
            let has_changed = *known != certificates;
            *known = certificates;
            has_changed
        });
        let observed = self.observed();
        if self.told.as_ref() != Some(&observed) {
            self.handle.real_server(observed.clone());
            self.told = Some(observed);
        }
    }

    fn observed(&self) -> v1::RealServerObserved {
        let servers = self.reports.iter().filter_map(|(name, report)| {
            report.problem.as_ref().map(|problem| format!("{name}: {problem}"))
        });
        let problems = self.local_problems().chain(self.problem.iter().cloned());
        let problems = problems.chain(self.left_behind.iter().cloned()).chain(servers);
        let Look { findings, unchecked } = self.host_look();
        let mut observed = v1::RealServerObserved {
            problems: problems.chain(self.keep_alive.problems()).collect(),
            findings,
            unchecked,
            tunnel_ends: self.tunnel_ends.iter().map(tunnel_end).collect(),
            ..Default::default()
        };
        self.tell_local_orders(&mut observed);
        observed
    }

    /// What is wrong on the host, and what is not known.
    fn host_look(&self) -> Look {
        let servers = self.plan.servers.iter().map(|server| {
            let report = self.reports.get(&server.real_server);
            tomcat::findings::of(server, report.map(|report| &report.tomcats), &self.plan)
        });
        let certificates = certificates::judge(
            &self.wanted_certificates(),
            &self.certificate_ends.borrow(),
            SystemTime::now(),
        );
        let beside =
            [ClockReading::newest(self.skew.as_ref()), self.found.borrow().clone(), certificates];
        Look::merge(servers.chain(beside))
    }

    fn wanted_certificates(&self) -> BTreeSet<Target> {
        let tomcats =
            self.plan.servers.iter().filter_map(|server| {
                Some((server, &self.reports.get(&server.real_server)?.tomcats))
            });
        certificates::wanted(&self.certificates, tomcats, &self.plan)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        for (_, task) in self.watchers.values() {
            task.abort();
        }
    }
}

fn tunnel_end(end: &tunnels::End) -> v1::TunnelEnd {
    v1::TunnelEnd {
        packets: end.need.to_string(),
        taken_by: end.taken_by.clone().unwrap_or_default(),
        foreign: end.is_foreign,
        vips: end.vips.iter().map(ToString::to_string).collect(),
        problem: end.problem.clone().unwrap_or_default(),
    }
}

/// Whether it is to be told at once, not with the next refresh.
fn is_news(told: &ServerEvidence, now: &ServerEvidence) -> bool {
    told.verdict != now.verdict
        || told.reasons != now.reasons
        || told.pid != now.pid
        || told.exit_seen_at != now.exit_seen_at
        || verdict::is_news(told.load.as_ref(), now.load.as_ref())
}

/// A plan that cannot be read counts as none: a controller sends it again, and the host stays as it is until then.
fn open_cache(path: &Path) -> PlanCache {
    PlanCache::open(path).unwrap_or_else(|error| {
        tracing::error!(%error, "the saved plan counts as none until a controller sends it again");
        PlanCache::empty(path)
    })
}
