//! One table of pools and the weights they get. What takes time is in `over_time` and
//! `silence`, what holds always in `laws`.

mod laws;
mod load;
mod over_time;
mod paths;
mod silence;

use std::time::SystemTime;

use super::*;
use crate::evidence::{ServerLoad, Verdict as V};

#[derive(Clone, Copy, Debug)]
enum P {
    Pending,
    Pass,
    Fail,
}

/// One real server: own probe, agent's verdict, ARP proven, weight in the kernel.
type Row = (P, Option<V>, bool, Option<u64>);

/// What is known of a real server in dr.
#[derive(Clone, Debug)]
struct Server {
    planned: Weight,
    probe: P,
    path: PathProbe,
    verdict: Option<V>,
    proven: bool,
    drain: Option<DrainPlan>,
    local_drain: Option<LocalOrder>,
    load: Option<ServerLoad>,
    history: History,
    tries: Tries,
}

impl Server {
    /// Planned with weight 8, in rotation, and new.
    fn well() -> Self {
        Self::from(&(P::Pass, Some(V::Up), true, None))
    }

    fn from((probe, verdict, proven, current): &Row) -> Self {
        let history = current.map(|current| History::adopted(weight(current)));
        Self {
            planned: weight(8),
            probe: *probe,
            path: PathProbe::NotAsked,
            verdict: *verdict,
            proven: *proven,
            drain: None,
            local_drain: None,
            load: None,
            history: history.unwrap_or_default(),
            tries: Tries::default(),
        }
    }

    fn probed(self, probe: P) -> Self {
        Self { probe, ..self }
    }

    fn through_vip(self, path: PathProbe) -> Self {
        Self { path, ..self }
    }

    fn drained(self, grace: Option<Duration>) -> Self {
        let (name, reason) = (name(), "new kernel".to_owned());
        let drain = Some(DrainPlan { name, reason, requested_by: "ann".to_owned(), grace });
        Self { drain, ..self }
    }

    fn is_drained(&self) -> bool {
        self.drain.is_some() || self.local_drain.is_some()
    }

    /// By an order at the director.
    fn drained_locally(self) -> Self {
        let since = SystemTime::UNIX_EPOCH;
        let local_drain = Some(LocalOrder {
            owner: "bob".to_owned(),
            reason: "it is slow".to_owned(),
            since,
            expires_at: since + Duration::from_mins(15),
            up_until: Duration::from_mins(15),
        });
        Self { local_drain, ..self }
    }
}

/// What is known of a pool.
#[derive(Clone, Debug)]
struct World {
    requirement: AgentRequirement,
    members: Vec<Server>,
    sorry: Option<Server>,
    quorum: Quorum,
    was_quorum_met: bool,
    slow_start: Option<Duration>,
    dynamic_weights: Option<DynamicWeights>,
    on_failure: FailurePolicy,
}

impl World {
    fn new(members: impl IntoIterator<Item = Server>) -> Self {
        Self {
            requirement: AgentRequirement::Required,
            members: members.into_iter().collect(),
            sorry: None,
            quorum: Quorum::default(),
            was_quorum_met: true,
            slow_start: None,
            dynamic_weights: None,
            on_failure: FailurePolicy::Keep,
        }
    }

    /// With a sorry server of weight 1.
    fn with_sorry(self) -> Self {
        Self { sorry: Some(Server { planned: Weight::ONE, ..Server::well() }), ..self }
    }

    fn with_quorum(self, weight: u32, hysteresis: u32) -> Self {
        Self { quorum: Quorum { weight, hysteresis }, ..self }
    }

