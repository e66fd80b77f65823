use std::time::UNIX_EPOCH;

use super::*;

fn ok(status: Option<u16>) -> Sight {
    Sight::Probe(Ok(Answer { time: Duration::from_millis(3), status }))
}
fn refused() -> Sight {
    Sight::Probe(Err(Failure::Refused("10.0.0.1:80".parse().unwrap())))
}
fn slow() -> Sight {
    Sight::Probe(Err(Failure::TimedOut {
        what: "GET /".to_owned(),
        timeout: Duration::from_secs(1),
    }))
}
fn load(busy: u32) -> Sight {
    Sight::Load(Some(ServerLoad { busy_threads: busy, max_threads: 10, ..ServerLoad::default() }))
}
fn late() -> Sight {
    let timeout = Duration::from_secs(1);
    Sight::Late(Failure::TimedOut { what: "GET /".to_owned(), timeout })
}
fn silent(proof: Option<Proof>) -> Sight {
    Sight::Silent { waited: Duration::from_millis(400), proof }
}
fn listener(pid: u32) -> Sight {
    Sight::Listener(Listener::Process(pid))
}
fn ended(pid: u32, listener: Listener) -> Sight {
    Sight::Ended { pid, listener, at: UNIX_EPOCH, out_of_memory: false }
}

