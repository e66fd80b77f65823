use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const NOW: Duration = Duration::from_secs(100);
const SECOND: Duration = Duration::from_secs(1);

/// What each member does.
fn commands(now: Duration, members: &[Member]) -> Vec<Command> {
    let decision = decide(now, members);
    members.iter().map(|member| decision.command(*member)).collect()
}

/// A moment this many milliseconds before now.
fn ago(ms: u64) -> Duration {
    NOW.saturating_sub(MS(ms))
}

/// A Backup that heard its Active this long ago.
fn hears(ago_ms: u64) -> Backup {
    Backup {
        relieved_at: None,
        heard_at: ago(ago_ms),
        left_at: None,
        interval: SECOND,
        is_due: false,
    }
}

fn due(ago_ms: u64) -> Backup {
    Backup { is_due: true, ..hears(ago_ms) }
}

fn active(ago_ms: u64) -> Member {
    Member::Active { since: ago(ago_ms) }
}

fn relieved(ago_ms: u64) -> Member {
    Member::Backup(Backup { relieved_at: Some(ago(ago_ms)), ..hears(ago_ms) })
}

#[test]
fn every_kind_of_pair() {
    use Command::{Begin, Leave, Stay, TakeOver, Wait, Yield};
    use Member::{Faulty, Idle};
    let gone = Faulty { has_left: true };
    let failing = Faulty { has_left: false };
    let backup = Member::Backup(hears(300));
    let quiet = Member::Backup(hears(2_700));
    let is_due = Member::Backup(due(3_600));
    let said_goodbye = Member::Backup(Backup { left_at: Some(ago(600)), ..due(700) });
    let until = NOW + MS(1_700);
    let cases = [
        ("a fault parts them", [failing, active(5_000)], [Leave, Leave]),
        ("a fault holds a Backup", [gone, backup], [Stay, Leave]),
        ("a fault holds who could begin", [gone, Idle], [Stay, Stay]),
        ("two faults", [gone, gone], [Stay, Stay]),
        ("they begin together", [Idle, Idle], [Begin, Begin]),
        ("a new member begins beside an Active", [Idle, active(5_000)], [Begin, Stay]),
        ("and is taken along", [backup, active(5_000)], [TakeOver, Stay]),
        ("all Backup", [backup, backup], [Stay, Stay]),
        ("all Active", [active(5_000), active(4_000)], [Stay, Stay]),
        ("relieved", [relieved(0), active(5_000)], [Stay, Yield]),
        ("relieved at once after a take-over", [relieved(1_000), active(1_000)], [Stay, Yield]),
        ("relieved long before", [relieved(9_000), active(1_000)], [TakeOver, Stay]),
        ("both are due", [is_due, is_due], [TakeOver, TakeOver]),
        ("the other has been quiet", [is_due, quiet], [TakeOver, TakeOver]),
        ("the other hears an Active", [is_due, backup], [Wait { until }, Stay]),
        (
            "the Active said goodbye, and was not heard since",
            [said_goodbye, Member::Backup(hears(600))],
            [TakeOver, TakeOver],
        ),
        (
            "the Active said goodbye, and is still heard in the other",
            [said_goodbye, Member::Backup(hears(300))],
            [Wait { until }, Stay],
        ),
    ];
    for (what, members, expected) in cases {
        assert_eq!(commands(NOW, &members), expected, "{what}");
        let [one, other] = members;
        let [first, second] = expected;
        assert_eq!(commands(NOW, &[other, one]), [second, first], "{what}, the other way round");
    }
}

#[test]
fn the_group_has_the_least_priority_of_its_members() {
    let priority_of = |values: &[u8]| {
        priority(values.iter().map(|value| Priority::new(u64::from(*value)).expect("1 to 255")))
            .map(Priority::get)
    };
    let cases: [(&[u8], _); 4] =
        [(&[100, 90], Some(90)), (&[255, 100], Some(100)), (&[255], None), (&[], None)];
    for (values, expected) in cases {
        assert_eq!(priority_of(values), expected, "{values:?}");
    }
}

fn member() -> impl Strategy<Value = Member> {
    let backup = (
        prop::option::of(0..10_000_u64),
        0..10_000_u64,
        prop::option::of(0..10_000_u64),
        any::<bool>(),
    );
    let backup = backup.prop_map(|(relieved, heard, left, is_due)| {
        let (relieved_at, left_at) = (relieved.map(ago), left.map(ago));
        Member::Backup(Backup { relieved_at, left_at, is_due, ..hears(heard) })
    });
    prop_oneof![
        1 => any::<bool>().prop_map(|has_left| Member::Faulty { has_left }),
        1 => Just(Member::Idle),
        4 => backup,
        3 => (0..10_000_u64).prop_map(active),
    ]
}

/// What a member is once it has carried out its command.
fn carry_out(member: Member, command: Command) -> Member {
    match (command, member) {
        (Command::Stay | Command::Wait { .. }, member) => member,
        (Command::Leave, Member::Faulty { .. }) => Member::Faulty { has_left: true },
        (Command::Leave, _) => Member::Idle,
        (Command::Begin | Command::Yield, _) => Member::Backup(hears(0)),
        (Command::TakeOver, _) => Member::Active { since: NOW },
    }
}

proptest! {
    #[test]
    fn a_group_comes_to_rest_and_is_whole(members in prop::collection::vec(member(), 1..6)) {
        let mut members = members;
        // Begin, then take over: no more is needed.
        for _ in 0..3 {
            let decision = decide(NOW, &members);
            for member in &mut members {
                *member = carry_out(*member, decision.command(*member));
            }
        }
        let rest = commands(NOW, &members);
        for command in &rest {
            prop_assert!(matches!(command, Command::Stay | Command::Wait { .. }), "{:?}", rest);
        }
        let active = members.iter().filter(|member| matches!(member, Member::Active { .. }));
        let active = active.count();
        prop_assert!(active == 0 || active == members.len(), "{:?}", members);
    }

    #[test]
    fn nobody_waits_for_ever(members in prop::collection::vec(member(), 1..6)) {
        for command in commands(NOW, &members) {
            if let Command::Wait { until } = command {
                prop_assert!(until > NOW);
                let later = commands(until, &members);
                let waits = later.iter().any(|c| matches!(c, Command::Wait { .. }));
                prop_assert!(!waits, "{:?}", later);
            }
        }
    }
}
