//! Gives every part its turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_ipvs::sync::{
    Answerer, Answers, AskStep, Body, Buckets, Census, Connection, Digest, MAX_PAYLOAD_BYTES,
    Message, Record, RoundKey, daemons as choice,
};
use fulcrum_model::Name;
use tokio::sync::{mpsc, watch};

use super::daemons::Daemons;
use super::instance::{Instance, READING_SHARE};
use super::sockets::{Heard, Link};
use super::table::{self, MOST_CONNECTIONS, Ours};
use super::{Holds, Orders, SyncSnapshot};
use crate::clock::Clock;
use crate::ipvs::{IpvsError, IpvsSnapshot};
use crate::vrrp::VrrpSnapshot;

/// Datagrams that wait to be looked at: two rounds of a large table. More are dropped.
const HEARD: usize = 4096;
/// Datagrams that wait to be sent: those of a whole table in the kernel's format.
const WAITING: usize = 8192;
/// Datagrams sent at once. A backup daemon's buffer holds some ninety of full length, and it works off
/// what comes at once.
const BURST: usize = 32;
/// Pause between bursts: with 38 connections in a datagram 60,000 connections a second.
const BURST_PAUSE: Duration = Duration::from_millis(20);
/// After a relay its entries may still be told for so long as the writer of IPVS takes to end it.
const RELAY_TAIL: Duration = Duration::from_secs(1);
/// A socket that could not be opened is tried again so soon.
const RETRY: Duration = Duration::from_secs(1);
/// A census this old is good for another Backup's question.
const CENSUS_GOOD: Duration = Duration::from_millis(200);

/// What the task looks at.
pub(super) struct Inputs {
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) vrrp: watch::Receiver<VrrpSnapshot>,
    pub(super) ipvs: watch::Receiver<IpvsSnapshot>,
}

/// Starts the thread.
pub(super) fn spawn(
    state_dir: &Path,
    clock: Clock,
    inputs: Inputs,
    holds: Arc<Holds>,
    snapshots: watch::Sender<SyncSnapshot>,
) -> io::Result<()> {
    let state_dir = state_dir.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = move || {
        runtime.block_on(async {
            let (heard, frames) = mpsc::channel(HEARD);
            let mut task = Task {
                clock,
                orders: inputs.orders,
                vrrp: inputs.vrrp,
                ipvs: inputs.ipvs,
                holds,
                snapshots,
                heard,
                serial: 0,
                instances: BTreeMap::new(),
                daemons: Daemons::open(&state_dir).await,
                links: BTreeMap::new(),
                answerer: Answerer::default(),
                outgoing: VecDeque::new(),
                send_at: Duration::ZERO,
                relayed_until: Duration::ZERO,
                malformed: 0,
            };
            task.run(frames).await;
        });
    };
    std::thread::Builder::new().name("sync".to_owned()).spawn(body).map(|_| ())
}

struct Task {
    clock: Clock,
    orders: watch::Receiver<Orders>,
    vrrp: watch::Receiver<VrrpSnapshot>,
    ipvs: watch::Receiver<IpvsSnapshot>,
    holds: Arc<Holds>,
    snapshots: watch::Sender<SyncSnapshot>,
    heard: mpsc::Sender<Heard>,
    /// Of the orders that are in force.
    serial: u64,
    instances: BTreeMap<Name, Instance>,
    daemons: Result<Daemons, IpvsError>,
    /// By interface; why not and when again otherwise.
    links: BTreeMap<String, Result<Link, (io::Error, Duration)>>,
    answerer: Answerer,
    outgoing: VecDeque<Outgoing>,
    send_at: Duration,
    /// Entries that lead to the Active before us may be in the table until then.
    relayed_until: Duration,
    malformed: u64,
}

/// A datagram that waits.
struct Outgoing {
    interface: String,
    to_kernels: bool,
    bytes: Vec<u8>,
}

impl Task {
    /// Until the handle is dropped.
    async fn run(&mut self, mut frames: mpsc::Receiver<Heard>) {
        loop {
            let wake = self.clock.at(self.wake());
            tokio::select! {
                changed = self.orders.changed() => match changed {
                    Ok(()) => self.take_orders(),
                    Err(_) => return,
                },
                changed = self.vrrp.changed() => if changed.is_err() { return },
                Some(heard) = frames.recv() => self.hear(heard),
                () = tokio::time::sleep_until(wake) => {}
            }
            self.step().await;
        }
    }

    fn wake(&self) -> Duration {
        let instances = self.instances.values().filter_map(Instance::deadline);
        let daemons = self.daemons.as_ref().ok().map(Daemons::deadline);
        let daemons = daemons.filter(|_| !self.instances.is_empty());
        let sending = (!self.outgoing.is_empty()).then_some(self.send_at);
        let relay = Some(self.relayed_until).filter(|until| *until > self.clock.now());
        let links = self.links.values().filter_map(|link| link.as_ref().err().map(|(_, at)| *at));
        let all = instances.chain(daemons).chain(sending).chain(relay).chain(links);
        all.min().unwrap_or(Duration::MAX)
    }

