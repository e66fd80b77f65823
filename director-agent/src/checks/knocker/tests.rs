//! The thread against sockets on loopback. A queue of connections that is full lets no answer out: the kernel drops what comes, and
//! the try's own kernel asks again after a second, which is when a late answer can come.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use fulcrum_model::fuse::OwnProbe;
use fulcrum_model::{Check, Port};
use socket2::{Domain, Socket, Type};
use tokio::sync::{Semaphore, mpsc, watch};

use super::super::{Attention, Means};
use super::*;
use crate::clock::Clock;
use crate::ipvs::IpvsSnapshot;
use crate::metrics::Metrics;

/// So long that nothing waits for it: nobody is tried twice.
const NEVER: Duration = Duration::from_hours(1);
/// Longest time that news are waited for, on a machine however busy.
const PATIENCE: Duration = Duration::from_mins(1);

struct Rig {
    knocker: Knocker,
    news: mpsc::Receiver<CheckNews>,
    /// The sender's end: without it nobody could say what the kernel forwards.
    _kernel: watch::Sender<IpvsSnapshot>,
}

impl Rig {
    /// So many tries at once, and room for so many news.
    fn new(slots: usize, room: usize) -> Self {
        let (told, news) = mpsc::channel(room);
        let (seen, kernel) = watch::channel(IpvsSnapshot::default());
        let knocker = Knocker::start(Shared {
            clock: Clock::start(),
            metrics: Metrics::new(),
            slots: Arc::new(Semaphore::new(slots)),
            news: told,
            attention: Attention::default(),
            means: Means::default(),
            kernel,
        });
        Self { knocker: knocker.expect("a thread"), news, _kernel: seen }
    }

    fn begin(&self, keys: &[&CheckKey]) {
        self.knocker.change(keys.iter().copied().cloned().collect(), Vec::new());
    }

    async fn next(&mut self) -> CheckNews {
        let news = tokio::time::timeout(PATIENCE, self.news.recv()).await;
        news.expect("news in time").expect("the thread lives")
    }

    /// That of this check, which must come next.
    async fn next_of(&mut self, key: &CheckKey) -> CheckNews {
        let news = self.next().await;
        assert_eq!(news.key, *key);
        news
    }
}

fn key(address: SocketAddr, timeout: Duration, interval: Duration) -> CheckKey {
    let port = Port::new(address.port().into()).expect("a bound port");
    let check = Check {
        probe: ProbeKind::Tcp(None),
        timeout,
        interval,
        retries: 0,
        retry_delay: interval,
        ..Check::default()
    };
    CheckKey::new(address.ip(), port, &check)
}

/// A port that listens, with room for so many connections and one more.
fn listen(backlog: i32) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback");
    socket.listen(backlog).expect("it listens");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    (socket, address.expect("bound"))
}

/// A port whose queue is full: no try is answered until somebody accepts what fills it, or the port is closed.
fn full() -> (Socket, SocketAddr, TcpStream) {
    let (socket, address) = listen(0);
    let filler = TcpStream::connect(address).expect("the first is taken");
    (socket, address, filler)
}

fn is_passing(news: &CheckNews) -> bool {
    matches!(news.probe, OwnProbe::Passing)
}

#[tokio::test]
async fn a_late_answer_counts() {
    let mut rig = Rig::new(2, 8);
    let ((full, late, _filler), (_open, prompt)) = (full(), listen(8));
    let (late, prompt) = (key(late, PATIENCE, NEVER), key(prompt, PATIENCE, NEVER));
    rig.begin(&[&late, &prompt]);
    assert!(is_passing(&rig.next_of(&prompt).await));
    // Both were begun and looked at together: the other is waited for now.
    let (_accepted, _) = full.accept().expect("what filled it");
    let news = rig.next_of(&late).await;
    assert!(is_passing(&news), "{:?}", news.probe);
    assert!(news.tries.heard.is_some() && news.tries.silence.is_none());
}

