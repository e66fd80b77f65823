//! The directors' IPVS tables over time, sampled from `/proc/net/ip_vs`, with the moment of each change.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::net::namespace;

/// Time between samples: the resolution of every figure that is read from tables.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// A director's table: what belongs to each virtual server, without connection counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// By protocol and address, such as `TCP 192.168.1.150:80`, or by firewall mark, such as `FWM 1`.
    pub(crate) virtual_servers: BTreeMap<String, VirtualServer>,
}

/// One virtual server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VirtualServer {
    /// Scheduler.
    pub(crate) scheduler: String,
    /// Forwarding method and weight by real server.
    pub(crate) destinations: BTreeMap<SocketAddrV4, (String, u32)>,
}

impl Table {
    /// Weight of a real server over all virtual servers; `None` when it is in none.
    pub(crate) fn weight(&self, real_server: SocketAddrV4) -> Option<u32> {
        self.virtual_servers
            .values()
            .filter_map(|server| server.destinations.get(&real_server))
            .map(|(_, weight)| *weight)
            .max()
    }

    /// Whether new connections may go to the real server.
    pub(crate) fn serves(&self, real_server: SocketAddrV4) -> bool {
        self.weight(real_server).is_some_and(|weight| weight > 0)
    }

    /// Those of its entries that `other` has too.
    fn common_with(&self, other: &Self) -> Self {
        let mut common = self.clone();
        common.virtual_servers.retain(|key, server| {
            let Some(wanted) = other.virtual_servers.get(key) else { return false };
            server.destinations.retain(|address, _| wanted.destinations.contains_key(address));
            true
        });
        common
    }

    /// Entries of `self` that `later` does not have.
    fn vanished_in(&self, later: &Self) -> usize {
        let mut count = 0;
        for (key, server) in &self.virtual_servers {
            let Some(kept) = later.virtual_servers.get(key) else {
                count += 1 + server.destinations.len();
                continue;
            };
            count +=
                server.destinations.keys().filter(|k| !kept.destinations.contains_key(k)).count();
        }
        count
    }
}

type History = Arc<Mutex<Vec<(Instant, Table)>>>;

/// Watches the tables of some directors until dropped.
#[derive(Debug)]
pub(crate) struct TableWatch {
    directors: BTreeMap<&'static str, History>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TableWatch {
    /// Begins.
    pub(crate) fn start(directors: &[&'static str]) -> Result<Self> {
        let mut histories = BTreeMap::new();
        let mut files = Vec::new();
        for director in directors {
            // The open file stays bound to the namespace of the thread that opened it.
            let file = namespace::inside(director, || {
                File::open("/proc/thread-self/net/ip_vs").context("the kernel has no IPVS table")
            })?;
            let history = History::default();
            history
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((Instant::now(), read(&file)?));
            histories.insert(*director, Arc::clone(&history));
            files.push((file, history));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let paused = Arc::new(AtomicBool::new(false));
        let (stopped, pauses) = (Arc::clone(&stop), Arc::clone(&paused));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let looked_at = if pauses.load(Ordering::Relaxed) { &[] } else { files.as_slice() };
                for (file, history) in looked_at {
                    // A sample that cannot be read is skipped; the next one comes in 5 ms.
                    let Ok(table) = read(file) else { continue };
                    let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
                    if history.last().is_none_or(|(_, last)| *last != table) {
                        history.push((Instant::now(), table));
                    }
                }
                std::thread::sleep(SAMPLE_EVERY);
            }
        });
        Ok(Self { directors: histories, paused, stop, thread: Some(thread) })
    }

    /// Stops looking, or looks again: a large table takes all of one processor to read every few milliseconds.
    pub(crate) fn pause(&self, pauses: bool) {
        self.paused.store(pauses, Ordering::Relaxed);
    }

    /// The director's table now.
    pub(crate) fn now(&self, director: &str) -> Table {
        self.history(director).last().map(|(_, table)| table.clone()).unwrap_or_default()
    }

    /// When the director's table first was as wanted, at or after `since`.
    pub(crate) fn first_since(
        &self,
        director: &str,
        since: Instant,
        wanted: impl Fn(&Table) -> bool,
    ) -> Option<Instant> {
        let history = self.history(director);
        // The state in force at `since` counts as of `since`.
        let in_force = history.iter().rposition(|(at, _)| *at <= since).unwrap_or(0);
        history[in_force..].iter().find(|(_, table)| wanted(table)).map(|(at, _)| (*at).max(since))
    }

    /// Waits until the tables of all the named directors have been as wanted since `since`; answers with the moment of
    /// the last of them.
    pub(crate) fn wait_all(
        &self,
        what: &str,
        directors: &[&str],
        since: Instant,
        timeout: Duration,
        wanted: impl Fn(&Table) -> bool,
    ) -> Result<Instant> {
        loop {
            let found: Option<Vec<Instant>> = directors
                .iter()
                .map(|director| self.first_since(director, since, &wanted))
                .collect();
            if let Some(last) = found.and_then(|found| found.into_iter().max()) {
                return Ok(last);
            }
            if since.elapsed() > timeout {
                let tables: Vec<String> =
                    directors.iter().map(|d| format!("{d}: {:?}", self.now(d))).collect();
                bail!("waited {timeout:?} in vain: {what}; tables now: {}", tables.join("; "));
            }
            std::thread::sleep(SAMPLE_EVERY);
        }
    }

    /// The director's table at a moment.
    pub(crate) fn at(&self, director: &str, moment: Instant) -> Table {
        let history = self.history(director);
        let in_force = history.iter().rfind(|(at, _)| *at <= moment);
        in_force.map(|(_, table)| table.clone()).unwrap_or_default()
    }

    /// Weights of a real server in the director's table since then, each with when it was first seen; those that follow
    /// each other differ.
    pub(crate) fn weights_since(
        &self,
        director: &str,
        since: Instant,
        real_server: SocketAddrV4,
    ) -> Vec<(Instant, Option<u32>)> {
        let later = self.history(director).into_iter().filter(|(at, _)| *at > since);
        let mut weights = vec![(since, self.at(director, since).weight(real_server))];
        weights.extend(later.map(|(at, table)| (at, table.weight(real_server))));
        weights.dedup_by_key(|(_, weight)| *weight);
        weights
    }

    /// How often an entry of `table` was there in one sample and gone in the next, since `since`.
    pub(crate) fn vanished_of(&self, table: &Table, director: &str, since: Instant) -> usize {
        let mut before = table.clone();
        let mut count = 0;
        for (_, sample) in self.history(director).iter().filter(|(at, _)| *at > since) {
            let sample = sample.common_with(table);
            count += before.vanished_in(&sample);
            before = sample;
        }
        count
    }

    fn history(&self, director: &str) -> Vec<(Instant, Table)> {
        self.directors
            .get(director)
            .map(|history| history.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }
}

