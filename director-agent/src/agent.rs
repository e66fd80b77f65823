//! The agent itself: hands what the drivers see to what decides, and the decisions to the drivers.
//!
//! One task owns all decisions, so nothing here is locked. It never waits for a controller, a disk or the kernel:
//! what takes time runs beside it and comes back as an input.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::vrrp::TrackTarget;
use fulcrum_model::{LocalOrders, Name};
use fulcrum_proto::finding::Look;
use fulcrum_proto::v1;
use fulcrum_runtime::local_socket::Writers;
use fulcrum_runtime::{boot, durable};
use fulcrum_session::credentials::Keeper;
use fulcrum_session::host::Paths;
use fulcrum_session::{
    ClockReading, PlanCache, Session, SessionConfig, SessionEvent, SessionHandle, local_orders,
};
use fulcrum_vrrp::track::Probe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::checks::{self, Checks};
use crate::clock::Clock;
use crate::config::Config;
use crate::decide::arp::ArpLatch;
use crate::decide::book::PlanBook;
use crate::decide::check::CheckNews;
use crate::decide::cut_off::CutOff;
use crate::decide::decided::Effect;
use crate::decide::gate::{Gate, Opened};
use crate::decide::own::OwnWork;
use crate::decide::pacer::{Gap, Pacer};
use crate::decide::wanted::Wanted;
use crate::decide::weights::Decider;
use crate::findings;
use crate::ipvs::{IpvsError, IpvsHandle, IpvsSnapshot, Relay};
use crate::latch;
use crate::local::{Door, LocalRequest, SocketError};
use crate::metrics::Metrics;
use crate::proof::{ProofHandle, ProofSnapshot};
use crate::saver::Saver;
use crate::state_dir::{StateDir, StateDirError};
use crate::sync::{SyncHandle, SyncSnapshot};
use crate::track::Tracker;
use crate::vrrp::{VrrpError, VrrpHandle, VrrpSnapshot};

mod follow;
mod local;
mod plans;
mod proofs;
mod tell;

use follow::Programmed;
use plans::Held;

/// The agent cannot start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The host's boot id.
    #[error(transparent)]
    BootId(#[from] io::Error),
    /// IPVS.
    #[error(transparent)]
    Ipvs(#[from] IpvsError),
    /// VRRP.
    #[error(transparent)]
    Vrrp(#[from] VrrpError),
    /// What VRRP instances track.
    #[error(
        "cannot watch interfaces, addresses and routes: {0}; allow netlink: \
         RestrictAddressFamilies=AF_NETLINK"
    )]
    Tracker(#[source] io::Error),
    /// Connection synchronisation.
    #[error("cannot start the synchronisation of connections: {0}")]
    Sync(#[source] io::Error),
    /// The local socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Whose program this is.
    #[error("cannot find out who may give orders by the local socket: {0}")]
    Writers(#[source] io::Error),
    /// A driver has ended by itself, which is a defect.
    #[error(
        "the {driver} driver has ended: start the director again, and report its last log lines"
    )]
    DriverEnded {
        /// Which.
        driver: &'static str,
    },
}

/// Runs the director until `shutdown`, then hands its VIPs over and leaves the kernel's table as it is.
///
/// # Errors
/// [`AgentError`] with the remedy. Once started it goes on whatever happens around it.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), AgentError> {
    let (mut agent, mut inputs, session) = Agent::start(config, &shutdown).await?;
    agent.adopt_local_orders();
    agent.adopt_saved_plan();
    agent.flush();
    session.begin();
    tracing::info!(
        director = %agent.name,
        virtual_servers = agent.decider.servers().len(),
        "ready"
    );
    let ended = loop {
        let input = tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            input = inputs.next(agent.wake(), agent.gap.until()) => input,
        };
        if let Err(ended) = agent.take(input) {
            break Err(ended);
        }
        agent.flush();
    };
    agent.stop(inputs).await;
    ended
}

