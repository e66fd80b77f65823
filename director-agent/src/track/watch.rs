//! Watches the kernel's interfaces, addresses and routes, on a thread of its own: a dump of a large
//! routing table takes its time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fulcrum_model::vrrp::TrackTarget;
use fulcrum_vrrp::track::TargetState;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::watch;

use super::kernel::{Kernel, Noted};
use crate::addresses::netlink::{Heard, RouteSocket};
use crate::vrrp::wake::{Inbox, Outbox, mailbox};

/// Everything is read again this often, whatever notifications say.
const RESYNC: Duration = Duration::from_secs(30);
/// After a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Reading the routes takes at most one part in so many of the time, however often they change.
const ROUTES_SHARE: u32 = 10;

/// What is to be watched.
pub(super) type Targets = BTreeSet<TrackTarget>;
/// What was seen of it.
pub(super) type States = BTreeMap<TrackTarget, TargetState>;

struct Watcher {
    kernel: Kernel,
    requests: RouteSocket,
    notifications: RouteSocket,
    groups: u32,
    read_at: Instant,
    /// The routes are to be read then.
    routes_due: Option<Instant>,
    /// Not sooner.
    routes_from: Instant,
}

/// Starts the thread, which ends when nobody can say any more what to watch.
///
/// # Errors
/// When the sockets or the thread cannot be made.
pub(super) fn spawn() -> io::Result<(Outbox<Targets>, watch::Receiver<States>)> {
    let (outbox, inbox) = mailbox::<Targets>()?;
    let (seen, states) = watch::channel(States::new());
    let mut watcher = Watcher {
        kernel: Kernel::default(),
        requests: RouteSocket::for_requests()?,
        notifications: RouteSocket::for_notifications(0)?,
        groups: 0,
        read_at: Instant::now(),
        routes_due: None,
        routes_from: Instant::now(),
    };
    std::thread::Builder::new().name("track".to_owned()).spawn(move || {
        while let Some(orders) = watcher.wait(&inbox) {
            watcher.turn(orders);
            let states = watcher.kernel.states();
            seen.send_if_modified(|last| {
                let is_new = *last != states;
                *last = states;
                is_new
            });
        }
    })?;
    Ok((outbox, states))
}

impl Watcher {
    fn wait(&self, inbox: &Inbox<Targets>) -> Option<Vec<Targets>> {
        let now = Instant::now();
        let resync = self.read_at + RESYNC;
        let until = self.routes_due.map_or(resync, |due| due.min(resync));
        let rest = until.saturating_duration_since(now);
        // Rounded up, so that it is over when it returns.
        let rest = PollTimeout::try_from(rest + Duration::from_millis(1));
        let mut fds = [
            PollFd::new(inbox.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.notifications.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted or failed wait is a turn with nothing to do.
        let _ = poll(&mut fds, rest.unwrap_or(PollTimeout::MAX));
        inbox.take()
    }

    fn turn(&mut self, orders: Vec<Targets>) {
        // The newest counts.
        if let Some(targets) = orders.last() {
            self.kernel.want(targets);
            self.listen();
        }
        match self.notifications.notifications() {
            Ok(Heard::Messages(messages)) => {
                for message in &messages {
                    if self.kernel.note(message) == Noted::RoutesChanged {
                        self.routes_due.get_or_insert(self.routes_from);
                    }
                }
            }
            Ok(Heard::Lost) => self.read(),
            Err(error) => {
                tracing::warn!(%error, "cannot hear of changes of tracked targets; they are read again");
                self.read();
            }
        }
        let now = Instant::now();
        if now >= self.read_at + RESYNC {
            self.read();
        } else if self.routes_due.is_some_and(|due| now >= due) {
            self.read_routes();
        }
    }

    /// Listens to what is tracked, then reads it, so that no change falls between.
    fn listen(&mut self) {
        if self.kernel.groups() != self.groups {
            match RouteSocket::for_notifications(self.kernel.groups()) {
                Ok(socket) => {
                    self.notifications = socket;
                    self.groups = self.kernel.groups();
                }
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "cannot hear of changes of tracked targets: they are read every {} s",
                        RESYNC.as_secs()
                    );
                }
            }
        }
        self.read();
    }

    fn read(&mut self) {
        self.read_at = Instant::now();
        let result = self.kernel.read(&mut self.requests);
        self.finish(result, self.read_at);
    }

    fn read_routes(&mut self) {
        let started = Instant::now();
        let result = self.kernel.read_routes(&mut self.requests);
        self.finish(result, started);
    }

    fn finish(&mut self, result: io::Result<()>, started: Instant) {
        let now = Instant::now();
        self.routes_due = None;
        self.routes_from = now + ROUTES_SHARE * now.saturating_duration_since(started);
        if let Err(error) = result {
            tracing::warn!(%error, "cannot read tracked interfaces, addresses and routes");
            self.read_at = now.checked_sub(RESYNC).map_or(now, |long_ago| long_ago + RETRY);
        }
    }
}
