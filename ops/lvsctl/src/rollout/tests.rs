//! The machine's transitions as a table, whole rollouts in a small world, and the orders they write.

use std::time::Duration;

use fulcrum_proto::v1::RestartState;

use super::machine::{Machine, Phase, Step, obstacles};
use super::options::{Gate, Options, Share};
use super::view::{Restart, Server, View};

mod cluster;

fn options() -> Options {
    Options {
        max_unavailable: Share::Count(1),
        gate: Gate::Healthy,
        drain_timeout: Duration::from_mins(10),
        health_timeout: Duration::from_mins(5),
        pause_between: Duration::ZERO,
        action: "restart".to_owned(),
        reason: "new JDK".to_owned(),
        force: false,
        allow_drastic: false,
    }
}

fn view(names: &[&str]) -> View {
    let server = |name: &&str| Server { name: (*name).to_owned(), ..Server::default() };
    View {
        pool: "tomcats".to_owned(),
        servers: names.iter().map(server).collect(),
        has_agents: true,
        ..View::default()
    }
}

fn some(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

/// web1 as an edit makes it, beside web2 and web3, which serve.
fn with(edit: impl FnOnce(&mut Server)) -> View {
    let mut view = view(&["web1", "web2", "web3"]);
    edit(&mut view.servers[0]);
    view
}

#[expect(clippy::unnecessary_wraps, reason = "as a server holds it")]
fn restart(state: RestartState, detail: &str) -> Option<Restart> {
    Some(Restart { id: "r@1".to_owned(), attempt: 1, state, detail: detail.to_owned() })
}

fn drained(server: &mut Server) {
    server.is_drained = true;
    server.out_of_rotation = some("d1 to give it weight 1");
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The step after what is seen has stood for so long.
fn after(view: &View, options: &Options, standing: Duration) -> Step {
    let mut machine = Machine::new(options.clone());
    machine.step(view, Duration::ZERO);
    machine.step(view, standing)
}

fn web1(text: &str) -> Step {
    Step::Stop(vec![("web1".to_owned(), text.to_owned())])
}

/// How web1 stands, for how long, and the step; the others serve and are due.
type Case = (&'static str, fn(&mut Server), u64, Step);

#[test]
fn every_phase_has_its_step() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let wait = || Step::Wait(secs(1));
    let cases: Vec<Case> = vec![
        ("nothing was done", |_| {}, 0, Step::Drain(names(&["web1"]))),
        (
            "connections are left",
            |s| {
                drained(s);
                s.connected = some("3 active");
            },
            500,
            wait(),
        ),
        (
            "they are left for too long",
            |s| {
                drained(s);
                s.connected = some("3 active");
            },
            600,
            web1("not drained after 600s: waits for 3 active"),
        ),
        ("none is left, just now", drained, 0, wait()),
        ("none is left", drained, 1, Step::Restart(vec![("web1".to_owned(), 1)])),
        (
            "the agent says nothing",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Unspecified, "");
            },
            299,
            wait(),
        ),
        (
            "it says nothing for too long",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Unspecified, "");
            },
            300,
            web1("not restarted after 300s: waits for its agent to run the command"),
        ),
        (
            "it cannot begin",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Waiting, "no such action");
            },
            14,
            wait(),
        ),
        (
            "for people to mend",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Waiting, "no such action");
            },
            15,
            web1("not restarted after 15s: waits for no such action"),
        ),
        (
            "it runs",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Running, "");
            },
            299,
            wait(),
        ),
        (
            "it failed",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Failed, "exit status: 1");
            },
            0,
            web1("its restart failed: exit status: 1"),
        ),
        (
            "it was done, and is down",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Done, "");
                s.unhealthy = some("up");
            },
            299,
            wait(),
        ),
        (
            "it stays down",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Done, "");
                s.unhealthy = some("up");
            },
            300,
            web1("does not serve after 300s: waits for up"),
        ),
        (
            "it serves, just now",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Done, "");
            },
            0,
            wait(),
        ),
        (
            "it serves",
            |s| {
                drained(s);
                s.restart = restart(RestartState::Done, "");
            },
            1,
            Step::Undrain(names(&["web1"])),
        ),
        (
            "it has no weight",
            |s| {
                s.restart = restart(RestartState::Done, "");
                s.out_of_rotation = some("d1");
            },
            299,
            wait(),
        ),
        (
            "it gets none",
            |s| {
                s.restart = restart(RestartState::Done, "");
                s.out_of_rotation = some("d1");
            },
            300,
            web1("is not used again after 300s: waits for d1"),
        ),
        (
            "it has its weight",
            |s| s.restart = restart(RestartState::Done, ""),
            0,
            Step::Drain(names(&["web2"])),
        ),
        (
            "its drain was taken back",
            |s| s.restart = restart(RestartState::Running, ""),
            0,
            web1("its drain was taken back while its restart is ordered"),
        ),
        ("it does not serve before", |s| s.out_of_rotation = some("d1"), 299, wait()),
        (
            "it does not for long",
            |s| s.out_of_rotation = some("d1"),
            300,
            web1("does not serve (due): waits for d1"),
        ),
        (
            "somebody else drains it",
            |s| {
                s.out_of_rotation = some("d1");
                s.foreign = some("drained by order x");
            },
            300,
            web1("drained by order x"),
        ),
    ];
    for (what, edit, seconds, expected) in cases {
        assert_eq!(after(&with(edit), &options(), secs(seconds)), expected, "{what}");
    }
}