    /// Decides, and remembers what the next decision needs.
    fn fuse(&mut self, now: Duration) -> PoolDecision {
        let name = name();
        let owned: Vec<_> =
            self.members.iter().chain(&self.sorry).map(|server| owned(&name, server)).collect();
        let paths: Vec<_> =
            self.members.iter().chain(&self.sorry).map(|server| server.path.clone()).collect();
        let mut candidates: Vec<_> = self
            .members
            .iter()
            .chain(&self.sorry)
            .zip(owned.iter().zip(&paths))
            .map(|(server, ((probe, agent, arp), path))| Candidate {
                real_server: &name,
                planned: server.planned,
                forwarding: ForwardingMethod::Dr,
                probe,
                tries: server.tries,
                path,
                agent: agent.as_ref(),
                arp,
                drain: server.drain.as_ref(),
                local_drain: server.local_drain.as_ref(),
                history: server.history,
            })
            .collect();
        let sorry_server = if self.sorry.is_some() { candidates.pop() } else { None };
        let decision = fuse(
            now,
            &PoolEvidence {
                requirement: self.requirement,
                members: &candidates,
                sorry_server,
                quorum: self.quorum,
                was_quorum_met: self.was_quorum_met,
                slow_start: self.slow_start,
                dynamic_weights: self.dynamic_weights,
                on_failure: self.on_failure,
                check_interval: Duration::from_secs(1),
            },
        );
        for (server, decision) in self.members.iter_mut().zip(&decision.members) {
            assert!(!decision.reasons.is_empty(), "every weight has a reason");
            server.history = decision.history;
        }
        assert!(decision.next_look.is_none_or(|look| look > now), "time goes on");
        self.was_quorum_met = decision.quorum.is_met;
        decision
    }

    /// Weights of the members at that time.
    fn weights_at(&mut self, now: Duration) -> Vec<u16> {
        weights(&self.fuse(now))
    }

    /// Weights of the members at that second.
    fn weights(&mut self, second: u64) -> Vec<u16> {
        weights(&self.fuse(Duration::from_secs(second)))
    }
}

fn weights(decision: &PoolDecision) -> Vec<u16> {
    decision.members.iter().map(|decision| decision.place.weight().get()).collect()
}

/// Weight of the sorry server; none when it is out of the table.
fn sorry_weight(decision: &PoolDecision) -> Option<u16> {
    match decision.sorry_server.as_ref()?.place {
        Place::In(weight) => Some(weight.get()),
        Place::Leaving { .. } => None,
    }
}

fn name() -> Name {
    "web".parse().expect("a valid name")
}

fn weight(value: u64) -> Weight {
    Weight::new(value).expect("in range")
}

fn owned(name: &Name, server: &Server) -> (OwnProbe, Option<ServerEvidence>, ArpSafety) {
    let probe = match server.probe {
        P::Pending => OwnProbe::Pending,
        P::Pass => OwnProbe::Passing,
        P::Fail => OwnProbe::Failing("refused".to_owned()),
    };
    let evidence = server.verdict.map(|verdict| ServerEvidence {
        real_server: name.clone(),
        verdict,
        reasons: vec!["seen".to_owned()],
        pid: None,
        probe_time: None,
        http_status: None,
        load: server.load,
        exit_seen_at: None,
        restart: None,
    });
    let arp = if server.proven { ArpSafety::Proven } else { ArpSafety::Unproven };
    (probe, evidence, arp)
}

#[test]
fn pools_get_their_weights() {
    use P::{Fail, Pass, Pending};
    let up = Some(V::Up);
    let down = Some(V::Down);
    let cases: &[(&str, &[Row], &[u16])] = &[
        ("all well", &[(Pass, up, true, None), (Pass, up, true, None)], &[8, 8]),
        ("one down by its agent", &[(Pass, down, true, None), (Pass, up, true, None)], &[0, 8]),
        ("one down by the probe", &[(Fail, up, true, None), (Pass, up, true, None)], &[0, 8]),
        ("a silent agent is unknown", &[(Pass, None, true, None), (Pass, up, true, None)], &[8, 8]),
        ("saturated keeps a quarter", &[(Pass, Some(V::Saturated), true, None)], &[2]),
        (
            "agents alone never empty a pool",
            &[(Pass, down, true, None), (Pass, down, true, None)],
            &[8, 8],
        ),
        ("a drain is an order", &[(Pass, Some(V::Draining), true, None)], &[0]),
        (
            "stopping is an order",
            &[(Pass, Some(V::Stopping), true, None), (Pass, up, true, None)],
            &[0, 8],
        ),
        ("all probes fail: keep all", &[(Fail, up, true, None), (Fail, None, true, None)], &[8, 8]),
        ("all dead: keep all", &[(Fail, down, true, None), (Fail, down, true, None)], &[8, 8]),
        (
            "one drained, the other dead",
            &[(Pass, Some(V::Draining), true, None), (Fail, down, true, None)],
            &[0, 0],
        ),
        ("no ARP proof, no weight", &[(Pass, up, false, None), (Pass, up, true, None)], &[0, 8]),
        ("no ARP proof even in panic", &[(Fail, up, false, None), (Fail, up, true, None)], &[0, 8]),
        (
            "pending keeps the kernel's weight",
            &[(Pending, up, true, Some(5)), (Pass, up, true, None)],
            &[5, 8],
        ),
        ("pending and new waits", &[(Pending, up, true, None)], &[0]),
        (
            "a held one counts as in",
            &[(Pass, down, true, None), (Pending, up, true, Some(8))],
            &[0, 8],
        ),
        (
            "a held one without weight does not",
            &[(Pass, down, true, None), (Pending, up, true, Some(0))],
            &[8, 0],
        ),
    ];
    for (what, rows, expected) in cases {
        let mut world = World::new(rows.iter().map(Server::from));
        assert_eq!(world.weights(0), *expected, "{what}");
    }
}

