//! A segment in virtual time, with whole packets on it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use fulcrum_model::resource::VrrpChecksum;
use fulcrum_model::vrrp::{Announce, AuthHmac, HmacKey, HmacMode};
use fulcrum_model::{Priority, Vrid};
use fulcrum_vrrp::config::{Centiseconds, Config, Wire};
use fulcrum_vrrp::{
    AddressList, Datagram, Hold, HoldInput, HoldTimes, Input, Instance, Output, WallClock,
};
use proptest::test_runner::TestCaseError;

/// What differs between directors.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) priority: u8,
    pub(crate) preempt: bool,
    pub(crate) centiseconds: u16,
    pub(crate) preempt_delay_ms: u64,
    /// Adverts carry an HMAC: the same for all.
    pub(crate) signs: bool,
}

/// What goes wrong, and for how long.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The process does not run; packets queue.
    Pause { node: usize, for_ms: u64 },
    /// The interface is down, and the director knows.
    LinkDown { node: usize, for_ms: u64 },
    /// The cable is cut beyond the switch: nobody knows.
    Cut { node: usize, for_ms: u64 },
    /// A planned stop, and a start later.
    Stop { node: usize, for_ms: u64 },
    /// The process dies and is started again at once.
    Crash { node: usize },
    /// What is tracked changes the priority; the configured one comes back at the end.
    Priority { node: usize, priority: u8 },
    /// Take-overs are held, until the end.
    Hold { node: usize },
}

pub(crate) struct Node {
    pub(crate) instance: Instance,
    pub(crate) hold: Hold,
    times: HoldTimes,
    queue: Vec<Vec<u8>>,
    paused_until: Duration,
    down_until: Option<Duration>,
    cut_until: Duration,
}

pub(crate) struct Network {
    nodes: Vec<Node>,
    now: Duration,
    /// By arrival time and a serial number.
    in_flight: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    serial: u64,
    random: u64,
    /// When the last packet of each link (from, to) arrives.
    last_arrival: BTreeMap<(usize, usize), Duration>,
    pub(crate) keeps_order: bool,
    pub(crate) loss_percent: u8,
    pub(crate) twice_percent: u8,
    pub(crate) delay_ms: RangeInclusive<u64>,
}

impl Network {
    pub(crate) fn new(settings: &[Setting], seed: u64) -> Self {
        let mut network = Self {
            nodes: settings.iter().enumerate().map(|(index, s)| Node::new(index, s)).collect(),
            now: Duration::ZERO,
            in_flight: BTreeMap::new(),
            serial: 0,
            random: seed | 1,
            last_arrival: BTreeMap::new(),
            keeps_order: true,
            loss_percent: 0,
            twice_percent: 0,
            delay_ms: 0..=2,
        };
        for node in 0..network.nodes.len() {
            network.step(node, Input::Up);
        }
        network
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    pub(crate) fn active(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.hold == Hold::Held)
    }

    /// Longest that a director may need to take over or to give way on a quiet segment, three times
    /// over.
    pub(crate) fn settling_time(&self) -> Duration {
        let slowest = self.nodes.iter().map(|node| node.instance.config().interval()).max();
        let delays = self.nodes.iter().map(|node| node.instance.config().preempt_delay).max();
        12 * slowest.unwrap_or_default() + delays.unwrap_or_default() + Duration::from_secs(3)
    }

    pub(crate) fn inject(&mut self, fault: Fault) {
        let until = |for_ms| self.now + Duration::from_millis(for_ms);
        match fault {
            Fault::Pause { node, for_ms } => self.nodes[node].paused_until = until(for_ms),
            Fault::Cut { node, for_ms } => self.nodes[node].cut_until = until(for_ms),
            Fault::LinkDown { node, for_ms } => {
                self.nodes[node].down_until = Some(until(for_ms));
                self.step(node, Input::Down);
            }
            Fault::Stop { node, for_ms } => {
                self.nodes[node].down_until = Some(until(for_ms));
                self.step(node, Input::Shutdown);
            }
            Fault::Priority { node, priority } => {
                // What is tracked never makes an owner, and never takes one's place.
                if self.nodes[node].instance.config().priority != Priority::OWNER {
                    let priority = Priority::new(u64::from(priority)).expect("a priority");
                    self.step(node, Input::Priority(priority));
                }
            }
            Fault::Hold { node } => self.step(node, Input::HoldPreemption(true)),
            Fault::Crash { node } => {
                self.nodes[node].instance =
                    Instance::new(self.nodes[node].instance.config().clone());
                self.nodes[node].hold = Hold::Absent;
                self.nodes[node].queue.clear();
                self.nodes[node].down_until = Some(self.now);
            }
        }
    }

    /// Ends every fault.
    pub(crate) fn heal(&mut self) {
        for node in 0..self.nodes.len() {
            let priority = self.nodes[node].instance.config().priority;
            self.step(node, Input::Priority(priority));
            self.step(node, Input::HoldPreemption(false));
        }
        for node in &mut self.nodes {
            node.paused_until = self.now;
            node.cut_until = self.now;
            node.down_until = node.down_until.map(|_| self.now);
        }
    }