#[test]
fn options_change_what_is_waited_for() {
    let options = options();
    let forced = Options { force: true, ..options.clone() };
    let left = with(|server| {
        drained(server);
        server.connected = some("3 active");
    });
    let restart_it = Step::Restart(vec![("web1".to_owned(), 1)]);
    assert_eq!(after(&left, &forced, secs(599)), Step::Wait(secs(1)));
    assert_eq!(after(&left, &forced, secs(600)), restart_it, "what is left is cut");
    let acked = Options { gate: Gate::Acked, ..options.clone() };
    let down = with(|server| {
        drained(server);
        server.restart = restart(RestartState::Done, "");
        server.unhealthy = some("up");
    });
    assert_eq!(after(&down, &acked, secs(1)), Step::Undrain(some("web1")));
    let paused = Options { pause_between: secs(30), ..options.clone() };
    let one_done = with(|server| server.restart = restart(RestartState::Done, ""));
    assert_eq!(after(&one_done, &paused, secs(20)), Step::Wait(secs(10)));
    assert_eq!(after(&one_done, &paused, secs(30)), Step::Drain(some("web2")));
    assert_eq!(after(&with(|_| {}), &paused, Duration::ZERO), Step::Drain(some("web1")));
    let mut away = with(drained);
    away.unattached = some("d2");
    assert_eq!(
        after(&away, &options, secs(5)),
        Step::Wait(secs(1)),
        "d2 may not know of the drain"
    );
    assert_eq!(after(&away, &forced, secs(5)), restart_it);
}

#[test]
fn slow_start_is_capacity_that_is_missed() {
    let mut view = with(|server| {
        server.restart = restart(RestartState::Done, "");
        server.rising = some("d1 to give it weight 10 (it has 1)");
    });
    assert_eq!(after(&view, &options(), secs(1)), Step::Drain(some("web2")));
    view.slow_start = secs(60);
    assert_eq!(after(&view, &options(), secs(59)), Step::Wait(secs(1)));
    assert_eq!(after(&view, &options(), secs(60)), Step::Drain(some("web2")));
}

#[test]
fn a_bad_one_stops_the_batch_and_no_other() {
    let two = Options { max_unavailable: Share::Percent(50), ..options() };
    let mut batch = view(&["web1", "web2", "web3", "web4"]);
    assert_eq!(
        after(&batch, &two, Duration::ZERO),
        Step::Drain(vec!["web1".to_owned(), "web2".to_owned()])
    );
    for server in &mut batch.servers[..2] {
        drained(server);
    }
    batch.servers[0].restart = restart(RestartState::Failed, "x");
    // What was only drained is used again.
    batch.servers[1].connected = some("3 active");
    assert_eq!(after(&batch, &two, Duration::ZERO), Step::Undrain(some("web2")));
    // What restarts is followed to its end.
    batch.servers[1].restart = restart(RestartState::Running, "");
    assert_eq!(after(&batch, &two, secs(9)), Step::Wait(secs(1)));
    batch.servers[1].restart = restart(RestartState::Done, "");
    assert_eq!(after(&batch, &two, secs(1)), Step::Undrain(some("web2")));
    batch.servers[1].is_drained = false;
    batch.servers[1].out_of_rotation.clear();
    assert_eq!(after(&batch, &two, secs(9)), web1("its restart failed: x"));
}

