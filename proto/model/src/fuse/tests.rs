//! One table of pools and the weights they get.

use super::*;
use crate::evidence::Verdict as V;

#[derive(Clone, Copy)]
enum P {
    Pending,
    Pass,
    Fail,
}

/// One real server: own probe, agent's verdict, ARP proven, weight in the kernel.
type Row = (P, Option<V>, bool, Option<u64>);

fn weights(requirement: AgentRequirement, rows: &[Row]) -> Vec<u16> {
    let name: Name = "web".parse().expect("a valid name");
    let owned: Vec<_> = rows
        .iter()
        .map(|(probe, verdict, proven, current)| {
            let probe = match probe {
                P::Pending => OwnProbe::Pending,
                P::Pass => OwnProbe::Passing,
                P::Fail => OwnProbe::Failing("refused".to_owned()),
            };
            let evidence = verdict.map(|verdict| ServerEvidence {
                real_server: name.clone(),
                verdict,
                reasons: vec!["seen".to_owned()],
                pid: None,
                probe_time: None,
                http_status: None,
                load: None,
            });
            let arp = if *proven { ArpSafety::Proven } else { ArpSafety::Unproven };
            (probe, evidence, arp, current.map(|w| Weight::new(w).expect("in range")))
        })
        .collect();
    let candidates: Vec<_> = owned
        .iter()
        .map(|(probe, agent, arp, current)| Candidate {
            real_server: &name,
            planned: Weight::new(8).expect("in range"),
            forwarding: ForwardingMethod::Dr,
            probe,
            agent: agent.as_ref(),
            arp,
            current: *current,
        })
        .collect();
    fuse(requirement, &candidates)
        .into_iter()
        .map(|decision| {
            assert!(!decision.reasons.is_empty(), "every weight has a reason");
            decision.weight.get()
        })
        .collect()
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
    ];
    for (what, rows, expected) in cases {
        assert_eq!(weights(AgentRequirement::Required, rows), *expected, "{what}");
    }
}

#[test]
fn without_an_agent_the_probe_decides() {
    let rows = [(P::Pass, Some(V::Down), false, None), (P::Fail, Some(V::Up), false, None)];
    assert_eq!(weights(AgentRequirement::None, &rows), [8, 0]);
}