    fn take_orders(&mut self) {
        let Orders { plans, serial } = self.orders.borrow_and_update().clone();
        self.serial = serial;
        self.instances
            .retain(|name, instance| plans.get(name).is_some_and(|plan| instance.change(plan)));
        for (name, plan) in plans {
            if !self.instances.contains_key(&name)
                && let Some(instance) = Instance::new(plan, rand::random())
            {
                self.instances.insert(name, instance);
            }
        }
    }

    async fn step(&mut self) {
        let now = self.clock.now();
        {
            let seen = self.vrrp.borrow_and_update();
            if !seen.relays.is_empty() {
                self.relayed_until = now + RELAY_TAIL;
            }
            let relaying = now < self.relayed_until;
            for (name, instance) in &mut self.instances {
                instance.see(now, name, &seen, relaying);
            }
        }
        for (name, instance) in &mut self.instances {
            let is_held = instance.hold(now);
            self.holds.set(self.serial, name, is_held);
        }
        self.open_links(now);
        self.turn_daemons(now).await;
        self.ask(now);
        self.send(now);
        self.publish();
    }

    fn open_links(&mut self, now: Duration) {
        let wanted: BTreeSet<&str> = self.instances.values().map(Instance::interface).collect();
        self.links.retain(|interface, _| wanted.contains(interface.as_str()));
        for interface in wanted {
            let is_due = match self.links.get(interface) {
                None => true,
                Some(Ok(_)) => false,
                Some(Err((_, at))) => now >= *at,
            };
            if is_due {
                let link = Link::open(interface, self.heard.clone());
                let link = link.map_err(|error| (error, now + RETRY));
                self.links.insert(interface.to_owned(), link);
            }
        }
    }

    async fn turn_daemons(&mut self, now: Duration) {
        let Ok(daemons) = &mut self.daemons else { return };
        let members: Vec<_> =
            self.instances.iter().map(|(name, instance)| instance.member(name)).collect();
        // With no instance a daemon of an earlier plan is stopped once.
        daemons.turn(now, choice::wanted(&members)).await;
    }

