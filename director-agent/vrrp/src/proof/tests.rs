use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const ACTIVE: Mac = [2, 0, 0, 0, 0, 1];
const WEB: Mac = [2, 0, 0, 0, 0, 5];
const STRANGER: Mac = [2, 0, 0, 0, 0, 9];
const VIRTUAL: Mac = [0, 0, 0x5e, 0, 1, 51];
const DIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 135));
const HOLDS: Standing = Standing::Holds { virtual_mac: None };
const HEARS: Standing = Standing::Hears { active: DIP, virtual_mac: None };
const HEARS_VIRTUAL: Standing = Standing::Hears { active: DIP, virtual_mac: Some(VIRTUAL) };

fn heard(claims: &[Mac], active: &[Mac]) -> Heard {
    Heard {
        own: ACTIVE,
        claims: claims.iter().map(|mac| (*mac, true)).collect(),
        active: active.iter().copied().collect(),
    }
}

/// What each question in turn heard, and what stands after each: the verdict and the offenders.
type Case<'a> =
    (&'a str, Standing, &'a [(&'a [Mac], &'a [Mac])], &'a [(Option<Verdict>, &'a [Mac])]);

#[test]
fn what_answers_come_to() {
    use Verdict::{Offended, Proven, Unanswered, Undecided};
    let alone: (&[Mac], &[Mac]) = (&[ACTIVE], &[ACTIVE]);
    let both: (&[Mac], &[Mac]) = (&[ACTIVE, WEB], &[ACTIVE]);
    let dumb: (&[Mac], &[Mac]) = (&[], &[ACTIVE]);
    let gone: (&[Mac], &[Mac]) = (&[], &[]);
    let cases: &[Case<'_>] = &[
        ("the Active alone", HEARS, &[alone], &[(Some(Proven), &[])]),
        (
            "one answer more is confirmed first",
            HEARS,
            &[both, both],
            &[(None, &[]), (Some(Offended), &[WEB])],
        ),
        (
            "a straggler is no offender",
            HEARS,
            &[alone, both, alone],
            &[(Some(Proven), &[]), (Some(Proven), &[]), (Some(Proven), &[])],
        ),
        (
            "over when two questions say so",
            HEARS,
            &[both, both, alone, alone],
            &[(None, &[]), (Some(Offended), &[WEB]), (Some(Offended), &[WEB]), (Some(Proven), &[])],
        ),
        (
            "one lost answer ends nothing",
            HEARS,
            &[both, both, alone, both, alone],
            &[
                (None, &[]),
                (Some(Offended), &[WEB]),
                (Some(Offended), &[WEB]),
                (Some(Offended), &[WEB]),
                (Some(Offended), &[WEB]),
            ],
        ),
        (
            "two others",
            HEARS,
            &[(&[WEB, STRANGER], &[ACTIVE]), (&[WEB, STRANGER], &[ACTIVE])],
            &[(None, &[]), (Some(Offended), &[WEB, STRANGER])],
        ),
        (
            "nobody, though the Active lives",
            HEARS,
            &[alone, dumb, dumb, alone],
            &[
                (Some(Proven), &[]),
                (Some(Proven), &[]),
                (Some(Unanswered), &[]),
                (Some(Proven), &[]),
            ],
        ),
        (
            "the Active is not on the segment",
            HEARS,
            &[gone, (&[WEB], &[])],
            &[(Some(Undecided), &[]), (Some(Undecided), &[])],
        ),
        (
            "nor is it, and two answer",
            HEARS,
            &[(&[ACTIVE, WEB], &[]), (&[ACTIVE, WEB], &[])],
            &[(None, &[]), (Some(Offended), &[ACTIVE, WEB])],
        ),
        ("the virtual MAC", HEARS_VIRTUAL, &[(&[VIRTUAL], &[ACTIVE])], &[(Some(Proven), &[])]),
        (
            "the Active by its own MAC",
            HEARS_VIRTUAL,
            &[alone, alone],
            &[(None, &[]), (Some(Offended), &[ACTIVE])],
        ),
        ("the holder hears nobody", HOLDS, &[gone], &[(Some(Proven), &[])]),
        (
            "the holder hears somebody",
            HOLDS,
            &[(&[WEB], &[]), (&[WEB], &[])],
            &[(None, &[]), (Some(Offended), &[WEB])],
        ),
    ];
    for (what, standing, questions, expected) in cases {
        let mut proof = Proof::default();
        proof.stand(Duration::ZERO, *standing);
        for (number, ((claims, active), (verdict, offenders))) in
            questions.iter().zip(*expected).enumerate()
        {
            let asked_at = proof.due().expect("it is asked");
            proof.hear(asked_at, *standing, &heard(claims, active));
            let stands = proof.conclusion().map(|conclusion| conclusion.verdict);
            let found: Vec<Mac> = proof.offenders().map(|(mac, _)| mac).collect();
            assert_eq!((stands, &found[..]), (*verdict, *offenders), "{what}, question {number}");
        }
    }
}