impl Drop for TableWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread only reads and keeps; if it panicked, the samples it kept were used already.
            let _ = thread.join();
        }
    }
}

/// Reads the table anew: `/proc` makes it again for each read from the start.
fn read(file: &File) -> Result<Table> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let length = file.read_at(&mut chunk, bytes.len() as u64)?;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..length]);
    }
    parse(&String::from_utf8_lossy(&bytes))
}

/// Reads the text of `/proc/net/ip_vs` (`net/netfilter/ipvs/ip_vs_ctl.c`, `ip_vs_info_seq_show`).
fn parse(text: &str) -> Result<Table> {
    let mut table = Table::default();
    let mut current: Option<&mut VirtualServer> = None;
    // Three lines of headings.
    for line in text.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["->", address, forwarding, weight, ..] => {
                let server = current.as_mut().context("a real server without a virtual server")?;
                let weight = weight.parse().with_context(|| format!("weight in {line:?}"))?;
                server
                    .destinations
                    .insert(address_of(address)?, ((*forwarding).to_owned(), weight));
            }
            [protocol @ ("TCP" | "UDP" | "FWM"), address, scheduler, ..] => {
                let key = match *protocol {
                    "FWM" => key_of_mark(u32::from_str_radix(address, 16)?),
                    _ => key_of_address(protocol, address_of(address)?),
                };
                let server = table.virtual_servers.entry(key).or_default();
                (*scheduler).clone_into(&mut server.scheduler);
                current = Some(server);
            }
            [] => {}
            _ => bail!("unexpected line in the IPVS table: {line:?}"),
        }
    }
    Ok(table)
}

/// The key of a virtual server by address.
pub(crate) fn key_of_address(protocol: &str, address: SocketAddrV4) -> String {
    format!("{protocol} {address}")
}

/// The key of a virtual server by firewall mark.
pub(crate) fn key_of_mark(mark: u32) -> String {
    format!("FWM {mark}")
}

/// Reads `C0A80196:0050`.
fn address_of(text: &str) -> Result<SocketAddrV4> {
    let parsed = text.split_once(':').and_then(|(address, port)| {
        let address = u32::from_str_radix(address, 16).ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(SocketAddrV4::new(Ipv4Addr::from(address), port))
    });
    parsed.with_context(|| format!("{text:?} is no address of an IPVS table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0A80196:0050 rr  
  -> C0A8018B:0050      Route   1      0          7         
  -> C0A8018A:0050      Route   0      2          0         
";

    #[test]
    fn reads_the_kernels_table() {
        let table = parse(TEXT).expect("a kernel's table");
        let web1 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 138), 80);
        let web2 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 139), 80);
        assert_eq!(table.virtual_servers["TCP 192.168.1.150:80"].scheduler, "rr");
        assert_eq!((table.weight(web1), table.weight(web2)), (Some(0), Some(1)));
        assert!(table.serves(web2) && !table.serves(web1));
        assert!(parse("a\nb\nc\nnonsense here\n").is_err());
    }

    #[test]
    fn counts_what_vanished() {
        let full = parse(TEXT).expect("a kernel's table");
        let without_web1 =
            parse(&TEXT.lines().take(5).collect::<Vec<_>>().join("\n")).expect("a kernel's table");
        assert_eq!(full.vanished_in(&full), 0);
        assert_eq!(full.vanished_in(&without_web1), 1);
        assert_eq!(full.vanished_in(&Table::default()), 3);
        assert_eq!(without_web1.vanished_in(&full), 0);
    }
}