#[test]
fn verdicts_follow_what_is_seen() {
    use Verdict::{Down, Draining, Saturated, Stopping, Unknown, Up};
    let cases: Vec<(&str, Vec<Sight>, Verdict, &str)> = vec![
        ("nothing yet", vec![], Unknown, "not tried yet"),
        ("first try succeeds", vec![ok(None)], Up, "accepts connections"),
        ("a page", vec![ok(Some(200))], Up, "answers 200"),
        ("first try refused", vec![refused()], Down, "connection to 10.0.0.1:80 refused"),
        ("killed", vec![listener(8), ok(None), ended(8, Listener::None)], Down, "process 8 exited"),
        (
            "the exit stays the reason",
            vec![listener(8), ok(None), ended(8, Listener::None), refused()],
            Down,
            "process 8 exited",
        ),
        (
            "another process listens on",
            vec![listener(8), ok(None), ended(8, Listener::Process(9))],
            Up,
            "accepts connections",
        ),
        (
            "closes its connector first",
            vec![listener(8), ok(None), refused()],
            Stopping,
            "connection to 10.0.0.1:80 refused while process 8 lives",
        ),
        (
            "then ends",
            vec![listener(8), ok(None), refused(), ended(8, Listener::None)],
            Down,
            "process 8 exited",
        ),
        ("one slow answer is no failure", vec![ok(None), slow()], Up, "accepts connections"),
        ("two are", vec![ok(None), slow(), slow()], Down, "GET / took longer than 1s"),
        ("slow from the start", vec![slow()], Down, "GET / took longer than 1s"),
        ("comes back", vec![ok(None), slow(), slow(), ok(None)], Up, "accepts connections"),
        (
            "a success between failures counts",
            vec![ok(None), slow(), ok(None), slow()],
            Up,
            "accepts connections",
        ),
        ("all threads busy", vec![ok(None), load(10)], Saturated, "10 of 10 threads busy"),
        ("not all", vec![ok(None), load(9)], Up, "accepts connections"),
        ("nearly all still", vec![ok(None), load(10), load(9)], Saturated, "10 of 10 threads busy"),
        ("an eighth is free", vec![ok(None), load(10), load(8)], Up, "accepts connections"),
        (
            "the load is no longer told",
            vec![ok(None), load(10), Sight::Load(None)],
            Up,
            "accepts connections",
        ),
        (
            "no thread is free for the tries",
            vec![ok(None), load(10), slow(), load(10), slow(), load(10), slow()],
            Saturated,
            "10 of 10 threads busy",
        ),
        (
            "slow from the start for want of threads",
            vec![load(10), slow()],
            Saturated,
            "10 of 10 threads busy",
        ),
        (
            "slow with threads to spare",
            vec![ok(None), load(9), slow(), load(9), slow()],
            Down,
            "GET / took longer than 1s",
        ),
        (
            "the status page is silent too",
            vec![ok(None), load(10), slow(), Sight::Load(None), slow(), slow()],
            Down,
            "GET / took longer than 1s",
        ),
        (
            "late, while the ops connector answers",
            vec![ok(None), late(), late(), late()],
            Saturated,
            "GET / took longer than 1s, while the ops connector answers",
        ),
        (
            "late from the start, while the ops connector answers",
            vec![late()],
            Saturated,
            "GET / took longer than 1s, while the ops connector answers",
        ),
        ("then in time", vec![ok(None), late(), ok(Some(200))], Up, "answers 200"),
        (
            "then both are silent",
            vec![ok(None), late(), slow(), slow()],
            Down,
            "GET / took longer than 1s",
        ),
        (
            "the page on the own connector is silent",
            vec![ok(Some(200)), load(2), silent(None)],
            Saturated,
            "no thread for the status page within 400ms",
        ),
        (
            "which proves nothing where nothing answers",
            vec![ok(Some(200)), load(2), silent(None), slow(), silent(None), slow()],
            Down,
            "GET / took longer than 1s",
        ),
        (
            "but does where the JVM runs",
            vec![ok(None), silent(Some(Proof::Jvm)), slow(), slow(), slow()],
            Saturated,
            "no thread for the status page within 400ms, while its JVM runs",
        ),
        (
            "or the ops connector answers",
            vec![ok(None), silent(Some(Proof::Operations)), slow(), slow(), slow()],
            Saturated,
            "no thread for the status page within 400ms, while the ops connector answers",
        ),
        (
            "the page answers again",
            vec![ok(None), silent(Some(Proof::Jvm)), slow(), load(9)],
            Up,
            "accepts connections",
        ),
        ("a page in time", vec![ok(None), silent(None), ok(Some(200))], Up, "answers 200"),
        (
            "a mere connection needs no thread",
            vec![ok(None), silent(None), ok(None)],
            Saturated,
            "no thread for the status page within 400ms",
        ),
        (
            "paused",
            vec![ok(None), load(0), Sight::Paused(true), slow(), slow(), slow()],
            Draining,
            "its connector is paused: new connections get no answer",
        ),
        (
            "a heap that stays full",
            vec![ok(Some(200)), load(10), Sight::Exhausted(true)],
            Saturated,
            EXHAUSTED,
        ),
        (
            "which is better",
            vec![ok(Some(200)), Sight::Exhausted(true), Sight::Exhausted(false)],
            Up,
            "answers 200",
        ),
        (
            "which answers nothing",
            vec![ok(None), Sight::Exhausted(true), slow(), slow()],
            Down,
            "GET / took longer than 1s",
        ),
        (
            "which ends itself",
            vec![listener(8), ok(None), Sight::Exhausted(true), ended(8, Listener::None)],
            Down,
            "process 8 exited with its heap full",
        ),
        (
            "resumed",
            vec![ok(None), Sight::Paused(true), slow(), Sight::Paused(false), ok(None)],
            Up,
            "accepts connections",
        ),
        (
            "out of memory",
            vec![
                listener(8),
                ok(None),
                Sight::Ended {
                    pid: 8,
                    listener: Listener::None,
                    at: UNIX_EPOCH,
                    out_of_memory: true,
                },
            ],
            Down,
            "process 8 killed: out of memory",
        ),
        (
            "down is down, however busy",
            vec![ok(None), load(10), refused()],
            Down,
            "connection to 10.0.0.1:80 refused",
        ),
    ];
    for (what, sights, verdict, reason) in cases {
        let mut judge = Judge::new("web1".parse().unwrap());
        for sight in sights {
            judge.see(sight);
        }
        let evidence = judge.evidence();
        assert_eq!((evidence.verdict, evidence.reasons[0].as_str()), (verdict, reason), "{what}");
    }
}

