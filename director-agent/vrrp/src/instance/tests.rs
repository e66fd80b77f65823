//! The full transition table, and the cases where time matters.

use std::net::Ipv4Addr;

use super::active::LISTENS;
use super::*;
use crate::config::{Centiseconds, Wire};
use crate::{AddressList, Body};
use fulcrum_model::Vrid;
use fulcrum_model::resource::VrrpChecksum;
use fulcrum_model::vrrp::Announce;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
const LOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4));
const GREATER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 6));
const START: Duration = Duration::from_secs(1000);
/// (256 - 100) / 256 of a second.
const SKEW: Duration = Duration::from_micros(609_375);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn addresses() -> AddressList<'static> {
    AddressList::new(vec![Ipv4Addr::new(10, 0, 0, 150).into()]).expect("one")
}

fn config(priority: u64, preempt: bool) -> Config {
    let interval = Centiseconds::new(100).expect("1 s");
    Config {
        vrid: Vrid::new(51).expect("a VRID"),
        priority: Priority::new(priority).expect("a priority"),
        preempt,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        take_over: false,
        source: OURS,
        addresses: addresses(),
        peers: Vec::new(),
        unicast_min_ttl: 255,
        auth_hmac: None,
        announce: Announce::default(),
        wire: Wire::V3 { interval, checksum: VrrpChecksum::Deployed },
    }
}

fn advert(priority: u8, centiseconds: u16) -> Advert<'static> {
    let interval = Centiseconds::new(centiseconds).expect("an interval");
    let vrid = Vrid::new(51).expect("a VRID");
    Advert { vrid, priority, addresses: addresses(), body: Body::V3 { interval } }
}

fn backup(config: Config) -> Instance {
    let mut instance = Instance::new(config);
    instance.step(START, Input::Up);
    instance
}

/// An Active that has been so for ten intervals; its last advert and announcement are past.
fn active(config: Config) -> (Instance, Duration) {
    let mut instance = backup(config);
    let mut now = START;
    for _ in 0..12 {
        now = instance.deadline().expect("a timer runs");
        instance.step(now, Input::Tick);
    }
    assert_eq!(instance.role(), Role::Active);
    (instance, now)
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Up,
    Resume,
    Down,
    Shutdown,
    TakeOver,
    Priority(u64),
    Hold,
    Release,
    /// Until so long after now.
    Wait(Duration),
    /// Before the deadline.
    Early,
    /// At the deadline.
    Due,
    /// Priority, sender.
    Heard(u8, IpAddr),
}

/// Expected: outputs, role, and the deadline counted from now.
type Row = (Event, Vec<Output>, Role, Option<Duration>);

fn check(name: &str, rows: Vec<Row>, make: impl Fn() -> (Instance, Duration)) {
    for (event, outputs, role, deadline) in rows {
        let (mut instance, since) = make();
        let due = instance.deadline().unwrap_or(since);
        let (now, message);
        let input = match event {
            Event::Due => {
                now = due;
                Input::Tick
            }
            Event::Early => {
                now = due.saturating_sub(ms(1));
                Input::Tick
            }
            Event::Up => {
                now = since + ms(200);
                Input::Up
            }
            Event::Resume => {
                now = since + ms(200);
                Input::Resume
            }
            Event::Down => {
                now = since + ms(200);
                Input::Down
            }
            Event::Shutdown => {
                now = since + ms(200);
                Input::Shutdown
            }
            Event::TakeOver | Event::Hold | Event::Release => {
                now = since + ms(200);
                match event {
                    Event::TakeOver => Input::TakeOver,
                    _ => Input::HoldPreemption(matches!(event, Event::Hold)),
                }
            }
            Event::Priority(priority) => {
                now = since + ms(200);
                Input::Priority(Priority::new(priority).expect("a priority"))
            }
            Event::Wait(rest) => {
                now = since + ms(200);
                Input::Wait { until: now + rest }
            }
            Event::Heard(priority, source) => {
                now = since + ms(200);
                message = advert(priority, 100);
                Input::Advert { source, advert: &message }
            }
        };
        let found = instance.step(now, input);
        let rest = instance.deadline().map(|at| at.saturating_sub(now));
        assert_eq!(
            (found.to_vec(), instance.role(), rest),
            (outputs, role, deadline),
            "{name}: {event:?}"
        );
    }
}

