//! Drops packets to the VIPs of instances with `no_accept`, but for those that IPVS takes
//! (`Accept_Mode` false, RFC 9568 §6.1).
//!
//! A packet for this host passes IPVS at priorities 98 and 99, `NF_IP_PRI_NAT_SRC - 2` and `- 1`
//! (`net/netfilter/ipvs/ip_vs_core.c`); what it takes, ICMP about its connections included, goes no
//! further. So whoever comes at 150 is left for a program of this host, or for the kernel itself.
//! Neighbour discovery is let through (RFC 9568 §6.4.3).
//!
//! The addresses are closed for as long as the instance runs here, so that a take-over need not
//! wait for it: a Backup must not accept packets for them either (§6.4.2).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::journal::Journal;
use super::table_ear::{Heard, TableEar};

/// The program that writes the rules: of nftables, found by `PATH`.
const NFT: &str = "nft";
/// Our table.
const TABLE: &str = "fulcrum_vrrp";
/// As long as other changes of the kernel may take: VIPs must be renewed meanwhile.
const WITHIN: Duration = Duration::from_secs(2);
/// What failed is tried again after this long: each try may take [`WITHIN`].
const RETRY: Duration = Duration::from_secs(10);
/// As much of the program's complaint is told.
const COMPLAINT_BYTES: usize = 256;

/// Keeps the rules, by a table that is ours alone.
#[derive(Debug)]
pub(super) struct Gate {
    nft: PathBuf,
    within: Duration,
    /// Whether to hear of what others do to the rules.
    hears: bool,
    /// While something is closed.
    ear: Option<TableEar>,
    /// What is closed; none when that is not known.
    standing: Option<BTreeSet<IpAddr>>,
    /// Somebody may have changed the rules since.
    is_doubtful: bool,
    failure: Option<(Instant, String)>,
}

/// Why the rules could not be written.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("this host has no program nft: install nftables, or leave no_accept out")]
    Missing,
    #[error("nft did not end within {0:?}: see whether `nft list ruleset` hangs, too")]
    Hangs(Duration),
    #[error(
        "nft says {0:?}: see whether the kernel has nf_tables (`modprobe nf_tables`), or leave \
         no_accept out"
    )]
    Refused(String),
    #[error(
        "{0}: see whether the agent may write its state directory and run nft, or leave no_accept out"
    )]
    Io(#[from] io::Error),
}

impl Gate {
    /// One that knows nothing of what an earlier life has left.
    pub(super) fn new() -> Self {
        Self { hears: true, ..Self::with(PathBuf::from(NFT), WITHIN) }
    }

    fn with(nft: PathBuf, within: Duration) -> Self {
        let (standing, is_doubtful, failure) = (None, false, None);
        Self { nft, within, hears: false, ear: None, standing, is_doubtful, failure }
    }

    /// Closes these at least: before a VIP is bound.
    pub(super) fn widen(&mut self, now: Instant, journal: &mut Journal, wanted: &BTreeSet<IpAddr>) {
        if wanted.iter().all(|address| self.closes(*address)) {
            self.failure = None;
            return;
        }
        let standing = self.standing.iter().flatten();
        self.write(now, journal, &standing.chain(wanted).copied().collect());
    }

    /// Closes exactly these: after those that are left out were removed.
    pub(super) fn narrow(
        &mut self,
        now: Instant,
        journal: &mut Journal,
        wanted: &BTreeSet<IpAddr>,
    ) {
        if self.standing.as_ref() == Some(wanted) && !self.is_doubtful {
            self.failure = None;
            return;
        }
        self.write(now, journal, wanted);
    }