#[test]
fn a_dead_process_leaves_no_traces() {
    let mut judge = Judge::new("web1".parse().unwrap());
    for sight in [listener(8), ok(Some(200)), load(3), ended(8, Listener::None)] {
        judge.see(sight);
    }
    let evidence = judge.evidence();
    assert_eq!((evidence.pid, evidence.probe_time, evidence.http_status), (None, None, None));
    assert_eq!(evidence.load, None);
}

#[test]
fn an_exit_keeps_its_time() {
    let mut judge = Judge::new("web1".parse().unwrap());
    let at = UNIX_EPOCH + Duration::from_secs(7);
    judge.see(ok(None));
    assert_eq!(judge.evidence().exit_seen_at, None);
    judge.see(Sight::Ended { pid: 8, listener: Listener::None, at, out_of_memory: false });
    judge.see(ok(None));
    assert_eq!(judge.evidence().exit_seen_at, Some(at), "when it is up again, too");
}

#[test]
fn remarks_stand_beside_the_verdict() {
    let mut judge = Judge::new("web1".parse().unwrap());
    let collecting = |gc_share_permille| {
        Sight::Load(Some(ServerLoad { gc_share_permille, ..ServerLoad::default() }))
    };
    let gc = "garbage collection takes most of its JVM's time";
    judge.see(ok(None));
    for (share, expected) in [(499, false), (500, true), (300, true), (299, false), (400, false)] {
        judge.see(collecting(share));
        let evidence = judge.evidence();
        assert_eq!(evidence.verdict, Verdict::Up, "a load without threads is not full");
        assert_eq!(evidence.reasons[1..].contains(&gc.to_owned()), expected, "{share}");
    }
    judge.see(collecting(900));
    judge.see(Sight::Exhausted(true));
    assert_eq!(judge.evidence().reasons, [EXHAUSTED], "it is told once, and says more");
    judge.see(Sight::Paused(true));
    assert_eq!(judge.evidence().reasons[1..], [EXHAUSTED], "beside another verdict");
    for sight in [Sight::Paused(false), Sight::Exhausted(false), collecting(0)] {
        judge.see(sight);
    }
    judge.see(Sight::Contexts(vec!["localhost/shop".to_owned()]));
    assert_eq!(judge.evidence().reasons[1], "context localhost/shop is stopped");
    judge.see(ended(8, Listener::None));
    assert_eq!(judge.evidence().reasons.len(), 1);
}

#[test]
fn stopped_contexts_are_named_up_to_a_bound() {
    let names = |count| (0..count).map(|n| format!("h/{n}")).collect::<Vec<_>>();
    assert_eq!(stopped(&names(1)), "context h/0 is stopped");
    assert_eq!(stopped(&names(2)), "contexts h/0, h/1 are stopped");
    let many = stopped(&names(11));
    assert_eq!(many, "contexts h/0, h/1, h/2, h/3, h/4, h/5, h/6, h/7 and 3 more are stopped");
}

#[test]
fn small_changes_of_load_are_no_news() {
    let load = |busy_threads, max_threads| {
        Some(ServerLoad { busy_threads, max_threads, ..ServerLoad::default() })
    };
    let cases = [
        (None, None, false),
        (None, load(1, 8), true),
        (load(1, 8), None, true),
        (load(100, 200), load(124, 200), false),
        (load(100, 200), load(125, 200), true),
        (load(100, 200), load(75, 200), true),
        (load(199, 200), load(200, 200), true),
        (load(200, 200), load(199, 200), true),
        (load(0, 0), load(7, 0), false),
        (load(3, 8), load(3, 8).map(|load| ServerLoad { request_count: 9, ..load }), false),
        (load(3, 8), load(3, 8).map(|load| ServerLoad { contexts_stopped: 1, ..load }), true),
        (load(3, 8), load(3, 8).map(|load| ServerLoad { gc_share_permille: 125, ..load }), true),
    ];
    for (told, now, expected) in cases {
        assert_eq!(is_news(told.as_ref(), now.as_ref()), expected, "{told:?} {now:?}");
    }
}