#[test]
fn every_state_takes_every_input() {
    use Event::{Down, Due, Early, Heard, Hold, Release, Resume, Shutdown, TakeOver, Up, Wait};
    use Output::{Advertise, Announce, Relieve};
    let down = || Some(ms(3000) + SKEW);
    let role = Output::Role;
    let to_initialize = || vec![role(Change::Initialize)];
    let to_backup = |successor| vec![role(Change::Backup { successor })];
    let to_active = |priority| {
        let predecessor = None;
        vec![role(Change::Active { predecessor }), Advertise { priority }, Announce]
    };
    let not_started = || vec![Output::Discard(Discard::NotStarted)];
    let (initialize, back, act) = (Role::Initialize, Role::Backup, Role::Active);

    let rows = vec![
        (Up, to_backup(None), back, down()),
        (Resume, to_active(100), act, Some(ms(1000))),
        (Down, vec![], initialize, None),
        (Shutdown, vec![], initialize, None),
        (Due, vec![], initialize, None),
        (Heard(0, LOWER), not_started(), initialize, None),
        (Heard(254, LOWER), not_started(), initialize, None),
        (TakeOver, vec![], initialize, None),
        (Event::Priority(50), vec![], initialize, None),
        (Hold, vec![], initialize, None),
        (Release, vec![], initialize, None),
        (Wait(ms(9000)), vec![], initialize, None),
    ];
    check("initialize", rows, || (Instance::new(config(100, true)), START));

    let rows = vec![(Up, to_active(255), act, Some(ms(1000)))];
    check("initialize, owner", rows, || (Instance::new(config(255, true)), START));

    let rest = || Some(ms(2800) + SKEW);
    let rows = vec![
        (Up, vec![], back, rest()),
        (Resume, vec![], back, rest()),
        (Down, to_initialize(), initialize, None),
        (Shutdown, to_initialize(), initialize, None),
        (Early, vec![], back, Some(ms(1))),
        (Due, to_active(100), act, Some(ms(1000))),
        (Heard(0, LOWER), vec![], back, Some(SKEW)),
        (Heard(99, GREATER), vec![], back, rest()),
        (Heard(100, LOWER), vec![], back, down()),
        (Heard(101, LOWER), vec![], back, down()),
        (Heard(255, LOWER), vec![], back, down()),
        (TakeOver, to_active(100), act, Some(ms(1000))),
        (Event::Priority(200), vec![], back, Some(ms(2800) + ms(1000) * 56 / 256)),
        (Hold, vec![], back, rest()),
        (Release, vec![], back, rest()),
        (Wait(ms(9000)), vec![], back, Some(ms(9000))),
        (Wait(ms(1)), vec![], back, rest()),
    ];
    check("backup", rows, || (backup(config(100, true)), START));

    let rows = vec![(Heard(1, LOWER), vec![], back, down())];
    check("backup, no preempt", rows, || (backup(config(100, false)), START));

    let tick = || Some(ms(800));
    let assert = |router| vec![Advertise { priority: 100 }, Relieve { router }, Announce];
    // A last losing advert, which the other one answers.
    let give_way = |router| {
        let change = Change::Backup { successor: Some(router) };
        vec![Advertise { priority: 100 }, role(change)]
    };
    let rows = vec![
        (Up, vec![], act, tick()),
        (Resume, vec![], act, tick()),
        (Down, to_initialize(), initialize, None),
        (Shutdown, vec![Advertise { priority: 0 }, role(Change::Initialize)], initialize, None),
        (Early, vec![], act, Some(ms(1))),
        (Due, vec![Advertise { priority: 100 }], act, Some(ms(1000))),
        (Heard(0, GREATER), vec![Advertise { priority: 100 }], act, Some(ms(1000))),
        (Heard(99, GREATER), assert(GREATER), act, tick()),
        (Heard(100, LOWER), assert(LOWER), act, tick()),
        (Heard(100, GREATER), give_way(GREATER), back, down()),
        (Heard(101, LOWER), give_way(LOWER), back, down()),
        (TakeOver, vec![], act, tick()),
        (Event::Priority(50), vec![Advertise { priority: 50 }], act, Some(ms(1000))),
        (Event::Priority(100), vec![], act, tick()),
        (Hold, vec![], act, tick()),
        (Release, vec![], act, tick()),
        (Wait(ms(9000)), vec![], act, tick()),
    ];
    check("active", rows, || active(config(100, true)));

    let owner = || vec![Output::Discard(Discard::Owner)];
    let rows =
        vec![(Heard(0, LOWER), owner(), act, tick()), (Heard(255, GREATER), owner(), act, tick())];
    check("active, owner", rows, || {
        let mut instance = Instance::new(config(255, true));
        instance.step(START, Input::Up);
        instance.step(START + ms(1000), Input::Tick);
        (instance, START + ms(1000))
    });
}