/// All that the agent knows and does.
struct Agent {
    name: Name,
    clock: Clock,
    metrics: Metrics,
    /// Held to the end, so that no other director uses it.
    _state_dir: StateDir,
    decider: Decider,
    /// What the decider asks for since the last flush.
    effect: Effect,
    gate: Gate<BTreeMap<Name, VrrpInstancePlan>>,
    pacer: Pacer,
    /// After a wanted table was made.
    gap: Gap,
    held: Option<Held>,
    checks: Checks,
    ipvs: IpvsHandle,
    vrrp: VrrpHandle,
    tracker: Tracker,
    sync: SyncHandle,
    own_work: OwnWork,
    cut_off: CutOff,
    session: SessionHandle,
    /// The controller that we are attached to; empty when none.
    controller: String,
    epoch: u64,
    epoch_saver: Saver<u64>,
    plans: PlanBook,
    /// The version in force, for each hello.
    hello: watch::Sender<Option<v1::PlanVersion>>,
    following: Option<JoinHandle<()>>,
    results: mpsc::Sender<Programmed>,
    plan_saver: Saver<Arc<PlanCache>>,
    latch_saver: Saver<ArpLatch>,
    /// What was ordered by the local socket.
    local_orders: LocalOrders,
    local_orders_saver: Saver<LocalOrders>,
    wanted: Wanted,
    generation: u64,
    /// The relay that IPVS was told of last.
    relay: Option<Relay>,
    /// A large change of the plan has left free memory behind.
    has_spare_memory: bool,
    ipvs_seen: watch::Receiver<IpvsSnapshot>,
    vrrp_seen: watch::Receiver<VrrpSnapshot>,
    /// What VRRP told last, without counters.
    vrrp_told: VrrpSnapshot,
    sync_seen: watch::Receiver<SyncSnapshot>,
    proofs: ProofHandle,
    proofs_seen: watch::Receiver<ProofSnapshot>,
    /// The plan whose real servers the proofs know.
    asked_by: Option<v1::PlanVersion>,
    /// How far the controller's clock is from ours, by the newest comparison.
    skew: Option<ClockReading>,
    /// What is looked for on the host, and what is found there.
    looks_for: watch::Sender<findings::Wanted>,
    found: watch::Receiver<Look>,
    measured: tell::Measured,
}

/// What comes to the agent.
struct Inputs {
    events: mpsc::Receiver<SessionEvent>,
    news: mpsc::Receiver<CheckNews>,
    results: mpsc::Receiver<Programmed>,
    requests: mpsc::Receiver<LocalRequest>,
    ipvs: watch::Receiver<IpvsSnapshot>,
    vrrp: watch::Receiver<VrrpSnapshot>,
    sync: watch::Receiver<SyncSnapshot>,
    proofs: watch::Receiver<ProofSnapshot>,
    found: watch::Receiver<Look>,
    clock: Clock,
    /// The local door; ends with the program.
    door: Door,
}

enum Input {
    Session(SessionEvent),
    News(Vec<CheckNews>),
    Programmed(Programmed),
    Request(LocalRequest),
    Ipvs,
    Vrrp,
    Sync,
    Proofs,
    Found,
    Time,
    DriverEnded(&'static str),
}

/// News of checks that are decided together: enough for racks that fail at once, and few enough not to hold others up.
const NEWS_BATCH: usize = 1024;

impl Inputs {
    /// The next input, at the latest at `wake`; news not before `news_from`. The session goes last, so that no controller can
    /// hold up what is local.
    async fn next(&mut self, wake: Duration, news_from: Duration) -> Input {
        let wake = tokio::time::sleep_until(self.clock.at(wake));
        let mut news = Vec::new();
        let (checks, clock) = (&mut self.news, self.clock);
        let some_news = async {
            if clock.now() < news_from {
                tokio::time::sleep_until(clock.at(news_from)).await;
            }
            checks.recv_many(&mut news, NEWS_BATCH).await
        };
        tokio::select! {
            biased;
            Some(result) = self.results.recv() => Input::Programmed(result),
            seen = self.vrrp.changed() => seen.map_or(Input::DriverEnded("VRRP"), |()| Input::Vrrp),
            1.. = some_news => Input::News(news),
            () = wake => Input::Time,
            Some(request) = self.requests.recv() => Input::Request(request),
            seen = self.ipvs.changed() => seen.map_or(Input::DriverEnded("IPVS"), |()| Input::Ipvs),
            seen = self.sync.changed() => seen.map_or(Input::DriverEnded("sync"), |()| Input::Sync),
            seen = self.proofs.changed() => seen.map_or(Input::DriverEnded("ARP"), |()| Input::Proofs),
            Ok(()) = self.found.changed() => Input::Found,
            Some(event) = self.events.recv() => Input::Session(event),
        }
    }

