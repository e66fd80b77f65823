//! Interfaces with VRRP on them: their sockets, and when what could not be opened is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use super::rivals::ArpEar;
use super::sockets::AdvertSocket;
use super::sources::Sources;
use crate::addresses::{Interface, View};

/// Least time between two tries to open a socket while the interface does not change.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// An interface with VRRP on it.
pub(super) struct Link {
    pub(super) socket: io::Result<AdvertSocket>,
    pub(super) arp: Option<ArpEar>,
    /// Packets that no instance took, by reason.
    pub(super) discarded: BTreeMap<&'static str, u64>,
    /// As it was at the last try.
    tried: Interface,
    retry_at: Option<Duration>,
}

/// Opens what is wanted on interfaces that have come, and closes the rest.
pub(super) fn keep(
    now: Duration,
    links: &mut BTreeMap<String, Link>,
    wanted: &BTreeSet<&str>,
    view: &View,
    sources: &Sources,
) {
    links.retain(|name, _| wanted.contains(name.as_str()));
    for &name in wanted {
        match (view.interfaces.get(name), links.get_mut(name)) {
            // Another interface may have taken the name since.
            (Some(interface), Some(link)) if link.tried.index == interface.index => {
                link.keep(now, name, interface, sources);
            }
            (Some(interface), known) if interface.is_up => {
                let discarded = known.map(|known| std::mem::take(&mut known.discarded));
                let mut link = Link::open(now, name, interface, sources);
                link.discarded = discarded.unwrap_or_default();
                links.insert(name.to_owned(), link);
            }
            (Some(_) | None, _) => {
                links.remove(name);
            }
        }
    }
}

impl Link {
    /// Opens the sockets of an interface.
    fn open(now: Duration, name: &str, interface: &Interface, sources: &Sources) -> Self {
        let mut link = Self {
            socket: open(name, interface, sources),
            arp: ArpEar::open(name),
            discarded: BTreeMap::new(),
            tried: interface.clone(),
            retry_at: None,
        };
        link.note_try(now);
        link
    }

    /// The sockets for adverts, if they are open.
    pub(super) fn socket(&self) -> Option<&AdvertSocket> {
        self.socket.as_ref().ok()
    }

    /// When [`keep`] is due, if the interface does not change.
    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Tries again what is wanted and could not be opened.
    fn keep(&mut self, now: Duration, name: &str, interface: &Interface, sources: &Sources) {
        if !interface.is_up || self.socket.is_ok() {
            self.retry_at = None;
            return;
        }
        if self.tried == *interface && self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.tried = interface.clone();
        self.socket = open(name, interface, sources);
        self.arp = ArpEar::open(name);
        self.note_try(now);
    }

    fn note_try(&mut self, now: Duration) {
        self.retry_at = self.socket.is_err().then_some(now + TRY_EVERY);
    }
}

fn open(name: &str, interface: &Interface, sources: &Sources) -> io::Result<AdvertSocket> {
    let socket = AdvertSocket::open(name, interface.index)?;
    socket.fds().try_for_each(|fd| sources.add(fd))?;
    Ok(socket)
}