    /// Begins the rounds that are due.
    fn ask(&mut self, now: Duration) {
        for instance in self.instances.values_mut().filter(|instance| instance.is_due(now)) {
            let began = self.clock.now();
            let connections = match table::read(&instance.vips) {
                Ok(connections) => connections,
                Err(error) => {
                    tracing::warn!(%error, "the connection table cannot be read");
                    instance.asked(now, LONG);
                    continue;
                }
            };
            let took = self.clock.now().saturating_sub(began);
            let hashes = connections.iter().map(Connection::hash).collect();
            let frames = instance.asker.start(began, hashes);
            instance.asked(now, took);
            for frame in frames {
                let interface = instance.interface().to_owned();
                let bytes = frame.encode();
                self.outgoing.push_back(Outgoing { interface, to_kernels: false, bytes });
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        let now = self.clock.now();
        let Heard { interface, frame } = heard;
        let Some(frame) = frame else {
            self.malformed += 1;
            return;
        };
        let matching = |instance: &&mut Instance| {
            instance.scope == frame.scope && instance.interface() == interface
        };
        let Some(instance) = self.instances.values_mut().find(matching) else { return };
        if !instance.is_active() {
            match instance.asker.hear(now, &frame) {
                AskStep::Ignore => {}
                AskStep::Send(frames) => {
                    let bytes = frames.iter().map(fulcrum_ipvs::sync::Frame::encode);
                    self.queue(&interface, false, bytes.collect());
                }
                AskStep::Over(measured) => instance.answered(now, measured),
            }
            return;
        }
        match self.answerer.hear(&frame) {
            Answers::Nothing => {}
            Answers::Compare(key, digest) => self.compare(&interface, key, &digest),
            Answers::Find(key, asked, theirs) => self.find(&interface, key, &asked, &theirs),
        }
    }

    /// Answers a digest: what differs, or that nothing does.
    fn compare(&mut self, interface: &str, key: RoundKey, digest: &Digest) {
        // What an earlier round found is still on its way.
        if self.outgoing.iter().any(|outgoing| outgoing.to_kernels) || !self.take_census(key) {
            return;
        }
        let Some(instance) = self.of(key) else { return };
        let Some(census) = &instance.census else { return };
        let compared = u32::try_from(census.len()).unwrap_or(u32::MAX);
        let differ = census.digest().difference(digest);
        let frame = if differ.is_empty() {
            instance.comparisons += 1;
            key.frame(Body::Report { missing: 0, sent: 0, compared })
        } else {
            self.answerer.ask(key, differ)
        };
        self.queue(interface, false, vec![frame.encode()]);
    }

    /// Sends what a Backup lacks, and reports it afterwards.
    fn find(&mut self, interface: &str, key: RoundKey, asked: &Buckets, theirs: &BTreeSet<u64>) {
        let (now, table) = (self.clock.now(), self.ipvs.borrow().table.clone());
        let Some(instance) = self.of(key) else { return };
        let Some(census) = &instance.census else { return };
        let lack = census.lack(asked, theirs);
        let ours = Ours::new(&table, &instance.vips);
        let records = lack.connections.iter().filter_map(|connection| ours.record(connection));
        let records: Vec<Record> = records.collect();
        let sent = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let compared = u32::try_from(census.len()).unwrap_or(u32::MAX);
        instance.comparisons += 1;
        instance.told(now, sent);
        if sent > 0 {
            tracing::info!(sent, missing = lack.counted, compared, "connections sent to a Backup");
        }
        let messages = Message::encode_all(key.scope.sync_id, &records, MAX_PAYLOAD_BYTES);
        self.queue(interface, true, messages);
        let report = Body::Report { missing: lack.counted, sent, compared };
        self.queue(interface, false, vec![key.frame(report).encode()]);
    }

    fn of(&mut self, key: RoundKey) -> Option<&mut Instance> {
        self.instances.values_mut().find(|instance| instance.scope == key.scope)
    }

    /// Reads the table for the instance, unless that was done just now or takes too much of the time.
    fn take_census(&mut self, key: RoundKey) -> bool {
        let table = self.ipvs.borrow().table.clone();
        let clock = self.clock;
        let Some(instance) = self.of(key) else { return false };
        let began = clock.now();
        let good = CENSUS_GOOD.max(instance.read_took * READING_SHARE);
        let age = instance.census.as_ref().map(|census| began.saturating_sub(census.at()));
        if age.is_some_and(|age| age < good) {
            return true;
        }
        let connections = match table::read(&instance.vips) {
            Ok(connections) => connections,
            Err(error) => {
                tracing::warn!(%error, "the connection table cannot be read");
                return false;
            }
        };
        instance.read_took = clock.now().saturating_sub(began);
        let ours = Ours::new(&table, &instance.vips);
        let known = connections.into_iter().filter(|connection| ours.has(connection));
        instance.census = Some(Census::take(began, known, instance.census.as_ref()));
        true
    }

    fn queue(&mut self, interface: &str, to_kernels: bool, datagrams: Vec<Vec<u8>>) {
        let room = WAITING.saturating_sub(self.outgoing.len());
        let datagrams = datagrams.into_iter().take(room);
        let interface = interface.to_owned();
        let outgoing =
            datagrams.map(|bytes| Outgoing { interface: interface.clone(), to_kernels, bytes });
        self.outgoing.extend(outgoing);
    }

    fn send(&mut self, now: Duration) {
        if self.outgoing.is_empty() || now < self.send_at {
            return;
        }
        for _ in 0..BURST {
            let Some(Outgoing { interface, to_kernels, bytes }) = self.outgoing.pop_front() else {
                break;
            };
            let Some(Ok(link)) = self.links.get(&interface) else { continue };
            let sent =
                if to_kernels { link.tell_kernels(&bytes) } else { link.tell_directors(&bytes) };
            if let Err(error) = sent {
                // The socket may be of an interface that is gone: another takes its place.
                self.links.insert(interface, Err((error, now + RETRY)));
            }
        }
        self.send_at = now + BURST_PAUSE;
    }

    fn publish(&self) {
        let instances = self.instances.iter();
        let instances = instances.map(|(name, of)| (name.clone(), of.status(self.clock)));
        let snapshot = SyncSnapshot {
            instances: instances.collect(),
            malformed: self.malformed,
            problems: self.problems(),
        };
        self.snapshots.send_if_modified(|told| {
            let is_new = *told != snapshot;
            *told = snapshot;
            is_new
        });
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.instances.is_empty() {
            return problems;
        }
        match &self.daemons {
            Ok(daemons) => problems.extend_from_slice(daemons.problems()),
            Err(error) => problems.push(format!("no connection is synchronised: {error}")),
        }
        for (interface, link) in &self.links {
            if let Err((error, _)) = link {
                problems.push(format!(
                    "connections cannot be compared on {interface}: {error}; the interface must be up and have an IPv4 \
                     address, and the agent CAP_NET_RAW"
                ));
            }
        }
        let is_full = |instance: &&Instance| {
            instance.census.as_ref().is_some_and(|census| census.len() >= MOST_CONNECTIONS)
        };
        if self.instances.values().any(|instance| is_full(&instance)) {
            problems.push(format!(
                "more than {MOST_CONNECTIONS} connections: those beyond are told by the kernel alone, and a director \
                 that comes back may lack some"
            ));
        }
        problems
    }
}

/// Stands for a reading that failed: the next try comes after [`READING_SHARE`] times this.
const LONG: Duration = Duration::from_millis(100);