#[test]
fn without_an_agent_the_probe_decides() {
    let rows = [(P::Pass, Some(V::Down), false, None), (P::Fail, Some(V::Up), false, None)];
    let mut world = World::new(rows.iter().map(Server::from));
    world.requirement = AgentRequirement::None;
    assert_eq!(world.weights(0), [8, 0]);
}

#[test]
fn an_order_to_drain_goes_before_all_else() {
    let well = Server::well;
    let adopted = Server::from(&(P::Pending, None, true, Some(8)));
    let cases: [(&str, [Server; 2], [u16; 2]); 8] = [
        ("one of two", [well().drained(None), well()], [0, 8]),
        ("by an order at the director", [well().drained_locally(), well()], [0, 8]),
        ("one by each", [well().drained_locally(), well().drained(None)], [0, 0]),
        (
            "by both, and the other is dead",
            [well().drained_locally().drained(None), well().probed(P::Fail)],
            [0, 0],
        ),
        ("found in the kernel with a weight", [adopted.drained(None), well()], [0, 8]),
        ("both", [well().drained(None), well().drained(None)], [0, 0]),
        (
            "the other is dead, and not all fail",
            [well().drained(None), well().probed(P::Fail)],
            [0, 0],
        ),
        ("all fail", [well().probed(P::Fail).drained(None), well().probed(P::Fail)], [0, 8]),
    ];
    for (what, members, expected) in cases {
        assert_eq!(World::new(members).weights(0), expected, "{what}");
    }
    let grace = Some(Duration::from_mins(10));
    for (grace, place, reason) in [
        (None, Place::In(Weight::ZERO), "drained by ann: new kernel (drain web)"),
        (
            grace,
            Place::Leaving { within: grace },
            "drained by ann: new kernel (drain web; its connections may go on for 600s)",
        ),
    ] {
        let decision = World::new([well().drained(grace), well()]).fuse(Duration::ZERO);
        assert_eq!(decision.members[0].place, place);
        assert_eq!(decision.members[0].reasons, [reason]);
        // Both orders stand, and the plan's keeps its grace.
        let both = well().drained(grace).drained_locally();
        let decision = World::new([both, well()]).fuse(Duration::ZERO);
        assert_eq!(decision.members[0].place, place);
        let local = "drained by bob: it is slow (drain local/bob)";
        assert_eq!(decision.members[0].reasons, [format!("{reason}; {local}")]);
    }
}

