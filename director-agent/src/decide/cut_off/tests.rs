use fulcrum_model::fuse::{OwnProbe, Silence};
use fulcrum_model::vrrp::{TrackRealServers, VrrpOptions};
use fulcrum_model::{CommandCheck, UdpCheck};

use super::super::arp::ArpLatch;
use super::super::check::CheckNews;
use super::super::fixtures::{name, rip, servers, virtual_server, vrrp_instance};
use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

/// A check that answers, whose retries are not spent, that fell silent at a second, or that was not tried yet.
#[derive(Clone, Copy)]
enum One {
    Answers,
    Retries(u64),
    Silent(u64),
    Untried,
}

fn tries(one: One) -> Tries {
    let silence = |since: u64, fell: Option<u64>| {
        let silence = Silence { since: S(since), asked: S(since), fell: fell.map(S) };
        Some(silence)
    };
    let heard = Some(S(1));
    match one {
        One::Answers => Tries { heard, ..Tries::default() },
        One::Retries(since) => Tries { heard, silence: silence(since, None), ended: None },
        One::Silent(since) => Tries { heard, silence: silence(since, Some(since)), ended: None },
        One::Untried => Tries::default(),
    }
}

/// Each on a host of its own.
fn apart(interval: Duration, all: &[One]) -> Vec<Tried> {
    let hosts = (1_u8..).zip(all);
    let tried = hosts.map(|(number, one)| {
        let rip = IpAddr::from([10, 0, 0, number]);
        Tried { rip, interval, tries: tries(*one) }
    });
    tried.collect()
}

#[test]
fn silence_together_is_a_cut() {
    use One::{Answers, Retries, Silent, Untried};
    let cut = |silent, of, within| Way::Cut { silent, of, within: S(within) };
    let cases: Vec<(&str, Vec<One>, u8, bool, Way)> = vec![
        ("nobody", vec![], 100, false, Way::Untried),
        ("nobody was tried", vec![Untried, Untried], 100, false, Way::Untried),
        ("all answer", vec![Answers, Answers], 100, false, Way::Open),
        ("all are silent", vec![Silent(60), Silent(61)], 100, false, cut(2, 2, 1)),
        ("one alone is dead", vec![Silent(60)], 100, false, Way::Open),
        ("one of two is dead", vec![Silent(60), Answers], 100, false, Way::Open),
        ("retries are not spent", vec![Silent(60), Retries(60)], 100, false, Way::Open),
        ("a share", vec![Silent(60), Silent(60), Silent(60), Answers], 75, false, cut(3, 4, 0)),
        ("less than it", vec![Silent(60), Silent(60), Answers, Answers], 75, false, Way::Open),
        ("one after the other", vec![Silent(20), Silent(40), Silent(60)], 100, false, Way::Open),
        (
            "one that was dead before counts for nothing",
            vec![Silent(20), Silent(60), Silent(60)],
            100,
            false,
            cut(2, 2, 0),
        ),
        (
            "one that was not tried does not, either",
            vec![Silent(60), Silent(60), Untried],
            100,
            false,
            cut(2, 2, 0),
        ),
        (
            "one that is added while cut off",
            vec![Silent(60), Silent(60), Silent(90)],
            100,
            true,
            cut(3, 3, 30),
        ),
        ("the last one stays while cut off", vec![Silent(60)], 100, true, cut(1, 1, 0)),
        ("somebody answers", vec![Silent(60), Silent(60), Answers], 100, true, Way::Open),
    ];
    for (what, all, percent, was_cut, expected) in cases {
        assert_eq!(judge(apart(S(1), &all).into_iter(), percent, was_cut), expected, "{what}");
    }
    let slow = apart(S(10), &[Silent(60), Silent(75)]);
    assert_eq!(judge(slow.into_iter(), 100, false), cut(2, 2, 15), "two of its intervals");
    let mut ports = apart(S(1), &[Silent(60), Silent(60)]);
    ports[1].rip = ports[0].rip;
    assert_eq!(judge(ports.into_iter(), 100, false), Way::Open, "two ports of one dead host");
}

#[test]
fn what_silence_passes_says_nothing() {
    let udp = |min_reply| ProbeKind::Udp(UdpCheck { payload: Vec::new(), min_reply });
    assert!(can_be_silent(&ProbeKind::Tcp(None)));
    assert!(can_be_silent(&udp(Some(1))));
    assert!(!can_be_silent(&udp(None)));
    let command =
        CommandCheck { program: "check".to_owned(), arguments: Vec::new(), sets_weight: false };
    assert!(!can_be_silent(&ProbeKind::Command(command)));
}

fn probe() -> Probe {
    Probe::own(TrackTarget::RealServers(100), name("vi-1"))
}

