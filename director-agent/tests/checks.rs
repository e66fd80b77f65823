//! Checks against servers on loopback that behave well and badly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use fulcrum_director::checks::{Checks, Means, Outcome, try_once};
use fulcrum_director::clock::Clock;
use fulcrum_director::decide::check::{CheckKey, CheckNews};
use fulcrum_director::ipvs::IpvsSnapshot;
use fulcrum_director::metrics::Metrics;
use fulcrum_model::fuse::OwnProbe;
use fulcrum_model::{Check, HttpCheck, HttpPage, Port, ProbeKind};
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

fn key(address: SocketAddr, probe: ProbeKind, timeout: Duration) -> CheckKey {
    let port = Port::new(address.port().into()).expect("a bound port");
    let check = Check { probe, timeout, interval: Duration::from_millis(50), ..Check::default() };
    CheckKey::new(address.ip(), port, &check)
}

fn http(path: &str, statuses: &[u16]) -> ProbeKind {
    let page = HttpPage {
        path: path.to_owned(),
        statuses: statuses.to_vec(),
        digest: None,
        body_regex: None,
    };
    ProbeKind::Http(HttpCheck { pages: vec![page], host: None, tls: None })
}

/// Answers each connection with `answer`, or never when there is none.
fn serve(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            match answer {
                None => silent.push(stream),
                Some(answer) => {
                    let mut request = [0; 1024];
                    if stream.read(&mut request).is_ok() {
                        // The client may have what it wants before all is written.
                        let _ = stream.write_all(answer.as_bytes());
                    }
                }
            }
        }
    });
    address
}

/// A port that refuses connections, and that nobody else gets, as long as the socket lives.
fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("loopback");
    let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("bound");
    (socket, address)
}

#[tokio::test]
async fn tries_tell_what_they_saw() {
    const SECOND: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(50);
    let well = serve(Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let busy = serve(Some("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
    let noise = serve(Some("SSH-2.0-OpenSSH_9.2\r\n\r\n"));
    let hangs_up = serve(Some(""));
    let silent = serve(None);
    let (_reserved, nobody) = nobody();
    let refused = format!("connect to {nobody} refused");
    let cases = [
        ("tcp well", key(well, ProbeKind::Tcp(None), SECOND), Ok(())),
        ("tcp refused", key(nobody, ProbeKind::Tcp(None), SECOND), Err(refused.as_str())),
        ("http well", key(well, http("/", &[]), SECOND), Ok(())),
        ("http busy", key(busy, http("/", &[]), SECOND), Err("GET / answered 503")),
        ("http busy as wanted", key(busy, http("/x?y=z", &[503]), SECOND), Ok(())),
        ("http unwanted", key(well, http("/x", &[204]), SECOND), Err("GET /x answered 200")),
        ("http refused", key(nobody, http("/", &[]), SECOND), Err(refused.as_str())),
        (
            "http noise",
            key(noise, http("/", &[]), SECOND),
            Err("GET /: invalid HTTP version parsed"),
        ),
        (
            "http hangs up",
            key(hangs_up, http("/", &[]), SECOND),
            Err("GET /: connection closed before message completed"),
        ),
    ];
    for (what, key, expected) in cases {
        let expected = match expected {
            Ok(()) => Outcome::Passed,
            Err(seen) => Outcome::Failed(seen.to_owned()),
        };
        assert_eq!(try_once(&key, &Means::default()).await, expected, "{what}");
    }
    let unheard = try_once(&key(silent, http("/", &[]), MOMENT), &Means::default()).await;
    assert_eq!(unheard, Outcome::Silent("GET / timed out after 50ms".to_owned()));
    let bad_path = key(well, http("a b", &[]), SECOND);
    assert!(matches!(try_once(&bad_path, &Means::default()).await, Outcome::NotTried(_)));
}

#[tokio::test]
async fn running_checks_tell_changes_only() {
    let well = serve(Some(""));
    let (reserved, gone) = nobody();
    let (_kernel, seen) = watch::channel(IpvsSnapshot::default());
    let (mut checks, mut news) = Checks::new(Clock::start(), Metrics::new(), 8, None, seen);
    let good = key(well, ProbeKind::Tcp(None), Duration::from_secs(1));
    let mut bad = key(gone, ProbeKind::Tcp(None), Duration::from_secs(1));
    bad.check.retries = 0;
    checks.change(vec![good.clone(), bad.clone()], &[]);
    for _ in 0..2 {
        let CheckNews { key, probe, .. } = news.recv().await.expect("checks run");
        let expected = if key == good {
            OwnProbe::Passing
        } else {
            OwnProbe::Failing(format!("connect to {gone} refused"))
        };
        assert_eq!(probe, expected);
    }
    // The server returns, and its check tells so; the other one has nothing more to tell.
    reserved.listen(8).expect("the port is ours");
    let back = news.recv().await.expect("checks run");
    assert_eq!((&back.key, back.probe), (&bad, OwnProbe::Passing));
    checks.change(Vec::new(), &[good]);
}

/// A port whose queue is full: what asks for a connection gets no answer.
fn deaf() -> (Socket, Vec<Socket>, SocketAddr) {
    let (listening, address) = nobody();
    listening.listen(0).expect("the port is ours");
    // The kernel takes one more than it was asked for, and answers no third.
    let waiting = [(); 2].map(|()| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
        // It is under way, which non-blocking sockets tell as an error.
        let _ = socket.connect(&address.into());
        socket
    });
    (listening, waiting.into(), address)
}

/// With one slot for all of them: the tries take turns, and a silent server holds the others up no longer than its timeout.
#[tokio::test]
async fn tries_by_tcp_share_a_thread() {
    let (_listening, _waiting, deaf) = deaf();
    let (_reserved, gone) = nobody();
    let well: Vec<SocketAddr> = (0..20).map(|_| serve(Some(""))).collect();
    let (_kernel, seen) = watch::channel(IpvsSnapshot::default());
    let (mut checks, mut news) = Checks::new(Clock::start(), Metrics::new(), 1, None, seen);
    let tcp = |address| {
        let mut key = key(address, ProbeKind::Tcp(None), Duration::from_millis(100));
        key.check.retries = 0;
        key
    };
    let keys: Vec<CheckKey> = well.iter().copied().chain([deaf, gone]).map(tcp).collect();
    checks.change(keys.clone(), &[]);
    let mut told = std::collections::BTreeMap::new();
    while told.len() < keys.len() {
        let CheckNews { key, probe, tries } = news.recv().await.expect("checks run");
        told.insert(key, (probe, tries.silence.is_some()));
    }
    for address in well {
        assert_eq!(told[&tcp(address)], (OwnProbe::Passing, false));
    }
    let failing = |why: String| OwnProbe::Failing(why);
    let silent = failing("connect timed out after 100ms".to_owned());
    assert_eq!(told[&tcp(deaf)], (silent, true));
    assert_eq!(told[&tcp(gone)], (failing(format!("connect to {gone} refused")), false));
    // The news end with the checks, and so does the thread.
    checks.change(Vec::new(), &keys);
    drop(checks);
    while news.recv().await.is_some() {}
}