#[test]
fn what_is_new_is_asked_for_again_soon() {
    let mut proof = Proof::default();
    assert_eq!(proof.due(), None, "nobody knows who should answer");
    let now = Duration::from_secs(100);
    proof.stand(now, HEARS);
    let first = now + SETTLE;
    assert_eq!(proof.due(), Some(first));
    proof.hasten(now);
    assert_eq!(proof.due(), Some(first), "a change of roles settles first");
    proof.hear(first, HEARS, &heard(&[ACTIVE], &[ACTIVE]));
    assert_eq!(proof.due(), Some(first + EVERY));
    proof.hasten(first);
    assert_eq!(proof.due(), Some(first + CONFIRM), "no more often than that");
    let second = first + CONFIRM;
    proof.hear(second, HEARS, &heard(&[ACTIVE, WEB], &[ACTIVE]));
    assert_eq!(proof.due(), Some(second + CONFIRM));
    let third = second + CONFIRM;
    proof.hear(third, HEARS, &heard(&[ACTIVE, WEB], &[ACTIVE]));
    assert_eq!(proof.due(), Some(third + EVERY));
    let (_, other) = proof.offenders().next().expect("it is found");
    assert_eq!((other.count, other.last_seen, other.answers), (2, third, true));
}

#[test]
fn another_active_begins_anew() {
    let mut proof = Proof::default();
    proof.stand(Duration::ZERO, HEARS);
    proof.hear(SETTLE, HEARS, &heard(&[ACTIVE], &[ACTIVE]));
    let later = Duration::from_secs(20);
    let other = Standing::Hears { active: IpAddr::V4(Ipv4Addr::LOCALHOST), virtual_mac: None };
    proof.stand(later, other);
    assert_eq!(proof.conclusion(), None);
    // Asked before, answered after.
    proof.hear(later, HEARS, &heard(&[ACTIVE, WEB], &[ACTIVE]));
    assert!(!proof.has_others());
    assert_eq!(proof.due(), Some(later + SETTLE));
}

proptest! {
    /// Whatever is heard, memory is bounded, nobody is accused upon one answer, the rightful never.
    #[test]
    fn no_flood_fills_it_and_no_single_answer_accuses(
        rounds in proptest::collection::vec(proptest::collection::btree_set(0_u8..40, 0..30), 1..20)
    ) {
        let mut proof = Proof::default();
        proof.stand(Duration::ZERO, HEARS);
        let mut heard_of: BTreeMap<Mac, u64> = BTreeMap::new();
        for round in rounds {
            let claims: Vec<Mac> = round.iter().map(|last| [2, 0, 0, 0, 0, *last]).collect();
            for mac in &claims {
                *heard_of.entry(*mac).or_default() += 1;
            }
            let asked_at = proof.due().expect("it is asked");
            proof.hear(asked_at, HEARS, &heard(&claims, &[ACTIVE]));
            prop_assert!(proof.others.len() <= MOST_OTHERS);
            for (mac, other) in proof.offenders() {
                prop_assert_ne!(mac, ACTIVE);
                prop_assert!(other.count >= AGREE && heard_of[&mac] >= other.count);
            }
            let is_offended = proof.conclusion().is_some_and(|c| c.verdict == Verdict::Offended);
            prop_assert!(!is_offended || proof.others.values().any(|other| other.count >= AGREE));
        }
    }
}