    /// Goes from event to event, and checks after each.
    pub(crate) fn run_until(
        &mut self,
        end: Duration,
        check: &mut dyn FnMut(&Self) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.turn();
            check(self)?;
        }
        self.now = end;
        Ok(())
    }

    fn next_event(&self) -> Option<Duration> {
        let arrival = self.in_flight.keys().next().map(|(at, _)| *at);
        let timers = self.nodes.iter().filter_map(Node::wakes_at);
        arrival.into_iter().chain(timers).min()
    }

    /// Delivers what has arrived, then lets every director that runs take its turn: packets first,
    /// then time.
    fn turn(&mut self) {
        while let Some(entry) = self.in_flight.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to, packet) = entry.remove();
            let node = &mut self.nodes[to];
            // A director that stops still listens for its successor.
            let listens = node.down_until.is_none() || matches!(node.hold, Hold::Yielding { .. });
            if node.cut_until <= self.now && listens {
                node.queue.push(packet);
            }
        }
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if node.down_until.is_some_and(|until| until <= self.now) {
                node.down_until = None;
                self.step(index, Input::Up);
            }
            if self.nodes[index].paused_until <= self.now {
                for packet in std::mem::take(&mut self.nodes[index].queue) {
                    self.receive(index, &packet);
                }
                self.step(index, Input::Tick);
                let node = &mut self.nodes[index];
                node.hold = node.hold.step(self.now, node.times, HoldInput::Tick);
            }
        }
    }

    fn receive(&mut self, index: usize, packet: &[u8]) {
        let datagram = Datagram::parse(packet).expect("directors send whole packets");
        let node = &mut self.nodes[index];
        if let Ok(received) = node.instance.receive(self.now, WallClock(self.now), &datagram) {
            if received.advert.priority > 0 {
                node.hold = node.hold.step(self.now, node.times, HoldInput::Heard);
            }
            self.step(index, Input::Advert { source: received.source, advert: &received.advert });
        }
    }

    fn step(&mut self, index: usize, input: Input<'_>) {
        let node = &mut self.nodes[index];
        let is_planned = matches!(input, Input::Shutdown);
        for output in node.instance.step(self.now, input) {
            let hold = match output {
                Output::Role(change) => HoldInput::of(change, is_planned),
                Output::Advertise { priority } => {
                    self.send(index, priority);
                    None
                }
                Output::Announce | Output::Relieve { .. } | Output::Discard(_) => None,
            };
            let node = &mut self.nodes[index];
            if let Some(input) = hold {
                node.hold = node.hold.step(self.now, node.times, input);
            }
        }
    }

    fn send(&mut self, from: usize, priority: u8) {
        let mut packets = Vec::new();
        let (now, instance) = (self.now, &mut self.nodes[from].instance);
        instance
            .advertise(now, WallClock(now), priority, |_, packet| packets.push(packet.to_vec()));
        if self.nodes[from].cut_until > self.now {
            return;
        }
        let to = (0..self.nodes.len()).filter(|to| *to != from);
        let copies: Vec<_> = to.flat_map(|to| packets.iter().map(move |p| (to, p))).collect();
        for (to, packet) in copies {
            if self.draw() % 100 < u64::from(self.loss_percent) {
                continue;
            }
            let (least, most) = (*self.delay_ms.start(), *self.delay_ms.end());
            let delay = Duration::from_millis(least + self.draw() % (most - least + 1));
            let last = self.last_arrival.entry((from, to)).or_default();
            let arrival = self.now + delay;
            let arrival = if self.keeps_order { arrival.max(*last) } else { arrival };
            *last = arrival;
            let is_sent_twice = self.draw() % 100 < u64::from(self.twice_percent);
            for _ in 0..=u8::from(is_sent_twice) {
                self.serial += 1;
                self.in_flight.insert((arrival, self.serial), (to, packet.clone()));
            }
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

fn auth_hmac() -> AuthHmac {
    let key = HmacKey::new(1, vec![7; 32]).expect("a key");
    AuthHmac { keys: vec![key], active_key: 1, window: None, mode: HmacMode::Enforce }
}

impl Node {
    fn new(index: usize, setting: &Setting) -> Self {
        let last = u8::try_from(index + 1).expect("few nodes");
        let interval = Centiseconds::new(setting.centiseconds).expect("above 0");
        let vip = IpAddr::from([10, 0, 0, 150]);
        let config = Config {
            vrid: Vrid::new(51).expect("a VRID"),
            priority: Priority::new(u64::from(setting.priority)).expect("a priority"),
            preempt: setting.preempt,
            preempt_delay: Duration::from_millis(setting.preempt_delay_ms),
            startup_delay: Duration::ZERO,
            take_over: false,
            source: IpAddr::from([10, 0, 0, last]),
            addresses: AddressList::new(vec![vip]).expect("one"),
            peers: Vec::new(),
            unicast_min_ttl: 255,
            auth_hmac: setting.signs.then(auth_hmac),
            announce: Announce::default(),
            wire: Wire::V3 { interval, checksum: VrrpChecksum::Deployed },
        };
        Self {
            times: HoldTimes::of(&config.wire),
            instance: Instance::new(config),
            hold: Hold::Absent,
            queue: Vec::new(),
            paused_until: Duration::ZERO,
            down_until: None,
            cut_until: Duration::ZERO,
        }
    }

    fn wakes_at(&self) -> Option<Duration> {
        let timers = [self.instance.deadline(), self.hold.deadline()].into_iter().flatten();
        let waiting = (!self.queue.is_empty()).then_some(Duration::ZERO);
        let at = timers.chain(waiting).min().map(|at| at.max(self.paused_until));
        [at, self.down_until].into_iter().flatten().min()
    }
}