fn instances() -> BTreeMap<Name, VrrpInstancePlan> {
    let track = Some(TrackRealServers { weight: -60, silent_percent: 100 });
    let plans = [("vi-1", 1, track), ("vi-2", 2, None)].map(|(text, vip, track_real_servers)| {
        let options = VrrpOptions { track_real_servers, ..VrrpOptions::default() };
        VrrpInstancePlan { options, ..vrrp_instance(text, vip) }
    });
    plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect()
}

/// Virtual servers at VIPs 1 and 2: the first with web1 and web2, the second with web3 alone.
struct Cluster {
    decider: Decider,
    cut_off: CutOff,
}

impl Cluster {
    fn new() -> Self {
        let mut decider = Decider::new(ArpLatch::default());
        let plan =
            servers([virtual_server("a", 1, &["web1", "web2"]), virtual_server("b", 2, &["web3"])]);
        let changed: Vec<_> = plan.into_values().collect();
        decider.change_plan(S(0), &changed, &[], |_, _| None);
        let mut cut_off = CutOff::default();
        cut_off.put_in_force(&instances());
        Self { decider, cut_off }
    }

    /// Tells how these are tried at `now`; answers with what vi-1 comes to.
    fn tell(&mut self, now: u64, all: &[(&str, One)]) -> Health {
        let news = all.iter().map(|(web, one)| {
            let check = fulcrum_model::Check::default();
            let key =
                CheckKey::new(rip(web), fulcrum_model::Port::new(80).expect("a port"), &check);
            CheckNews { key, probe: OwnProbe::Passing, tries: tries(*one) }
        });
        self.decider.probes(S(now), news);
        let states = self.cut_off.states(S(now), &self.decider);
        assert_eq!(states.keys().collect::<Vec<_>>(), [&probe()], "the other does not ask");
        states[&probe()].health
    }
}

#[test]
fn an_instance_is_cut_off_and_comes_back() {
    use Health::{Untried, Unwell, Well};
    use One::{Answers, Silent};
    let mut cluster = Cluster::new();
    assert_eq!(cluster.tell(1, &[]), Untried);
    assert_eq!(cluster.tell(2, &[("web1", Answers)]), Well);
    assert_eq!(cluster.tell(3, &[("web2", Answers), ("web3", Answers)]), Well);
    assert_eq!(cluster.tell(60, &[("web1", Silent(60))]), Well);
    assert_eq!(cluster.tell(61, &[("web2", Silent(61))]), Unwell, "web3 is of another instance");
    let seen = cluster.cut_off.states(S(61), &cluster.decider)[&probe()].seen.clone();
    assert_eq!(
        seen,
        "2 of 2 real servers fell silent within 1.0 s: this director is cut off from them"
    );
    assert_eq!(cluster.cut_off.deadline(), None, "it lasts by itself");
    // A plan that changes nothing of it changes nothing.
    cluster.cut_off.put_in_force(&instances());
    assert_eq!(cluster.tell(70, &[]), Unwell);
    // A link that flaps.
    assert_eq!(cluster.tell(80, &[("web1", Answers)]), Unwell);
    assert_eq!(cluster.cut_off.deadline(), Some(S(85)));
    assert_eq!(cluster.tell(84, &[("web1", Silent(84))]), Unwell);
    assert_eq!(cluster.cut_off.deadline(), None);
    assert_eq!(cluster.tell(90, &[("web1", Answers)]), Unwell);
    assert_eq!(cluster.tell(94, &[("web2", Answers)]), Unwell);
    assert_eq!(cluster.tell(95, &[]), Well);
    assert_eq!(cluster.cut_off.deadline(), None);
    // Who does not ask for it is told nothing.
    cluster.cut_off.put_in_force(&BTreeMap::new());
    assert!(cluster.cut_off.states(S(96), &cluster.decider).is_empty());
}

#[test]
fn programs_that_died_cut_nobody_off() {
    let mut cluster = Cluster::new();
    cluster.tell(1, &[("web1", One::Answers), ("web2", One::Answers)]);
    let key = |web| {
        let port = fulcrum_model::Port::new(80).expect("a port");
        CheckKey::new(rip(web), port, &fulcrum_model::Check::default())
    };
    // A refusal is heard.
    let news = ["web1", "web2"].map(|web| CheckNews {
        key: key(web),
        probe: OwnProbe::Failing("connection refused".to_owned()),
        tries: Tries { heard: Some(S(60)), ..Tries::default() },
    });
    cluster.decider.probes(S(60), news);
    let states = cluster.cut_off.states(S(60), &cluster.decider);
    assert_eq!(states[&probe()].health, Health::Well);
}
