//! The client's loop: one thread, one epoll, any number of requests under way.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, SockAddr, Socket, Type};

use super::page::{self, Failure};
use super::report::Request;

/// Longest sleep, so that a stop is seen soon.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// A request under way.
struct Flight {
    stream: TcpStream,
    started: Instant,
    /// Bytes of the request that are sent.
    sent: usize,
    answer: Vec<u8>,
}

/// Runs until `stop`, then until all requests have ended.
pub(crate) fn run(
    target: SocketAddrV4,
    interval: Duration,
    timeout: Duration,
    stop: &AtomicBool,
    kept: &Mutex<Vec<Request>>,
) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("no epoll")?;
    let request = page::request(&target.ip().to_string(), "/");
    let mut flights: HashMap<u64, Flight> = HashMap::new();
    // Deadlines in the order of starts, because all have the same timeout.
    let mut order: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut next_id = 0_u64;
    let mut next_start = Instant::now();
    let keep = |started: Instant, answer| {
        let request = Request { started, took: started.elapsed(), answer };
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    };
    while !stop.load(Ordering::Relaxed) || !flights.is_empty() {
        let now = Instant::now();
        // A pause of this machine is made up for: the count of requests stays rate times time.
        while next_start <= now && !stop.load(Ordering::Relaxed) {
            next_start += interval;
            next_id += 1;
            match begin(&epoll, target, next_id) {
                Ok(flight) => {
                    order.insert(next_id, flight.started + timeout);
                    flights.insert(next_id, flight);
                }
                Err(kind) => keep(Instant::now(), Err(Failure::System(kind))),
            }
        }
        let mut events = [EpollEvent::empty(); 64];
        let ready = match epoll.wait(&mut events, wait_time(next_start, &order)) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno).context("epoll failed"),
        };
        for event in &events[..ready] {
            let id = event.data();
            let Some(flight) = flights.get_mut(&id) else { continue };
            if let Some(answer) = flight.advance(request.as_bytes()) {
                keep(flight.started, answer);
                order.remove(&id);
                // Closing the socket takes it out of epoll.
                flights.remove(&id);
            }
        }
        let now = Instant::now();
        while let Some((id, deadline)) = order.first_key_value().map(|(id, at)| (*id, *at))
            && deadline <= now
        {
            order.remove(&id);
            if let Some(flight) = flights.remove(&id) {
                let failure =
                    if flight.sent == 0 { Failure::NotAccepted } else { Failure::TimedOut };
                keep(flight.started, Err(failure));
            }
        }
    }
    Ok(())
}

/// Time to the next start or deadline, whole milliseconds rounded up.
fn wait_time(next_start: Instant, order: &BTreeMap<u64, Instant>) -> EpollTimeout {
    let next = order.values().next().map_or(next_start, |deadline| next_start.min(*deadline));
    let wait = next.saturating_duration_since(Instant::now()).min(LOOK_UP_EVERY);
    let millis = wait.as_micros().div_ceil(1000);
    EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
}

/// Begins a connection without waiting for it.
fn begin(epoll: &Epoll, target: SocketAddrV4, id: u64) -> Result<Flight, ErrorKind> {
    let connect = || -> std::io::Result<Flight> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let started = Instant::now();
        match socket.connect(&SockAddr::from(target)) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream::from(socket);
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&stream, EpollEvent::new(interest, id))?;
        Ok(Flight { stream, started, sent: 0, answer: Vec::new() })
    };
    connect().map_err(|error| error.kind())
}

impl Flight {
    /// Sends and receives what can be; answers when the request has ended.
    fn advance(&mut self, request: &[u8]) -> Option<Result<String, Failure>> {
        if let Ok(Some(error)) = self.stream.take_error() {
            return Some(Err(Failure::System(error.kind())));
        }
        while self.sent < request.len() {
            match self.stream.write(&request[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::NotConnected => return None,
                    ErrorKind::Interrupted => {}
                    kind => return Some(Err(Failure::System(kind))),
                },
            }
        }
        let mut chunk = [0_u8; 2048];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return page::judge(&self.answer, true),
                Ok(length) => {
                    self.answer.extend_from_slice(&chunk[..length]);
                    if let Some(judged) = page::judge(&self.answer, false) {
                        return Some(judged);
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return None,
                    ErrorKind::Interrupted => {}
                    kind => return Some(Err(Failure::System(kind))),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_until_what_comes_first() {
        let now = Instant::now();
        let order = BTreeMap::from([(1, now + Duration::from_mins(1))]);
        let wait =
            |next_ms: u64| i32::from(wait_time(now + Duration::from_millis(next_ms), &order));
        assert!((0..=100).contains(&wait(50)));
        assert_eq!(wait(0), 0);
        assert!(wait(100_000) <= 100);
    }
}