#[tokio::test]
async fn a_late_refusal_is_an_answer() {
    let mut rig = Rig::new(2, 8);
    let ((full, late, filler), (_open, prompt)) = (full(), listen(8));
    let (late, prompt) = (key(late, PATIENCE, NEVER), key(prompt, PATIENCE, NEVER));
    rig.begin(&[&late, &prompt]);
    assert!(is_passing(&rig.next_of(&prompt).await));
    drop((full, filler));
    let news = rig.next_of(&late).await;
    assert!(matches!(news.probe, OwnProbe::Failing(_)), "{:?}", news.probe);
    assert!(news.tries.heard.is_some() && news.tries.silence.is_none());
}

#[tokio::test]
async fn no_answer_within_the_timeout_is_silence() {
    let mut rig = Rig::new(2, 8);
    let (_full, silent, _filler) = full();
    let silent = key(silent, Duration::from_millis(20), NEVER);
    rig.begin(&[&silent]);
    let news = rig.next_of(&silent).await;
    assert!(matches!(news.probe, OwnProbe::Failing(_)), "{:?}", news.probe);
    let fell = news.tries.silence.and_then(|silence| silence.fell);
    assert!(fell.is_some() && news.tries.heard.is_none());
}

#[tokio::test]
async fn who_finds_no_slot_has_its_turn_when_one_is_free() {
    let mut rig = Rig::new(1, 8);
    let ((_full, silent, _filler), (_open, prompt)) = (full(), listen(8));
    let silent = key(silent, Duration::from_millis(100), NEVER);
    let waiting = key(prompt, Duration::from_millis(100), NEVER);
    // The first one has the only slot until its timeout.
    rig.begin(&[&silent, &waiting]);
    assert!(!is_passing(&rig.next_of(&silent).await));
    assert!(is_passing(&rig.next_of(&waiting).await), "its time begins with its own try");
}

#[tokio::test]
async fn a_check_that_ends_gives_its_slot_back() {
    let mut rig = Rig::new(1, 8);
    let ((_full, silent, _filler), (_open, prompt)) = (full(), listen(8));
    // Nobody would see the end of that timeout.
    let (silent, waiting) = (key(silent, NEVER, NEVER), key(prompt, PATIENCE, NEVER));
    rig.begin(&[&silent, &waiting]);
    rig.knocker.change(Vec::new(), vec![silent]);
    assert!(is_passing(&rig.next_of(&waiting).await), "and of the other nothing is told");
}

#[tokio::test]
async fn many_share_few_slots() {
    let mut rig = Rig::new(3, 8);
    let open: Vec<(Socket, SocketAddr)> = (0..24).map(|_| listen(8)).collect();
    let keys: Vec<CheckKey> =
        open.iter().map(|(_, address)| key(*address, PATIENCE, NEVER)).collect();
    rig.begin(&keys.iter().collect::<Vec<_>>());
    let mut told = BTreeSet::new();
    while told.len() < keys.len() {
        let news = rig.next().await;
        assert!(is_passing(&news), "{:?}", news.probe);
        assert!(told.insert(news.key), "each is tried once");
    }
}

#[tokio::test]
async fn news_that_find_no_room_wait_and_so_does_their_check() {
    let mut rig = Rig::new(8, 1);
    let open: Vec<(Socket, SocketAddr)> = (0..4).map(|_| listen(8)).collect();
    let keys: Vec<CheckKey> =
        open.iter().map(|(_, address)| key(*address, PATIENCE, NEVER)).collect();
    rig.begin(&keys.iter().collect::<Vec<_>>());
    let mut told = BTreeSet::new();
    for _ in &keys {
        told.insert(rig.next().await.key);
    }
    assert_eq!(told, keys.into_iter().collect(), "nothing is lost");
}

#[tokio::test]
async fn the_thread_ends_with_whoever_gives_it_checks() {
    let rig = Rig::new(1, 1);
    let Rig { knocker, mut news, _kernel } = rig;
    drop(knocker);
    let end = tokio::time::timeout(PATIENCE, news.recv()).await;
    assert!(end.expect("in time").is_none());
}
