//! Connections that stay open: each asks for the page now and then, and is never opened again once it has broken.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::page;
use crate::net::namespace;
use crate::process::wait_until;

/// How long a connection may take to open, and how long each of many may.
const OPEN: Duration = Duration::from_secs(3);
const OPEN_EACH_OF_MANY: Duration = Duration::from_millis(20);
/// An answer that takes longer will not come: TCP has repeated the request six times by then.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Longest sleep, so that a stop is seen soon.
const LOOK_UP_EVERY: Duration = Duration::from_millis(50);

/// Open connections, until dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    shared: Arc<Mutex<Vec<Standing>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// The client's port.
    port: u16,
    /// When the last request that was answered had been sent.
    answered: Option<Instant>,
    /// When it broke and why.
    broken: Option<(Instant, String)>,
}

/// A connection with its request under way.
struct Connection {
    stream: TcpStream,
    next: Instant,
    asked: Option<Instant>,
    answer: Vec<u8>,
}

impl Kept {
    /// Opens `count` connections from the node, each of which asks every `every`; waits until all were answered.
    pub(crate) fn open(
        node: &'static str,
        target: SocketAddrV4,
        count: usize,
        every: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Mutex::new(vec![Standing::default(); count]));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let begin = Instant::now();
        let thread = std::thread::spawn(move || {
            namespace::enter(node)?;
            run(target, every, &stopped, &kept)
        });
        let kept = Self { shared, stop, thread: Some(thread) };
        let many = OPEN_EACH_OF_MANY * u32::try_from(count).unwrap_or(u32::MAX);
        let alive = kept.alive_since(begin, many + every + GIVE_UP)?;
        if alive < count {
            bail!("only {alive} of {count} connections were answered: {}", kept.why());
        }
        Ok(kept)
    }

    /// How many have answered a request that was sent after `since`; waits until all have or broke.
    pub(crate) fn alive_since(&self, since: Instant, timeout: Duration) -> Result<usize> {
        let answered = |one: &Standing| one.answered.is_some_and(|at| at >= since);
        let settled = wait_until("every open connection is answered", timeout, || {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                bail!("the client of open connections ended early");
            }
            let settled = self.with(|all| all.iter().all(|o| answered(o) || o.broken.is_some()));
            Ok(settled.then_some(()))
        });
        match settled {
            Err(error) if self.thread.as_ref().is_none_or(JoinHandle::is_finished) => Err(error),
            // Those that were not answered in time are not alive.
            _ => Ok(self.with(|all| all.iter().filter(|one| answered(one)).count())),
        }
    }

    /// The client's ports of those that have not answered a request that was sent after `since`.
    pub(crate) fn lost_since(&self, since: Instant) -> Vec<u16> {
        let is_lost = |one: &&Standing| one.answered.is_none_or(|at| at < since);
        self.with(|all| all.iter().filter(is_lost).map(|one| one.port).collect())
    }

    /// Why connections broke: the first reason.
    pub(crate) fn why(&self) -> String {
        let first = self.broken().into_iter().next();
        first.map_or_else(|| "none broke".to_owned(), |(_, why)| why)
    }

    /// When and why connections broke, the earliest first.
    pub(crate) fn broken(&self) -> Vec<(Instant, String)> {
        let mut broken: Vec<_> =
            self.with(|all| all.iter().filter_map(|one| one.broken.clone()).collect());
        broken.sort();
        broken
    }

    fn with<T>(&self, look: impl FnOnce(&[Standing]) -> T) -> T {
        look(&self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A scenario that fails drops its client; the scenario's own error matters more.
            let _ = thread.join();
        }
    }
}

fn run(
    target: SocketAddrV4,
    every: Duration,
    stop: &AtomicBool,
    shared: &Mutex<Vec<Standing>>,
) -> Result<()> {
    let count = shared.lock().unwrap_or_else(PoisonError::into_inner).len();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("no epoll")?;
    let mut connections = open_all(target, every, count, &epoll)?;
    for (index, connection) in connections.iter().enumerate() {
        let Some(Connection { stream, .. }) = connection else { continue };
        let port = stream.local_addr()?.port();
        note(shared, index, |standing| standing.port = port);
    }
    let request = page::kept_request(&target.ip().to_string(), "/");
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        for (index, slot) in connections.iter_mut().enumerate() {
            let Some(connection) = slot else { continue };
            if let Err(why) = connection.ask(request.as_bytes(), now, every) {
                *slot = None;
                note(shared, index, |standing| standing.broken = Some((Instant::now(), why)));
            }
        }
        let mut events = [EpollEvent::empty(); 64];
        let ready = match epoll.wait(&mut events, EpollTimeout::try_from(LOOK_UP_EVERY)?) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(anyhow!(errno).context("epoll failed")),
        };
        for event in &events[..ready] {
            let index = usize::try_from(event.data())?;
            let Some(connection) = &mut connections[index] else { continue };
            match connection.hear() {
                Ok(None) => {}
                Ok(Some(asked)) => note(shared, index, |one| one.answered = Some(asked)),
                Err(why) => {
                    connections[index] = None;
                    note(shared, index, |one| one.broken = Some((Instant::now(), why)));
                }
            }
        }
    }
    Ok(())
}

fn open_all(
    target: SocketAddrV4,
    every: Duration,
    count: usize,
    epoll: &Epoll,
) -> Result<Vec<Option<Connection>>> {
    let open = |index| {
        let stream = TcpStream::connect_timeout(&SocketAddr::V4(target), OPEN)
            .with_context(|| format!("cannot open connection {} of {count}", index + 1))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, u64::try_from(index)?))?;
        Ok(stream)
    };
    let streams: Result<Vec<TcpStream>> = (0..count).map(open).collect();
    let begin = Instant::now();
    let connections = streams?.into_iter().enumerate().map(|(index, stream)| {
        // Their requests are spread over the time between two of one connection.
        let next = begin + every.mul_f64(super::share(index, count));
        Some(Connection { stream, next, asked: None, answer: Vec::new() })
    });
    Ok(connections.collect())
}

fn note(shared: &Mutex<Vec<Standing>>, index: usize, change: impl FnOnce(&mut Standing)) {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner)[index]);
}

impl Connection {
    /// Sends the request when it is due and none is under way.
    fn ask(&mut self, request: &[u8], now: Instant, every: Duration) -> Result<(), String> {
        if let Some(asked) = self.asked {
            let waited = now.saturating_duration_since(asked);
            return if waited > GIVE_UP { Err(format!("no answer in {waited:?}")) } else { Ok(()) };
        }
        if self.next > now {
            return Ok(());
        }
        self.next = now + every;
        self.asked = Some(now);
        self.answer.clear();
        // A request of some 80 bytes always fits into the empty buffer of a socket.
        self.stream.write_all(request).map_err(|error| format!("cannot send: {error}"))
    }

    /// Reads what has come; answers with when the request was sent that is now answered.
    fn hear(&mut self) -> Result<Option<Instant>, String> {
        let mut chunk = [0; 2048];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("closed by the other end".to_owned()),
                Ok(length) => self.answer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if page::is_whole(&self.answer) { Ok(self.asked.take()) } else { Ok(None) }
    }
}