    /// Whether packets to the address are dropped.
    pub(super) fn closes(&self, address: IpAddr) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.contains(&address))
    }

    /// Hears whether somebody has deleted the rules: then nothing is closed.
    pub(super) fn hear(&mut self) {
        match self.ear.as_mut().map_or(Heard::Nothing, |ear| ear.hear(TABLE)) {
            Heard::Nothing => {}
            Heard::Unsure => self.doubt(),
            Heard::Deleted => {
                tracing::warn!("another program has deleted the table inet {TABLE}");
                self.standing = Some(BTreeSet::new());
                self.failure = None;
            }
        }
    }

    /// Readable when there is something to [`Self::hear`].
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.ear.as_ref().map(TableEar::as_fd)
    }

    /// Somebody may have changed the rules: they are written again.
    pub(super) fn doubt(&mut self) {
        self.is_doubtful = self.standing.as_ref().is_some_and(|standing| !standing.is_empty());
    }

    /// Why the last try failed, with the remedy: then an address may not be closed.
    pub(super) fn failure(&self) -> Option<&String> {
        self.failure.as_ref().map(|(_, text)| text)
    }

    /// How long until what failed is tried again.
    pub(super) fn retry_in(&self, now: Instant) -> Option<Duration> {
        let (at, _) = self.failure.as_ref()?;
        Some(at.saturating_duration_since(now))
    }

    fn write(&mut self, now: Instant, journal: &mut Journal, closed: &BTreeSet<IpAddr>) {
        if self.retry_in(now).is_some_and(|rest| !rest.is_zero()) {
            return;
        }
        if closed.is_empty() && !journal.entries().closes {
            // No life of this boot has made the table: nft need not be there.
            self.standing = Some(BTreeSet::new());
            self.failure = None;
            return;
        }
        match self.replace(journal, closed) {
            Ok(()) => {
                tracing::info!(?closed, "packets to VIPs that IPVS does not take are dropped");
                self.failure = None;
            }
            Err(trouble) => {
                let text = format!("cannot drop packets to VIPs with no_accept: {trouble}");
                if self.failure().is_none_or(|known| *known != text) {
                    tracing::error!("{text}");
                }
                // As before: nft changes everything or nothing.
                self.failure = Some((now + RETRY, text));
            }
        }
    }

    fn replace(&mut self, journal: &mut Journal, closed: &BTreeSet<IpAddr>) -> Result<(), Trouble> {
        if !closed.is_empty() {
            journal.edit(|entries| entries.closes = true)?;
        }
        if self.hears && self.ear.is_none() {
            self.ear = Some(TableEar::open()?);
        }
        run(&self.nft, self.within, &rules(closed))?;
        (self.standing, self.is_doubtful) = (Some(closed.clone()), false);
        // The kernel has told of our own change before nft has ended.
        let _ = self.ear.as_mut().map(|ear| ear.hear(TABLE));
        if closed.is_empty() {
            self.ear = None;
            if let Err(error) = journal.edit(|entries| entries.closes = false) {
                // The next life looks for rules that are gone already.
                tracing::warn!(%error, "cannot write down that no packets are dropped");
            }
        }
        Ok(())
    }
}

/// The transaction after which exactly these addresses are closed, whatever was there before.
fn rules(closed: &BTreeSet<IpAddr>) -> String {
    // To delete what is not there is an error; to add what is there is none.
    let remove = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
    if closed.is_empty() {
        return remove;
    }
    let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = closed.iter().partition(|ip| ip.is_ipv4());
    let (v4, v6) = (set("closed", "ipv4_addr", &v4), set("closed6", "ipv6_addr", &v6));
    let chain = " chain input {\n  type filter hook input priority 150; policy accept;\n  \
                 ip daddr @closed counter drop\n  \
                 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n  \
                 ip6 daddr @closed6 counter drop\n }\n";
    format!("{remove}table inet {TABLE} {{\n{v4}{v6}{chain}}}\n")
}

fn set(name: &str, kind: &str, addresses: &[&IpAddr]) -> String {
    let elements: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let elements = match elements.as_slice() {
        [] => String::new(),
        elements => format!(" elements = {{ {} }};", elements.join(", ")),
    };
    format!(" set {name} {{ type {kind};{elements} }}\n")
}

fn run(nft: &PathBuf, within: Duration, rules: &str) -> Result<(), Trouble> {
    // A file and no pipe: a program that does not read must not make us wait.
    let mut input =
        File::from(memfd_create(c"nft", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?);
    input.write_all(rules.as_bytes())?;
    input.rewind()?;
    lend_capability();
    let mut command = Command::new(nft);
    command.args(["-f", "-"]).stdin(input).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::Missing,
        _ => Trouble::Io(error),
    })?;
    let complaint = listen(&mut child, within);
    if complaint.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let complaint = complaint?;
    if status.success() { Ok(()) } else { Err(Trouble::Refused(complaint)) }
}

/// A program inherits the right to change rules by the ambient set alone, unless it is root's.
fn lend_capability() {
    // A unit grants it so, and its filter of system calls lets nobody change it.
    if caps::has_cap(None, CapSet::Ambient, Capability::CAP_NET_ADMIN).unwrap_or(false) {
        return;
    }
    for set in [CapSet::Inheritable, CapSet::Ambient] {
        if let Err(error) = caps::raise(None, set, Capability::CAP_NET_ADMIN) {
            tracing::debug!(?set, %error, "nft may lack CAP_NET_ADMIN");
        }
    }
}

