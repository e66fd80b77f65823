//! Clients that keep their connections and are polite: each asks on its connection for as long as the server keeps it, opens
//! another one when an answer says `Connection: close` or the server has closed it meanwhile, and counts every request that
//! got no whole answer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::page;
use crate::net::namespace;
use crate::process::wait_until;

/// Longest time to open a connection, and to answer a request.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The first answers of all.
const OPEN: Duration = Duration::from_secs(15);

/// Clients at work, until dropped.
#[derive(Debug)]
pub(crate) struct Reused {
    counts: Arc<Mutex<Counts>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Answered whole, with status 200.
    pub(crate) answered: usize,
    /// Not answered so.
    pub(crate) failed: usize,
    /// Connections opened.
    pub(crate) opened: usize,
    /// Why the first failed.
    pub(crate) why: Option<String>,
}

impl Reused {
    /// Starts so many on the node, each of which asks every `every`; waits for their first answers.
    pub(crate) fn start(
        node: &'static str,
        target: SocketAddrV4,
        count: usize,
        every: Duration,
    ) -> Result<Self> {
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|index| {
            let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
            let first = Instant::now() + every.mul_f64(super::share(index, count));
            std::thread::spawn(move || {
                namespace::enter(node)?;
                run(target, every, first, &stop, &counts);
                Ok(())
            })
        });
        let threads = threads.collect();
        let reused = Self { counts, stop, threads };
        wait_until("keep-alive clients are answered", OPEN, || {
            let now = reused.counts();
            if now.failed > 0 {
                bail!("a keep-alive client failed at once: {:?}", now.why);
            }
            Ok((now.answered >= count).then_some(()))
        })?;
        Ok(reused)
    }

    /// What came of the requests so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends them; what came of all requests.
    pub(crate) fn stop(mut self) -> Result<Counts> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| anyhow!("a keep-alive client panicked"))??;
        }
        Ok(self.counts())
    }
}

impl Drop for Reused {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            // A scenario that fails drops its clients; the scenario's own error matters more.
            let _ = thread.join();
        }
    }
}

fn run(
    target: SocketAddrV4,
    every: Duration,
    first: Instant,
    stop: &AtomicBool,
    counts: &Mutex<Counts>,
) {
    let request = page::kept_request(&target.ip().to_string(), "/");
    let note = |change: &dyn Fn(&mut Counts)| {
        change(&mut counts.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let mut connection: Option<TcpStream> = None;
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += every;
        // As every pool of connections does before it uses one again.
        connection = connection.filter(is_open);
        let is_fresh = connection.is_none();
        match ask(connection.take(), target, request.as_bytes()) {
            Ok(kept) => {
                connection = kept;
                note(&|counts| {
                    counts.answered += 1;
                    counts.opened += usize::from(is_fresh);
                });
            }
            Err(error) => note(&|counts| {
                counts.failed += 1;
                counts.why.get_or_insert_with(|| format!("{error:#}"));
            }),
        }
    }
}

/// Whether the server has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
    let is_open = matches!(&looked, Err(error) if error.kind() == ErrorKind::WouldBlock);
    is_open && stream.set_nonblocking(false).is_ok()
}

/// One request and its answer; the connection, where the server keeps it.
fn ask(
    connection: Option<TcpStream>,
    target: SocketAddrV4,
    request: &[u8],
) -> Result<Option<TcpStream>> {
    let was_used = connection.is_some();
    let mut stream = match connection {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&SocketAddr::V4(target), TIMEOUT)
            .context("cannot open a connection")?,
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let on = if was_used { "on a connection that was used before" } else { "on a new connection" };
    stream.write_all(request).with_context(|| format!("cannot send {on}"))?;
    let mut answer = Vec::new();
    let mut chunk = [0; 2048];
    while !page::is_whole(&answer) {
        match stream.read(&mut chunk) {
            Ok(0) => bail!("the connection ended before the answer, {on}"),
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("no answer {on}")),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let first_line = text.lines().next().unwrap_or_default().to_owned();
    if first_line.split_whitespace().nth(1) != Some("200") {
        bail!("{first_line:?} {on}");
    }
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
    Ok((!head.contains("\r\nconnection: close")).then_some(stream))
}