/// Name, members, quorum and hysteresis, whether it was met; members' weights, the sorry server's, whether it is met.
type SorryCase = (&'static str, Vec<Server>, (u32, u32), bool, Vec<u16>, Option<u16>, bool);

#[test]
fn the_sorry_server_serves_while_the_quorum_is_lost() {
    let (well, dead) = (Server::well, || Server::well().probed(P::Fail));
    let told_down = || Server { verdict: Some(V::Down), ..Server::well() };
    let drained = || Server::well().drained(None);
    let pending = || Server::well().probed(P::Pending);
    let held = |weight| Server::from(&(P::Pending, Some(V::Up), true, Some(weight)));
    let cases: Vec<SorryCase> = vec![
        ("all well", vec![well(), well()], (1, 0), true, vec![8, 8], None, true),
        ("one dead", vec![dead(), well()], (1, 0), true, vec![0, 8], None, true),
        ("all dead", vec![dead(), dead()], (1, 0), true, vec![0, 0], Some(1), false),
        ("one is back", vec![dead(), well()], (1, 0), false, vec![0, 8], None, true),
        ("nobody answered yet", vec![pending(), pending()], (9, 0), true, vec![0, 0], None, true),
        ("one may still come", vec![pending(), dead()], (1, 0), true, vec![0, 8], None, true),
        ("an answer is missing", vec![pending(), dead()], (9, 0), true, vec![0, 0], Some(1), false),
        (
            "a restart found it lost",
            vec![held(0), held(0)],
            (1, 0),
            false,
            vec![0, 0],
            Some(1),
            false,
        ),
        ("a restart found it met", vec![held(8), held(0)], (1, 0), true, vec![8, 0], None, true),
        ("too few", vec![dead(), well()], (9, 0), true, vec![0, 0], Some(1), false),
        (
            "a drained one does not count",
            vec![drained(), well()],
            (9, 0),
            true,
            vec![0, 0],
            Some(1),
            false,
        ),
        ("all are drained", vec![drained(), drained()], (1, 0), true, vec![0, 0], Some(1), false),
        (
            "agents alone lose none",
            vec![told_down(), well()],
            (16, 0),
            true,
            vec![0, 8],
            None,
            true,
        ),
        ("nor all of them", vec![told_down(), told_down()], (16, 0), true, vec![8, 8], None, true),
        ("at the lower edge", vec![dead(), well()], (12, 4), true, vec![0, 8], None, true),
        ("below the lower edge", vec![dead(), well()], (12, 3), true, vec![0, 0], Some(1), false),
        ("below the upper edge", vec![dead(), well()], (8, 1), false, vec![0, 0], Some(1), false),
        ("at the upper edge", vec![well(), well()], (12, 4), false, vec![8, 8], None, true),
        (
            "no edge is above the whole",
            vec![well(), well()],
            (12, 9),
            false,
            vec![8, 8],
            None,
            true,
        ),
        (
            "no quorum is above the whole",
            vec![well(), well()],
            (99, 0),
            false,
            vec![8, 8],
            None,
            true,
        ),
    ];
    for (what, members, (quorum, hysteresis), was_met, expected, sorry, is_met) in cases {
        let mut world = World::new(members).with_sorry().with_quorum(quorum, hysteresis);
        world.was_quorum_met = was_met;
        let decision = world.fuse(Duration::ZERO);
        let found = (weights(&decision), sorry_weight(&decision), decision.quorum.is_met);
        assert_eq!(found, (expected, sorry, is_met), "{what}");
    }
}

#[test]
fn a_sorry_server_that_is_not_safe_is_as_none() {
    let dead = || Server::well().probed(P::Fail);
    for (members, quorum, expected) in
        [(vec![dead(), dead()], 1, [8, 8]), (vec![dead(), Server::well()], 9, [0, 8])]
    {
        let mut world = World::new(members).with_sorry().with_quorum(quorum, 0);
        world.sorry.iter_mut().for_each(|sorry| sorry.proven = false);
        let decision = world.fuse(Duration::ZERO);
        assert_eq!((weights(&decision), sorry_weight(&decision)), (expected.to_vec(), None));
        assert!(!decision.quorum.is_met);
        let sorry = decision.sorry_server.expect("there is one");
        assert_eq!(sorry.reasons, ["ARP safety not yet reported by the real server's agent"]);
    }
}

#[test]
fn a_sorry_server_serves_whatever_its_agent_says() {
    let mut world = World::new([Server::well().probed(P::Fail)]).with_sorry();
    world.sorry.iter_mut().for_each(|sorry| sorry.verdict = Some(V::Down));
    let decision = world.fuse(Duration::ZERO);
    assert_eq!(sorry_weight(&decision), Some(1));
    let sorry = decision.sorry_server.expect("there is one");
    assert_eq!(
        sorry.reasons,
        ["sorry server: the pool has lost its quorum", "agent says down: seen"]
    );
}