    /// Ends when the session and the door are closed.
    async fn close(self) {
        let Self { mut events, door, .. } = self;
        while events.recv().await.is_some() {}
        door.closed().await;
    }
}

impl Agent {
    async fn start(
        config: Config,
        shutdown: &CancellationToken,
    ) -> Result<(Self, Inputs, Session), AgentError> {
        let state_dir = StateDir::open(&config.state_dir)?;
        let (epoch, epoch_saver) = next_epoch(&state_dir);
        let boot_id = boot::boot_id()?;
        let clock = Clock::start();
        let metrics = Metrics::new();
        let socket = crate::local::bind(&config.socket)?;
        let writers = Writers::of_this_program().map_err(AgentError::Writers)?;
        let (ipvs, ipvs_seen) = IpvsHandle::spawn(state_dir.path()).await?;
        let (vrrp, vrrp_seen) = VrrpHandle::spawn(state_dir.path())?;
        let commands = config.commands;
        let (checks, news) = Checks::new(
            clock,
            metrics.clone(),
            checks::slots(),
            commands.clone(),
            ipvs_seen.clone(),
        );
        let tracker = Tracker::spawn(vrrp.clone(), commands).map_err(AgentError::Tracker)?;
        let (vrrp_news, ipvs_news) = (vrrp_seen.clone(), ipvs_seen.clone());
        let (sync, sync_seen) =
            SyncHandle::spawn(state_dir.path(), clock, vrrp.clone(), vrrp_news, ipvs_news)
                .map_err(AgentError::Sync)?;
        let (proofs, proofs_seen) = ProofHandle::spawn(clock, vrrp_seen.clone());
        let (door, requests) = crate::local::serve(socket, writers, ipvs.clone(), shutdown.clone());
        let paths = Paths { state_dir: config.state_dir, tls: config.tls.clone() };
        let (looks_for, wanted) = watch::channel(findings::Wanted::default());
        let found = findings::follow(paths, wanted);
        let (hello, in_force) = watch::channel(None);
        if let Some(files) = config.tls.clone() {
            let endpoints = config.controllers.clone();
            let keeper = Keeper { files, token: config.join_token.clone(), endpoints };
            tokio::spawn(keeper.run(shutdown.clone()));
        }
        let session_config = SessionConfig {
            role: v1::AgentRole::Director,
            name: config.name.clone(),
            epoch,
            boot_id: boot_id.clone(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            controllers: config.controllers,
            tls: config.tls,
        };
        let (attaching, session, events) = Session::new(session_config, in_force, shutdown.clone());
        let (results_sender, results) = mpsc::channel(follow::RESULTS_CAPACITY);
        let latch = plans::saved_latch(&state_dir);
        let latch_path = state_dir.latch();
        let local_orders = local_orders::standing(&state_dir.local_orders(), &boot_id);
        let (orders_path, orders_boot) = (state_dir.local_orders(), boot_id.clone());
        let saved = plans::saved_plan(&state_dir);
        let agent = Self {
            name: config.name,
            clock,
            metrics,
            decider: Decider::new(latch),
            effect: Effect::default(),
            gate: Gate::default(),
            pacer: Pacer::default(),
            gap: Gap::default(),
            held: None,
            checks,
            ipvs,
            vrrp,
            tracker,
            sync,
            own_work: OwnWork::default(),
            cut_off: CutOff::default(),
            session,
            controller: String::new(),
            epoch,
            epoch_saver,
            plan_saver: Saver::spawn("the plan", |plan: &Arc<PlanCache>| plan.save()),
            latch_saver: Saver::spawn("the latch of ARP safety", move |latch| {
                latch::save(&latch_path, latch)
            }),
            local_orders,
            local_orders_saver: Saver::spawn("the local orders", move |orders| {
                local_orders::save(&orders_path, &orders_boot, orders)
            }),
            plans: PlanBook::new(saved),
            hello,
            following: None,
            results: results_sender,
            wanted: Wanted::default(),
            generation: 0,
            relay: None,
            has_spare_memory: false,
            ipvs_seen: ipvs_seen.clone(),
            vrrp_seen: vrrp_seen.clone(),
            vrrp_told: VrrpSnapshot::default(),
            sync_seen: sync_seen.clone(),
            proofs,
            proofs_seen: proofs_seen.clone(),
            asked_by: None,
            skew: None,
            looks_for,
            found: found.clone(),
            measured: tell::Measured::default(),
            _state_dir: state_dir,
        };
        let inputs = Inputs {
            events,
            news,
            results,
            requests,
            ipvs: ipvs_seen,
            vrrp: vrrp_seen,
            sync: sync_seen,
            proofs: proofs_seen,
            found,
            clock,
            door,
        };
        Ok((agent, inputs, attaching))
    }

    /// When the agent has something to do again without any input.
    fn wake(&self) -> Duration {
        let now = self.clock.now();
        let own_work = self.own_work.deadline(now, self.settled());
        let local = self.next_local_expiry(now);
        let held = self.held.as_ref().map(|held| held.until);
        let cut_off = self.cut_off.deadline();
        let deadlines =
            [self.decider.deadline(), self.gate.deadline(), own_work, cut_off, held, local];
        deadlines.into_iter().flatten().fold(self.pacer.due(), Duration::min)
    }

    fn take(&mut self, input: Input) -> Result<(), AgentError> {
        let now = self.clock.now();
        match input {
            Input::Session(event) => self.session_event(now, event),
            Input::News(news) => self.effect.merge(self.decider.probes(now, news)),
            Input::Programmed(programmed) => self.programmed(programmed),
            Input::Request(request) => self.request(request),
            Input::Ipvs | Input::Sync | Input::Proofs | Input::Found => self.pacer.changed(),
            Input::Vrrp => self.vrrp_news(),
            Input::Time => {
                self.expire_local_orders();
                self.effect.merge(self.decider.expire(now));
            }
            Input::DriverEnded(driver) => return Err(AgentError::DriverEnded { driver }),
        }
        Ok(())
    }

    fn session_event(&mut self, now: Duration, event: SessionEvent) {
        match event {
            SessionEvent::Attached { controller, highest_epoch, .. } => {
                self.controller = controller;
                self.raise_epoch(highest_epoch);
            }
            SessionEvent::Detached { .. } => self.controller.clear(),
            SessionEvent::Plan(update) => self.plan_update(&update),
            SessionEvent::Evidence(evidence) => self.evidence(now, &evidence),
            SessionEvent::Clock(reading) => self.skew = Some(reading),
        }
    }

    /// Takes what VRRP tells. Counters alone are no news: they rise with every advert, and are told now and then.
    fn vrrp_news(&mut self) {
        let news = self.vrrp_seen.borrow_and_update().without_counters();
        if news != self.vrrp_told {
            self.vrrp_told = news;
            self.relay();
            self.pacer.changed();
        }
    }

    /// Hands the wish of VRRP, to pass packets on to the router that was Active before, to the one who writes IPVS. All
    /// instances of a hand-over name the same predecessor; of several the first is served.
    fn relay(&mut self) {
        let wanted = self.vrrp_told.relays.first().and_then(|request| {
            let mark = NonZeroU32::new(request.mark)?;
            Some(Relay { mark, director: request.predecessor })
        });
        if wanted != self.relay {
            self.relay = wanted;
            self.ipvs.set_relay(wanted);
        }
    }

    /// Another life of this agent was seen, so its state directory was lost: jump above it.
    fn raise_epoch(&mut self, highest: u64) {
        if highest <= self.epoch {
            return;
        }
        self.epoch = highest.saturating_add(1);
        // Nobody waits for it: an agent that forgets its jump is told to jump again.
        drop(self.epoch_saver.save(self.epoch));
        self.session.raise_epoch(self.epoch);
    }

    /// Programs, saves and tells what the inputs since the last time ask for.
    fn flush(&mut self) {
        let now = self.clock.now();
        self.flush_effect(now);
        self.tell_tracker(now);
        if let Some((instances, opened)) = self.gate.open(now, || self.decider.is_settled()) {
            if opened == Opened::Overdue {
                tracing::warn!("taking part in VRRP although not every virtual server is ready");
            }
            self.vrrp.apply(instances);
        }
        if self.pacer.take(now) {
            self.tell();
            self.pacer.took(self.clock.now().saturating_sub(now));
        }
    }

    /// Tells what the agent itself knows of what VRRP instances track.
    fn tell_tracker(&mut self, now: Duration) {
        let work = self.own_work.states(now, self.settled(), &self.decider).into_iter();
        let work = work.map(|(instance, state)| (Probe::own(TrackTarget::Agent, instance), state));
        let ways = self.cut_off.states(now, &self.decider).into_iter();
        self.tracker.own(work.chain(ways).collect());
    }

    /// Programs what the decider asks for, and tells of it.
    fn flush_effect(&mut self, now: Duration) {
        let effect = std::mem::take(&mut self.effect);
        self.program_effect(now, effect.weights, &effect.changes);
        plans::log_changes(&effect.changes);
        plans::log_turns(&effect.turns);
        if effect.to_latch {
            self.proofs.hasten();
            // Nobody waits for it: until it is saved a restart merely waits for the agent's next report.
            drop(self.latch_saver.save(self.decider.arp().clone()));
        }
        if effect.to_tell {
            self.pacer.changed();
        }
    }

    /// Every step has its own bound, so that the whole stays within [`STOP_BOUND`].
    async fn stop(self, inputs: Inputs) {
        let Self {
            checks,
            vrrp,
            tracker,
            sync,
            plan_saver,
            latch_saver,
            local_orders_saver,
            following,
            ..
        } = self;
        drop((checks, tracker));
        if let Some(following) = following {
            following.abort();
        }
        let handover = tokio::time::timeout(VrrpHandle::STOP_WITHIN, vrrp.stop()).await;
        if handover.is_err() {
            tracing::error!("VRRP did not stop in time: its VIPs go when their lifetime ends");
        }
        // A successor compares its connections with ours until it has the role.
        drop(sync);
        let rest = async {
            plan_saver.finish().await;
            latch_saver.finish().await;
            local_orders_saver.finish().await;
            inputs.close().await;
        };
        if tokio::time::timeout(CLOSE_BOUND, rest).await.is_err() {
            tracing::error!("the state was not saved in time");
        }
    }
}

/// The next epoch, and who saves later ones. A disk that takes no writes must not keep a director from serving, so then
/// the epoch counts from the wall clock, where its counter began too, and is saved when there is room.
fn next_epoch(state_dir: &StateDir) -> (u64, Saver<u64>) {
    let path = state_dir.epoch();
    let write = move |epoch: &u64| durable::raise_counter(&path, *epoch).map(|_| ());
    let saver = Saver::spawn("the epoch", write);
    let epoch = durable::next_counter(&state_dir.epoch()).unwrap_or_else(|error| {
        tracing::error!(%error, "counting this start from the wall clock");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        drop(saver.save(now.as_secs()));
        now.as_secs()
    });
    (epoch, saver)
}

/// Longest time for the disk and for the session's last words.
const CLOSE_BOUND: Duration = Duration::from_secs(3);

/// Longest time from the signal until telemetry's turn, whatever hangs: the hand-over, which bounds
/// itself and takes some three seconds at usual intervals, and the rest. systemd's patience is
/// longer.
pub const STOP_BOUND: Duration = VrrpHandle::STOP_WITHIN.saturating_add(CLOSE_BOUND);
