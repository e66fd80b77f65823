//! Many real servers: one host that accepts connections to any of their addresses.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::net::namespace;
use crate::net::topology::{DIRECTORS, Node, WEBS, ip_batch};
use crate::say;

/// Their port.
pub(crate) const PORT: u16 = 8080;
/// Where their addresses begin, and the network that holds them all.
const FIRST_RIP: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const RIPS: &str = "10.66.0.0/22";

/// The address of the real server of that number, up to 1,000.
pub(crate) fn rip(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST_RIP) + u32::from(number))
}

/// Fulcrum's manifest of so many of them, `r0` and on.
pub(crate) fn manifest(count: u16) -> String {
    let one = |number| {
        format!(
            "---\nkind: RealServer\nname: r{number}\nspec: {{site: main, rip: {}, port: {PORT}}}\n",
            rip(number)
        )
    };
    (0..count).map(one).collect()
}

/// The same with the pool `all` of all of them, which are tried by TCP.
pub(crate) fn manifest_with_pool(count: u16, interval: Duration) -> String {
    let members: Vec<String> =
        (0..count).map(|number| format!("{{real_server: r{number}}}")).collect();
    format!(
        "{}---\nkind: Pool\nname: all\nspec:\n  agent: none\n  check: {{tcp: {{}}, interval: {}s}}\n  members: [{}]\n",
        manifest(count),
        interval.as_secs(),
        members.join(", ")
    )
}

/// The host, until stopped or dropped.
#[derive(Debug)]
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Crowd {
    /// Begins; both directors get a route to them.
    pub(crate) fn start() -> Result<Self> {
        let host = WEBS[0];
        ip_batch(Some(host.name), &[format!("route replace local {RIPS} dev lo")])?;
        for director in DIRECTORS {
            Self::route(director)?;
        }
        let listener = namespace::inside(host.name, || {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("cannot listen")
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                listener.accept()?;
            }
            Ok(())
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Gives a director its route to them, which it loses with its address.
    pub(crate) fn route(director: Node) -> Result<()> {
        let route = format!("route replace {RIPS} via {}", WEBS[0].address);
        ip_batch(Some(director.name), &[route])
    }

    /// Connections that a director began until now and that were not refused, by its kernel's count. Not every try is accepted by a
    /// program: Fulcrum's end before.
    pub(crate) fn tried_by(director: Node) -> Result<usize> {
        let text = namespace::inside(director.name, || {
            fs::read_to_string("/proc/thread-self/net/snmp").context("cannot read the TCP counts")
        })?;
        tries(&text).context("the kernel does not count connections")
    }

    /// Ends, and tells what went wrong meanwhile.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.stop.store(true, Ordering::Relaxed);
        // A last connection wakes it.
        namespace::inside(WEBS[0].name, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).context("cannot wake it")
        })?;
        thread.join().map_err(|_| anyhow!("the real servers panicked"))?
    }
}

/// From the lines of names and values in proc(5)'s net/snmp.
fn tries(text: &str) -> Option<usize> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let count = |wanted| {
        let place = names.split(' ').position(|name| name == wanted)?;
        values.split(' ').nth(place)?.parse::<usize>().ok()
    };
    count("EstabResets")
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            say!("while stopping the many real servers: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_counted() {
        let text = "Ip: Forwarding\nIp: 1\nTcp: RtoMin ActiveOpens AttemptFails EstabResets\nTcp: 200 70 4 66\n";
        assert_eq!(tries(text), Some(66));
        assert_eq!(tries("Tcp: ActiveOpens\nTcp: 7\n"), None);
    }
}
