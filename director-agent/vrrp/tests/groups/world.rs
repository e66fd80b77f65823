//! Directors with one sync group each, in virtual time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::resource::VrrpChecksum;
use fulcrum_model::vrrp::Announce;
use fulcrum_model::{Priority, Vrid};
use fulcrum_vrrp::config::{Centiseconds, Config, Wire};
use fulcrum_vrrp::group::{self, Command, Member, Witness};
use fulcrum_vrrp::{AddressList, Datagram, Input, Instance, Output, Outputs, Role, WallClock};
use proptest::prop_assert;
use proptest::test_runner::TestCaseError;

/// What goes wrong, and for how long.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An interface is down, and its director knows.
    LinkDown { node: usize, member: usize, for_ms: u64 },
    /// A cable is cut beyond the switch: nobody knows.
    Cut { node: usize, member: usize, for_ms: u64 },
    /// A director loses power.
    Dead { node: usize, for_ms: u64 },
    /// No packet passes on this segment any more.
    CutSegment { member: usize },
}

/// A director's part in one instance.
struct Part {
    instance: Instance,
    witness: Witness,
    down_until: Duration,
    cut_until: Duration,
}

pub(crate) struct World {
    now: Duration,
    /// By director, then by instance.
    nodes: Vec<Vec<Part>>,
    dead_until: Vec<Duration>,
    /// By arrival time and a serial number: to whom, in which instance.
    in_flight: BTreeMap<(Duration, u64), (usize, usize, Vec<u8>)>,
    cut_segments: Vec<usize>,
    serial: u64,
    random: u64,
    pub(crate) loss_percent: u8,
    /// Changes of role so far.
    pub(crate) changes: u64,
}

/// Rounds of commands until a group is at rest: it begins, yields or takes over, and rests.
const ROUNDS: usize = 4;
/// Time between turns at most, so that faults that end are seen.
const STEP: Duration = Duration::from_millis(100);

impl World {
    pub(crate) fn new(priorities: &[(u8, bool)], members: usize, seed: u64) -> Self {
        let nodes = priorities.iter().enumerate().map(|(node, (priority, preempts))| {
            (0..members).map(|member| part(node, member, *priority, *preempts)).collect()
        });
        Self {
            now: Duration::ZERO,
            nodes: nodes.collect(),
            dead_until: vec![Duration::ZERO; priorities.len()],
            in_flight: BTreeMap::new(),
            cut_segments: Vec::new(),
            serial: 0,
            random: seed | 1,
            loss_percent: 0,
            changes: 0,
        }
    }

    pub(crate) fn inject(&mut self, fault: Fault) {
        let until = |for_ms| self.now + Duration::from_millis(for_ms);
        match fault {
            Fault::LinkDown { node, member, for_ms } => {
                self.nodes[node][member].down_until = until(for_ms);
            }
            Fault::Cut { node, member, for_ms } => {
                self.nodes[node][member].cut_until = until(for_ms);
            }
            Fault::Dead { node, for_ms } => {
                self.dead_until[node] = until(for_ms);
                for part in &mut self.nodes[node] {
                    part.instance = Instance::new(part.instance.config().clone());
                    part.witness = Witness::default();
                }
            }
            Fault::CutSegment { member } => self.cut_segments.push(member),
        }
    }

    /// Ends every fault.
    pub(crate) fn heal(&mut self) {
        self.dead_until.fill(self.now);
        for part in self.nodes.iter_mut().flatten() {
            (part.down_until, part.cut_until) = (self.now, self.now);
        }
    }

    /// The director that is Active, when it is one in all instances.
    pub(crate) fn active(&self) -> Option<usize> {
        let is_active =
            |parts: &Vec<Part>| parts.iter().all(|part| part.instance.role() == Role::Active);
        self.nodes.iter().position(is_active)
    }

    /// All members of a director are Active, or none.
    pub(crate) fn groups_are_whole(&self) -> Result<(), TestCaseError> {
        for (node, parts) in self.nodes.iter().enumerate() {
            let active = parts.iter().filter(|part| part.instance.role() == Role::Active).count();
            prop_assert!(
                active == 0 || active == parts.len(),
                "director {node} is Active in {active} of {} at {:?}",
                parts.len(),
                self.now
            );
        }
        Ok(())
    }

    pub(crate) fn one_director_is_active(&self) -> Result<(), TestCaseError> {
        let is_active = |parts: &&Vec<Part>| parts[0].instance.role() == Role::Active;
        let active = self.nodes.iter().filter(is_active).count();
        prop_assert!(active == 1, "{active} directors are Active at {:?}", self.now);
        Ok(())
    }

    /// Goes from event to event, and checks after each.
    pub(crate) fn run_until(
        &mut self,
        end: Duration,
        check: &mut dyn FnMut(&Self) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        while self.now < end {
            self.turn();
            check(self)?;
            self.now = self.next_event().max(self.now + Duration::from_micros(1)).min(end);
        }
        Ok(())
    }

