use fulcrum_model::vrrp::{
    GatewayMethod, GatewayProbe, Track, TrackCommand, TrackPace, VrrpOptions,
};

use super::*;
use crate::decide::fixtures::{name, vip, vrrp_instance};

fn plan(
    text: &str,
    group: Option<&str>,
    tracks: &[(TrackTarget, Option<i16>)],
) -> VrrpInstancePlan {
    let track = |(target, weight): &(TrackTarget, Option<i16>)| Track {
        target: target.clone(),
        weight: *weight,
    };
    let options = VrrpOptions {
        sync_group: group.map(name),
        track: tracks.iter().map(track).collect(),
        ..VrrpOptions::default()
    };
    VrrpInstancePlan { interface: format!("eth-{text}"), options, ..vrrp_instance(text, 1) }
}

fn plans<const N: usize>(plans: [VrrpInstancePlan; N]) -> Plans {
    plans.into_iter().map(|plan| (plan.name.clone(), plan)).collect()
}

fn uplink() -> TrackTarget {
    TrackTarget::Interface("uplink".to_owned())
}

fn gateway(method: GatewayMethod) -> TrackTarget {
    let pace = TrackPace::default();
    TrackTarget::Gateway(GatewayProbe { address: vip(254), method, pace })
}

fn command() -> TrackTarget {
    let (arguments, pace) = (Vec::new(), TrackPace::default());
    TrackTarget::Command(TrackCommand { program: "check".to_owned(), arguments, pace })
}

#[test]
fn equal_targets_share_a_probe_where_they_mean_the_same() {
    let cases = [
        ("an interface", uplink(), 1),
        ("a command", command(), 1),
        ("a gateway by ICMP", gateway(GatewayMethod::Icmp), 1),
        ("a gateway by ARP, on another interface", gateway(GatewayMethod::Arp), 2),
        ("the agent, for other virtual servers", TrackTarget::Agent, 2),
    ];
    for (what, target, expected) in cases {
        let tracks = [(target, None)];
        let plans = plans([plan("a", None, &tracks), plan("b", None, &tracks)]);
        let probes: BTreeSet<Probe> =
            plans.values().flat_map(Probe::all).map(|(probe, _)| probe).collect();
        assert_eq!(probes.len(), expected, "{what}");
    }
}

#[test]
fn what_one_member_tracks_counts_for_its_group() {
    let tracks = [(uplink(), Some(-30))];
    let plans = plans([
        plan("a", Some("both"), &tracks),
        plan("b", Some("both"), &[]),
        plan("c", Some("other"), &[]),
        plan("d", None, &[]),
    ]);
    let (probe, _) = Probe::all(&plans[&name("a")]).next().expect("one");
    let state = TargetState { health: Health::Unwell, seen: "uplink is down".to_owned() };
    let tracked = weigh(&plans, &BTreeMap::from([(probe, state)]));
    let adjustments = ["a", "b", "c", "d"].map(|text| tracked[&name(text)].adjustment);
    assert_eq!(adjustments, [-30, -30, 0, 0]);
}