#[test]
fn version_3_learns_the_active_interval() {
    let mut instance = backup(config(100, true));
    let fast = advert(200, 10);
    instance.step(START, Input::Advert { source: GREATER, advert: &fast });
    assert_eq!(instance.active_interval(), ms(100));
    assert_eq!(instance.deadline(), Some(START + ms(300) + SKEW / 10));
    // Once Active it advertises at its own interval.
    let now = instance.deadline().expect("a timer runs");
    instance.step(now, Input::Tick);
    assert_eq!(instance.deadline(), Some(now + ms(1000)));
}

#[test]
fn announcements_are_repeated_after_a_second() {
    let mut instance = backup(config(100, true));
    let became = instance.deadline().expect("a timer runs");
    let announced = |outputs: &[Output]| outputs.contains(&Output::Announce);
    assert!(announced(&instance.step(became, Input::Tick)));
    assert!(announced(&instance.step(became + ms(1000), Input::Tick)));
    assert!(!announced(&instance.step(became + ms(2000), Input::Tick)));
    assert!(!announced(&instance.step(became + ms(3000), Input::Tick)));
}

#[test]
fn a_loser_that_announced_is_followed_by_our_announcement() {
    let mut instance = backup(config(100, true));
    let became = instance.deadline().expect("a timer runs");
    instance.step(became, Input::Tick);
    let losing = advert(90, 100);
    let input = Input::Advert { source: LOWER, advert: &losing };
    let outputs = instance.step(became + ms(5), input);
    assert_eq!(
        outputs.as_slice(),
        [Output::Advertise { priority: 100 }, Output::Relieve { router: LOWER }],
        "no two announcements within the gap"
    );
    assert_eq!(instance.step(became + ms(6), input).as_slice(), [], "a flood is answered slowly");
    assert_eq!(instance.deadline(), Some(became + ms(100)));
    assert_eq!(instance.step(became + ms(100), Input::Tick).as_slice(), [Output::Announce]);
    assert_eq!(instance.deadline(), Some(became + ms(1000)));
    let outputs = instance.step(became + ms(1100), Input::Tick);
    assert!(outputs.contains(&Output::Announce), "and once more");
}

#[test]
fn after_a_pause_any_router_makes_us_backup_and_silence_does_not() {
    let (instance, since) = active(config(200, true));
    let resumed = since + ms(3000);
    let lower = advert(90, 100);

    let mut paused = instance.clone();
    let input = Input::Advert { source: LOWER, advert: &lower };
    let expected = [Output::Role(Change::Backup { successor: Some(LOWER) })];
    assert_eq!(paused.step(resumed, input).as_slice(), expected);

    let mut paused = instance.clone();
    let leaving = advert(0, 100);
    let input = Input::Advert { source: LOWER, advert: &leaving };
    assert_eq!(
        paused.step(resumed, input).as_slice(),
        [],
        "a router that has left decides nothing"
    );
    assert_eq!(paused.step(resumed, Input::Tick).as_slice(), [], "it listens first");
    assert_eq!(paused.deadline(), Some(resumed + LISTENS));
    let mut relieved = paused.clone();
    let input = Input::Advert { source: LOWER, advert: &lower };
    relieved.step(resumed + ms(1), input);
    assert_eq!(relieved.role(), Role::Backup, "what came meanwhile was taken in late");
    let expected = [Output::Advertise { priority: 200 }, Output::Announce];
    assert_eq!(paused.step(resumed + LISTENS, Input::Tick).as_slice(), expected);
    assert_eq!(paused.role(), Role::Active);

    let mut late = instance;
    let input = Input::Advert { source: LOWER, advert: &lower };
    late.step(since + ms(2999), input);
    assert_eq!(late.role(), Role::Active, "no Backup can have taken over yet");
}

#[test]
fn a_backup_knows_whom_it_relieves() {
    let active_with = |predecessor| Some(Output::Role(Change::Active { predecessor }));
    let take_over = |heard: &[(Duration, u8)]| {
        let mut instance = backup(config(100, true));
        for (at, priority) in heard {
            let message = advert(*priority, 100);
            let input = Input::Advert { source: LOWER, advert: &message };
            instance.step(START + *at, input);
        }
        let now = instance.deadline().expect("a timer runs");
        let foreseen = instance.predecessor(now);
        let outputs = instance.step(now, Input::Tick);
        assert_eq!(outputs.first().copied(), active_with(foreseen));
        foreseen
    };
    assert_eq!(take_over(&[]), None);
    assert_eq!(take_over(&[(ms(100), 200)]), None, "it fell silent");
    assert_eq!(take_over(&[(ms(100), 200), (ms(900), 0)]), Some(LOWER), "it left");
    let outranked = [(ms(500), 90), (ms(1500), 90), (ms(2500), 90), (ms(3500), 90)];
    assert_eq!(take_over(&outranked), Some(LOWER), "we outrank it");
    assert_eq!(take_over(&outranked[..1]), None, "we outranked it, then it fell silent");
}

