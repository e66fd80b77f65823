//! Interfaces with VRRP on them: their sockets, and when what could not be opened is tried again.

use std::collections::BTreeMap;
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

/// Opens what is wanted on interfaces that have come, and closes the rest. `wanted`: each interface,
/// and whether over IPv6.
pub(super) fn keep(
    now: Duration,
    links: &mut BTreeMap<String, Link>,
    wanted: &BTreeMap<&str, bool>,
    view: &View,
    sources: &Sources,
) {
    links.retain(|name, _| wanted.contains_key(name.as_str()));
    for (&name, &wants_v6) in wanted {
        match (view.interfaces.get(name), links.get_mut(name)) {
            // Another interface may have taken the name since.
            (Some(interface), Some(link)) if link.tried.index == interface.index => {
                link.keep(now, name, interface, wants_v6, sources);
            }
            (Some(interface), known) if interface.is_up => {
                let discarded = known.map(|known| std::mem::take(&mut known.discarded));
                let mut link = Link::open(now, name, interface, wants_v6, sources);
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
    fn open(
        now: Duration,
        name: &str,
        interface: &Interface,
        wants_v6: bool,
        sources: &Sources,
    ) -> Self {
        let mut link = Self {
            socket: open(name, interface, sources),
            arp: ArpEar::open(name),
            discarded: BTreeMap::new(),
            tried: interface.clone(),
            retry_at: None,
        };
        link.note_try(now, wants_v6);
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
    fn keep(
        &mut self,
        now: Duration,
        name: &str,
        interface: &Interface,
        wants_v6: bool,
        sources: &Sources,
    ) {
        if !interface.is_up || self.is_whole(wants_v6) {
            self.retry_at = None;
            return;
        }
        if self.tried == *interface && self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.tried = interface.clone();
        if let Ok(socket) = &mut self.socket {
            socket.reopen_v6(name, |v6| sources.add(v6));
        } else {
            self.socket = open(name, interface, sources);
            self.arp = ArpEar::open(name);
        }
        self.note_try(now, wants_v6);
    }

    fn note_try(&mut self, now: Duration, wants_v6: bool) {
        self.retry_at = (!self.is_whole(wants_v6)).then_some(now + TRY_EVERY);
    }

    fn is_whole(&self, wants_v6: bool) -> bool {
        self.socket().is_some_and(|socket| !wants_v6 || socket.error_v6().is_none())
    }
}

fn open(name: &str, interface: &Interface, sources: &Sources) -> io::Result<AdvertSocket> {
    let socket = AdvertSocket::open(name, interface.index)?;
    socket.fds().try_for_each(|fd| sources.add(fd))?;
    Ok(socket)
}
