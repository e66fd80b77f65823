use std::time::Duration;

use fulcrum_vrrp::proof::{Heard, Proof, Standing};

use super::*;
use crate::decide::fixtures::name;

const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 150);
const RIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 139);
const DIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 135);
const ACTIVE: Mac = [2, 0, 0, 0, 0, 1];
const OTHER: Mac = [2, 0, 0, 0, 0, 5];

/// A segment on which the other one answers, or speaks in the VIP's name; its MAC has these addresses.
fn offended(answers: bool, addresses: &[Ipv4Addr]) -> ProofSnapshot {
    let standing = Standing::Hears { active: IpAddr::V4(DIP), virtual_mac: None };
    let mut proof = Proof::default();
    proof.stand(Duration::ZERO, standing);
    let claims = [(ACTIVE, true), (OTHER, answers)].into();
    let heard = Heard { own: [2, 0, 0, 0, 0, 2], claims, active: [ACTIVE].into() };
    for _ in 0..2 {
        proof.hear(proof.due().expect("it is asked"), standing, &heard);
    }
    let addresses: BTreeSet<Ipv4Addr> = addresses.iter().copied().collect();
    let offenders = proof
        .offenders()
        .map(|(mac, heard)| (mac, Offender { heard: *heard, addresses: addresses.clone() }));
    let offenders = offenders.collect();
    let seen = VipProof { conclusion: proof.conclusion().cloned(), offenders };
    ProofSnapshot { vips: [((VIP, "eth0".to_owned()), seen)].into() }
}

#[test]
fn whoever_answers_is_named_with_what_is_wrong_there() {
    let (web, agent) = (name("web2"), name("host2"));
    let owners = || Owners::from([(RIP, vec![Owner { real_server: &web, agent: &agent }])]);
    let says = |detail: &str| VipEvidence {
        vip: IpAddr::V4(VIP),
        bound: true,
        arp_safe: detail.is_empty(),
        detail: detail.to_owned(),
    };
    let loud = says("net.ipv4.conf.all.arp_ignore is 0, not 1");
    let quiet = says("");
    let named = "VIP 192.168.1.150 on eth0 is also answered by 02:00:00:00:00:05, which is ";
    let whose = "real server web2 (192.168.1.139): ";
    for (answers, addresses, said, expected) in [
        (true, &[RIP][..], Some(&loud), format!("{whose}its agent says: {}", loud.detail)),
        (
            true,
            &[RIP],
            None,
            format!("{whose}net.ipv4.conf.{{all,the interface of {RIP}}}.arp_ignore is not 1"),
        ),
        (
            false,
            &[RIP],
            None,
            format!("{whose}net.ipv4.conf.{{all,the interface of {RIP}}}.arp_announce is not 2"),
        ),
        (
            true,
            &[RIP],
            Some(&quiet),
            format!("{whose}net.ipv4.conf.{{all,the interface of {RIP}}}.arp_ignore"),
        ),
        (true, &[DIP, RIP], None, whose.to_owned()),
        (true, &[DIP], None, "the director at 192.168.1.135".to_owned()),
        (true, &[], None, "none of the plan's real servers".to_owned()),
    ] {
        let seen = offended(answers, addresses);
        let found = arp_look(&seen, &owners(), |of, vip| {
            assert_eq!((of, vip), (&agent, VIP));
            said
        });
        assert_eq!(found.unchecked, []);
        let [finding] = &found.findings[..] else { panic!("{found:?}") };
        assert_eq!(
            (finding.code.as_str(), finding.subject.as_str()),
            ("arp-proof", "192.168.1.150")
        );
        assert_eq!(finding.severity(), v1::Severity::Error);
        assert!(finding.found.starts_with(&format!("{named}{expected}")), "{}", finding.found);
        assert!(!finding.remedy.is_empty());
    }
}

/// A VIP of which nothing was concluded, or nothing can be, is not told to be the Active's alone.
#[test]
fn what_nobody_has_concluded_is_not_known() {
    let of = |conclusion: Option<Verdict>| {
        let conclusion = conclusion.map(|verdict| Conclusion {
            verdict,
            asked_at: Duration::ZERO,
            answered_by: None,
        });
        let proof = VipProof { conclusion, offenders: BTreeMap::new() };
        ProofSnapshot { vips: [((VIP, "eth0".to_owned()), proof)].into() }
    };
    for (what, seen, expected) in [
        ("no VIP", ProofSnapshot::default(), Some("no IPv4 VIP")),
        ("nothing yet", of(None), Some("of 192.168.1.150 on eth0 nothing was concluded")),
        ("undecided", of(Some(Verdict::Undecided)), Some("cannot be told")),
        ("proven", of(Some(Verdict::Proven)), None),
    ] {
        let found = arp_look(&seen, &Owners::new(), |_, _| None);
        assert_eq!(found.findings, [], "{what}");
        let told = found.unchecked.iter().map(|unseen| (unseen.code.as_str(), unseen.why.as_str()));
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), usize::from(expected.is_some()), "{what}: {told:?}");
        let says = |(code, why): &(&str, &str)| {
            *code == "arp-proof" && expected.is_some_and(|part| why.contains(part))
        };
        assert!(told.iter().all(says), "{what}: {told:?}");
    }
}

#[test]
fn a_proof_is_told_whole() {
    let (web, agent) = (name("web2"), name("host2"));
    let owners = Owners::from([(RIP, vec![Owner { real_server: &web, agent: &agent }])]);
    let seen = offended(true, &[RIP]);
    let ((vip, interface), proof) = seen.vips.first_key_value().expect("one VIP");
    let told = to_wire(*vip, interface, proof, &owners, Clock::start());
    assert_eq!((told.vip.as_str(), told.interface.as_str()), ("192.168.1.150", "eth0"));
    assert_eq!(told.verdict(), v1::ArpVerdict::Offended);
    assert_eq!(told.answered_by, "02:00:00:00:00:01");
    let [offender] = &told.offenders[..] else { panic!("{told:?}") };
    assert_eq!((offender.mac.as_str(), offender.count), ("02:00:00:00:00:05", 2));
    assert_eq!(
        (&offender.addresses[..], &offender.real_servers[..]),
        (&["192.168.1.139".to_owned()][..], &["web2".to_owned()][..])
    );
    let nothing = to_wire(*vip, interface, &VipProof::default(), &owners, Clock::start());
    assert_eq!((nothing.verdict(), nothing.asked_at), (v1::ArpVerdict::Unspecified, None));
}