#[test]
fn an_earlier_life_is_resumed_only_while_nobody_can_have_taken_over() {
    let instance = Instance::new(config(100, true));
    assert!(instance.can_resume(ms(1999)));
    assert!(!instance.can_resume(ms(2000)));
}

#[test]
fn repeated_leaving_does_not_hold_us_off() {
    let mut instance = backup(config(100, true));
    let leaving = advert(0, 100);
    for at in [0, 300, 600] {
        let input = Input::Advert { source: LOWER, advert: &leaving };
        instance.step(START + ms(at), input);
    }
    assert_eq!(instance.deadline(), Some(START + SKEW));
}

#[test]
fn a_late_farewell_of_a_relieved_router_decides_nothing() {
    let mut instance = backup(config(100, true));
    let ruling = advert(200, 100);
    instance.step(START, Input::Advert { source: GREATER, advert: &ruling });
    let before = instance.deadline();
    let leaving = advert(0, 100);
    instance.step(START, Input::Advert { source: LOWER, advert: &leaving });
    assert_eq!(instance.deadline(), before);
}

#[test]
fn what_a_take_over_by_choice_waits_for_is_told() {
    let waiting = |startup: u64, preempt: u64, is_held: bool, heard: u8| {
        let mut config = config(100, true);
        config.startup_delay = ms(startup);
        config.preempt_delay = ms(preempt);
        let mut instance = Instance::new(config).started(START);
        instance.step(START, Input::Up);
        instance.step(START, Input::HoldPreemption(is_held));
        let weaker = advert(heard, 100);
        instance.step(START + ms(500), Input::Advert { source: LOWER, advert: &weaker });
        instance.waiting(START + ms(500))
    };
    assert_eq!(waiting(0, 60_000, false, 90), Some(Waiting::Delay { left: ms(60_000) }));
    assert_eq!(waiting(30_000, 60_000, false, 90), Some(Waiting::StartUp { left: ms(29_500) }));
    assert_eq!(waiting(0, 60_000, true, 90), Some(Waiting::Held));
    assert_eq!(waiting(0, 0, false, 90), None, "the timer runs out soon");
    assert_eq!(waiting(30_000, 60_000, true, 110), None, "there is nothing to take over");
}

#[test]
fn a_weaker_routers_interval_does_not_shorten_the_wait_for_a_stronger_one() {
    let mut instance = backup(config(10, true));
    let mut hear = |at: u64, source, priority, centiseconds| {
        let advert = advert(priority, centiseconds);
        instance.step(START + ms(at), Input::Advert { source, advert: &advert });
        instance.deadline().expect("a timer runs").saturating_sub(START)
    };
    let strong = hear(0, GREATER, 90, 100);
    assert_eq!(hear(1, LOWER, 90, 10), strong, "two became Active at once");
    assert_eq!(hear(2, LOWER, 90, 10), strong);
    assert!(hear(1000, GREATER, 90, 10) < ms(1500), "its own word counts");
    assert!(hear(2000, LOWER, 80, 100) > ms(5000), "it has fallen silent");
}

#[test]
fn configuration_is_edited_in_place() {
    let (mut instance, since) = active(config(100, true));
    let now = since + ms(200);
    let outputs = instance.reconfigure(now, config(50, true)).expect("the same router");
    assert_eq!(outputs.as_slice(), [Output::Advertise { priority: 50 }, Output::Announce]);
    assert_eq!(instance.role(), Role::Active);
    assert_eq!(instance.reconfigure(now, config(50, true)), Ok(Outputs::new()), "nothing to do");

    let mut other = config(50, true);
    other.vrid = Vrid::new(52).expect("a VRID");
    assert_eq!(instance.reconfigure(now, other.clone()), Err(Box::new(other)));

    let mut instance = backup(config(100, true));
    assert_eq!(instance.reconfigure(now, config(200, true)), Ok(Outputs::new()));
    assert_eq!(instance.deadline(), Some(now + ms(3000) + ms(1000) * 56 / 256));
    let outputs = instance.reconfigure(now, config(255, true)).expect("the same router");
    assert_eq!(outputs.len(), 3);
    assert_eq!(instance.role(), Role::Active, "the owner always takes over");
}