/// What the program complains of until it ends: the first line.
fn listen(child: &mut Child, within: Duration) -> Result<String, Trouble> {
    let until = Instant::now() + within;
    let mut said = Vec::new();
    let Some(stderr) = &mut child.stderr else { return Ok(String::new()) };
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => return Err(Trouble::Hangs(within)),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let mut part = [0; COMPLAINT_BYTES];
        let length = stderr.read(&mut part)?;
        if length == 0 {
            break;
        }
        let room = COMPLAINT_BYTES - said.len();
        said.extend_from_slice(&part[..length.min(room)]);
    }
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    /// A host whose nft is this program.
    struct Host {
        directory: tempfile::TempDir,
        journal: Journal,
        gate: Gate,
    }

    fn host(nft: &str, within: Duration) -> Host {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(directory.path(), "boot");
        Host { directory, journal, gate: Gate::with(PathBuf::from(nft), within) }
    }

    #[test]
    fn one_transaction_closes_exactly_the_addresses() {
        let remove = "table inet fulcrum_vrrp\ndelete table inet fulcrum_vrrp\n";
        assert_eq!(rules(&addresses(&[])), remove);
        for (closed, v4, v6) in [
            (&["10.0.0.9"][..], " elements = { 10.0.0.9 };", ""),
            (&["fe80::9", "2001:db8::9"], "", " elements = { 2001:db8::9, fe80::9 };"),
            (
                &["10.0.0.9", "10.0.0.8", "::2"],
                " elements = { 10.0.0.8, 10.0.0.9 };",
                " elements = { ::2 };",
            ),
        ] {
            let expected = format!(
                "{remove}table inet fulcrum_vrrp {{
 set closed {{ type ipv4_addr;{v4} }}
 set closed6 {{ type ipv6_addr;{v6} }}
 chain input {{
  type filter hook input priority 150; policy accept;
  ip daddr @closed counter drop
  icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
  ip6 daddr @closed6 counter drop
 }}
}}
"
            );
            assert_eq!(rules(&addresses(closed)), expected);
        }
    }

    #[test]
    fn the_reason_of_a_failure_has_its_remedy() {
        // `sh -f -` takes the rules for commands, and `tail -f -` never ends.
        for (nft, reason) in [
            ("/nonexistent/nft", "install nftables, or leave no_accept out"),
            ("/bin/sh", "table: not found"),
            ("/usr/bin/tail", "did not end within"),
        ] {
            let Host { mut journal, mut gate, directory: _directory } =
                host(nft, Duration::from_millis(50));
            let now = Instant::now();
            gate.widen(now, &mut journal, &addresses(&["10.0.0.9"]));
            let failure = gate.failure().expect("it cannot be done");
            assert!(failure.contains(reason), "{failure}");
            assert!(!gate.closes(IpAddr::from([10, 0, 0, 9])));
            assert_eq!(gate.retry_in(now), Some(RETRY), "it is not tried at every turn");
            gate.nft = PathBuf::from("/bin/true");
            gate.widen(now + RETRY, &mut journal, &addresses(&["10.0.0.9"]));
            assert_eq!((gate.failure(), gate.retry_in(now)), (None, None));
            assert!(gate.closes(IpAddr::from([10, 0, 0, 9])));
        }
    }

    #[test]
    fn addresses_are_closed_before_and_opened_after() {
        let Host { directory: _directory, mut journal, mut gate } = host("/bin/true", WITHIN);
        let now = Instant::now();
        let (one, other) = (addresses(&["10.0.0.8"]), addresses(&["10.0.0.9"]));
        for (wanted, widened) in [
            (&one, one.clone()),
            (&other, one.union(&other).copied().collect()),
            (&BTreeSet::new(), other.clone()),
        ] {
            gate.widen(now, &mut journal, wanted);
            assert_eq!(gate.standing, Some(widened));
            gate.narrow(now, &mut journal, wanted);
            assert_eq!(gate.standing.as_ref(), Some(wanted));
            assert_eq!(journal.entries().closes, !wanted.is_empty());
        }
    }

    #[test]
    fn a_journal_that_cannot_be_written_opens_nothing_and_is_not_tried_without_end() {
        let Host { directory, mut journal, mut gate } = host("/bin/true", WITHIN);
        let now = Instant::now();
        let wanted = addresses(&["10.0.0.9"]);
        gate.widen(now, &mut journal, &wanted);
        directory.close().expect("it can be removed");
        gate.narrow(now, &mut journal, &BTreeSet::new());
        assert_eq!((gate.standing.clone(), gate.retry_in(now)), (Some(BTreeSet::new()), None));
        gate.widen(now, &mut journal, &wanted);
        assert!(!gate.closes(IpAddr::from([10, 0, 0, 9])) && gate.failure().is_some());
        gate.narrow(now, &mut journal, &BTreeSet::new());
        assert_eq!(gate.retry_in(now), None, "nothing is to be closed any more");
    }

    #[test]
    fn who_closes_nothing_needs_no_nft_but_to_clear_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::open(directory.path(), "boot");
        let gate = || Gate::with(PathBuf::from("/nonexistent/nft"), WITHIN);
        let mut first = gate();
        first.narrow(Instant::now(), &mut journal, &BTreeSet::new());
        assert_eq!(first.standing, Some(BTreeSet::new()));
        journal.edit(|entries| entries.closes = true).expect("it can be written");
        let mut later = gate();
        later.narrow(Instant::now(), &mut journal, &BTreeSet::new());
        assert_eq!(later.standing, None, "an earlier life's table is still there");
    }

    #[test]
    fn rules_that_may_have_been_changed_are_written_again() {
        let Host { directory: _directory, mut journal, mut gate } = host("/bin/true", WITHIN);
        let closed = addresses(&["10.0.0.9"]);
        gate.widen(Instant::now(), &mut journal, &closed);
        gate.doubt();
        gate.nft = PathBuf::from("/nonexistent/nft");
        gate.narrow(Instant::now(), &mut journal, &closed);
        assert!(gate.failure().is_some());
        assert!(gate.closes(IpAddr::from([10, 0, 0, 9])), "most likely they still stand");
    }
}