#[test]
fn a_resumed_one_tries_again_what_had_failed_before() {
    let mut failed = with(|server| {
        drained(server);
        server.restart = restart(RestartState::Failed, "x");
    });
    let mut machine = Machine::resumed(options(), &failed);
    assert_eq!(machine.step(&failed, Duration::ZERO), Step::Restart(vec![("web1".to_owned(), 2)]));
    // The order has another identity now; that it fails again is news.
    failed.servers[0].restart = Some(Restart {
        id: "r@2".to_owned(),
        attempt: 2,
        state: RestartState::Failed,
        detail: "y".to_owned(),
    });
    assert_eq!(machine.step(&failed, secs(1)), web1("its restart failed: y"));
}

#[test]
fn shares_are_of_all_and_at_least_one() {
    let cases = [("1", 9, Some(1)), ("25%", 8, Some(2)), ("25%", 3, Some(1)), ("100%", 3, Some(3))];
    for (text, all, expected) in cases {
        assert_eq!(text.parse::<Share>().ok().map(|share| share.of(all)), expected, "{text}");
        assert_eq!(text.parse::<Share>().map(|share| share.to_string()), Ok(text.to_owned()));
    }
    for text in ["0", "-1", "101%", "", "%", "two"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
}

#[test]
fn options_come_back_from_labels() {
    let odd = Options {
        max_unavailable: Share::Percent(25),
        gate: Gate::Acked,
        pause_between: secs(7),
        force: true,
        ..options()
    };
    for options in [options(), odd] {
        assert_eq!(Options::from_labels(&options.to_labels(), "new JDK"), Some(options));
    }
    assert_eq!(Options::from_labels(&[].into(), ""), None);
}

#[test]
fn what_stands_against_a_rollout_is_told_at_once() {
    let mut bad = with(|server| server.out_of_rotation = some("d1 to give it weight 1"));
    bad.servers[1].foreign = some("drained by order night of ann");
    bad.servers[1].out_of_rotation = some("d1");
    bad.unattached = some("d2");
    let told = obstacles(&bad, &options());
    assert_eq!(
        told,
        [
            "director d2 is not attached: if it forwards, it would not know of a drain; bring it back, or take it out of its instance (--force goes on without it)",
            "web1: does not serve (due): waits for d1 to give it weight 1",
            "web2: drained by order night of ann",
            "web3: no other real server of the pool would serve meanwhile",
        ]
    );
    assert_eq!(obstacles(&with(|_| {}), &options()), [] as [&str; 0]);
    let all = Options { max_unavailable: Share::Count(3), ..options() };
    assert_eq!(
        obstacles(&with(|_| {}), &all),
        [
            "pool tomcats has 3 real servers, and --max-unavailable 3 lets all of them go at once; lower it",
            "web1, web2, web3: no other real server of the pool would serve meanwhile",
        ]
    );
    let mut none = with(|_| {});
    none.has_agents = false;
    assert_eq!(
        obstacles(&none, &options()),
        ["pool tomcats says agent: none, so nobody can restart its real servers"]
    );
}

/// A world where what is ordered comes true after some looks.
struct World {
    view: View,
    /// Looks until what is under way ends, by real server.
    left: Vec<u32>,
    /// The one whose command fails once.
    fails: Option<usize>,
    next_id: u32,
    undrained_most: usize,
}

impl World {
    fn new(names: &[&str], fails: Option<usize>) -> Self {
        Self { view: view(names), left: vec![0; names.len()], fails, next_id: 0, undrained_most: 0 }
    }

    fn index(&self, name: &str) -> usize {
        self.view.servers.iter().position(|server| server.name == name).expect("a member")
    }

    fn write(&mut self, step: &Step) {
        let touched: Vec<String> = match step {
            Step::Drain(names) | Step::Undrain(names) => names.clone(),
            Step::Restart(names) => names.iter().map(|(name, _)| name.clone()).collect(),
            Step::Finish | Step::Wait(_) | Step::Stop(_) => return,
        };
        for name in touched {
            let index = self.index(&name);
            self.left[index] = 3;
            let server = &mut self.view.servers[index];
            match step {
                Step::Drain(_) => {
                    assert!(!server.is_drained && server.restart.is_none(), "{name} is due");
                    drained(server);
                    server.connected = some("1 active");
                }
                Step::Restart(_) => {
                    assert!(server.is_drained && server.connected.is_empty(), "{name} is drained");
                    self.next_id += 1;
                    server.unhealthy = some("up");
                    let id = format!("r@{}", self.next_id);
                    let state = RestartState::Running;
                    server.restart = Some(Restart { id, attempt: 1, state, detail: String::new() });
                }
                Step::Undrain(_) => {
                    assert!(server.unhealthy.is_empty(), "{name} serves");
                    server.is_drained = false;
                }
                Step::Finish | Step::Wait(_) | Step::Stop(_) => {}
            }
        }
    }

    fn go_on(&mut self) {
        for index in 0..self.left.len() {
            self.left[index] = self.left[index].saturating_sub(1);
            if self.left[index] > 0 {
                continue;
            }
            let server = &mut self.view.servers[index];
            server.connected.clear();
            let is_drained = server.is_drained;
            match server.restart.as_mut() {
                Some(restart) if restart.state == RestartState::Running => {
                    let fails = self.fails.take_if(|it| *it == index).is_some();
                    restart.state = if fails { RestartState::Failed } else { RestartState::Done };
                    self.left[index] = 3;
                }
                Some(restart) if restart.state == RestartState::Done => server.unhealthy.clear(),
                Some(_) | None => {}
            }
            if !is_drained {
                server.out_of_rotation.clear();
            }
        }
        let out = self.view.servers.iter().filter(|it| !it.out_of_rotation.is_empty()).count();
        self.undrained_most = self.undrained_most.max(out);
    }

    /// Runs until the machine ends. `crashes`: a new machine takes over at each look.
    fn run(&mut self, options: &Options, mut machine: Machine, crashes: bool) -> Step {
        for look in 0..2_000 {
            let now = Duration::from_millis(500 * look);
            let step = machine.step(&self.view, now);
            match &step {
                Step::Finish | Step::Stop(_) => return step,
                Step::Drain(_) | Step::Restart(_) | Step::Undrain(_) => {
                    self.write(&step);
                    if crashes {
                        machine = Machine::new(options.clone());
                    }
                }
                Step::Wait(_) => {}
            }
            self.go_on();
        }
        panic!("the rollout does not end: {:?}", self.view);
    }
}

#[test]
fn a_whole_pool_is_restarted_once_each_whoever_drives() {
    let names = ["web1", "web2", "web3", "web4", "web5"];
    for (share, most) in [(Share::Count(1), 1), (Share::Count(2), 2), (Share::Percent(60), 3)] {
        for crashes in [false, true] {
            let options = Options { max_unavailable: share, ..options() };
            let mut world = World::new(&names, None);
            let end = world.run(&options, Machine::new(options.clone()), crashes);
            assert_eq!(end, Step::Finish);
            assert_eq!(world.next_id, 5, "each once");
            assert_eq!(world.undrained_most, most);
        }
    }
}

#[test]
fn it_stops_at_the_first_bad_one_and_goes_on_when_that_is_mended() {
    let options = options();
    let mut world = World::new(&["web1", "web2", "web3"], Some(1));
    let end = world.run(&options, Machine::new(options.clone()), false);
    let bad = ("web2".to_owned(), "its restart failed: ".to_owned());
    assert_eq!(end, Step::Stop(vec![bad]));
    let machine = Machine::new(options.clone());
    let phases: Vec<Phase> = world.view.servers.iter().map(|it| machine.phase(it)).collect();
    assert_eq!(phases, [Phase::Finished, Phase::Failed, Phase::Due]);
    assert!(world.view.servers[1].is_drained);
    let resumed = Machine::resumed(options.clone(), &world.view);
    assert_eq!(world.run(&options, resumed, false), Step::Finish);
    assert_eq!(world.next_id, 4, "web2 twice");
}