    fn next_event(&self) -> Duration {
        let arrival = self.in_flight.keys().next().map(|(at, _)| *at);
        let deadlines = self.nodes.iter().flatten().filter_map(|part| part.instance.deadline());
        arrival.into_iter().chain(deadlines).fold(self.now + STEP, Duration::min)
    }

    fn turn(&mut self) {
        while let Some(entry) = self.in_flight.first_entry().filter(|e| e.key().0 <= self.now) {
            let (node, member, packet) = entry.remove();
            if self.hears(node, member) {
                self.receive(node, member, &packet);
            }
        }
        for node in 0..self.nodes.len() {
            if self.dead_until[node] > self.now {
                continue;
            }
            for member in 0..self.nodes[node].len() {
                let part = &mut self.nodes[node][member];
                let is_down = part.down_until > self.now;
                if is_down && part.instance.role() != Role::Initialize {
                    self.step(node, member, Input::Down);
                }
            }
            for _ in 0..ROUNDS {
                self.keep_together(node);
            }
            for member in 0..self.nodes[node].len() {
                self.step(node, member, Input::Tick);
            }
        }
    }

    /// Carries out what the group decides.
    fn keep_together(&mut self, node: usize) {
        let now = self.now;
        let member = |part: &Part| part.witness.member(now, &part.instance, part.down_until <= now);
        let members: Vec<Member> = self.nodes[node].iter().map(member).collect();
        let decision = group::decide(now, &members);
        for (member, standing) in members.into_iter().enumerate() {
            match decision.command(standing) {
                Command::Stay => {}
                Command::Wait { until } => {
                    self.step(node, member, Input::Wait { until });
                }
                Command::Begin => self.step(node, member, Input::Up),
                Command::Leave => self.step(node, member, Input::Shutdown),
                Command::Yield => {
                    self.step(node, member, Input::Shutdown);
                    self.step(node, member, Input::Up);
                }
                Command::TakeOver => self.step(node, member, Input::TakeOver),
            }
        }
    }

    fn hears(&self, node: usize, member: usize) -> bool {
        let part = &self.nodes[node][member];
        let is_up = part.down_until <= self.now && part.cut_until <= self.now;
        is_up && self.dead_until[node] <= self.now && !self.cut_segments.contains(&member)
    }

    fn receive(&mut self, node: usize, member: usize, packet: &[u8]) {
        let datagram = Datagram::parse(packet).expect("directors send whole packets");
        let now = self.now;
        let received = self.nodes[node][member].instance.receive(now, WallClock(now), &datagram);
        let received = received.expect("all are configured alike");
        let (source, priority) = (received.source, received.advert.priority);
        self.step(node, member, Input::Advert { source, advert: &received.advert });
        let part = &mut self.nodes[node][member];
        part.witness.note_advert(self.now, &part.instance, source, priority);
    }

    fn step(&mut self, node: usize, member: usize, input: Input<'_>) {
        let outputs = self.nodes[node][member].instance.step(self.now, input);
        self.carry_out(node, member, outputs);
    }

    fn carry_out(&mut self, node: usize, member: usize, outputs: Outputs) {
        for output in outputs {
            match output {
                Output::Role(change) => {
                    self.nodes[node][member].witness.note_change(self.now, change);
                    self.changes += 1;
                }
                Output::Advertise { priority } => self.send(node, member, priority),
                Output::Announce | Output::Relieve { .. } | Output::Discard(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, member: usize, priority: u8) {
        if !self.hears(from, member) {
            return;
        }
        let mut packet = Vec::new();
        let (now, instance) = (self.now, &mut self.nodes[from][member].instance);
        instance.advertise(now, WallClock(now), priority, |_, bytes| packet = bytes.to_vec());
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.draw() % 100 < u64::from(self.loss_percent) {
                continue;
            }
            // Each segment keeps the order: a millisecond is a millisecond for all packets.
            let arrival = self.now + Duration::from_millis(1);
            self.serial += 1;
            self.in_flight.insert((arrival, self.serial), (to, member, packet.clone()));
        }
    }

    /// xorshift64: the seed alone decides.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn part(node: usize, member: usize, priority: u8, preempt: bool) -> Part {
    let last = u8::try_from(node + 1).expect("few directors");
    let segment = u8::try_from(member).expect("few members");
    let config = Config {
        vrid: Vrid::new(51).expect("a VRID"),
        priority: Priority::new(priority.into()).expect("a priority"),
        preempt,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        take_over: false,
        source: IpAddr::from([10, 0, segment, last]),
        addresses: AddressList::new(vec![IpAddr::from([10, 0, segment, 150])]).expect("one"),
        peers: Vec::new(),
        unicast_min_ttl: 255,
        auth_hmac: None,
        announce: Announce::default(),
        wire: Wire::V3 {
            interval: Centiseconds::new(100).expect("a second"),
            checksum: VrrpChecksum::Deployed,
        },
    };
    Part {
        instance: Instance::new(config),
        witness: Witness::default(),
        down_until: Duration::ZERO,
        cut_until: Duration::ZERO,
    }
}
