//! Looks again and again, and tells what has changed.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::finding::{HostRole, Look};
use fulcrum_proto::v1::Finding;
use tokio::sync::watch;

use super::facts::PacketFilter;
use super::read::packet_filter;

/// What other programs do to a host is found within so long.
const EVERY: Duration = Duration::from_secs(30);
/// Shortest time between two looks, so that plans that change many times a second cost nothing.
const SHORTEST: Duration = Duration::from_secs(1);
/// Between the two.
const REST: Duration = EVERY.saturating_sub(SHORTEST);

/// Looks at once, when what is wanted changes, and every 30 s, on a thread where it may wait for the kernel. Ends when
/// the sender of `wanted` is gone.
pub fn follow<W, L>(
    role: HostRole,
    mut wanted: watch::Receiver<W>,
    look: L,
) -> watch::Receiver<Look>
where
    W: Clone + Send + Sync + 'static,
    L: Fn(&W, PacketFilter) -> Look + Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(Look::not_yet(role));
    let look = Arc::new(look);
    tokio::spawn(async move {
        loop {
            let of = wanted.borrow_and_update().clone();
            let filter = match role {
                HostRole::Director | HostRole::RealServer => packet_filter().await,
                // No client's packet passes there.
                HostRole::Controller => PacketFilter::default(),
            };
            let look = Arc::clone(&look);
            match tokio::task::spawn_blocking(move || Look::merge([look(&of, filter)])).await {
                Ok(found) => tell(&sender, found),
                Err(error) => tracing::error!(%error, "cannot look at the host; trying on"),
            }
            // A bound of the pace, not a wait for something.
            tokio::time::sleep(SHORTEST).await;
            let changed = tokio::time::timeout(REST, wanted.changed()).await;
            if matches!(changed, Ok(Err(_))) || sender.is_closed() {
                return;
            }
        }
    });
    receiver
}

/// Logs what is new and what has gone, and passes the list on where it differs.
fn tell(sender: &watch::Sender<Look>, new: Look) {
    sender.send_if_modified(|known| {
        let (told, found) = (&known.findings, &new.findings);
        let is_same = |a: &Finding, b: &Finding| a.code == b.code && a.subject == b.subject;
        for finding in found {
            if !told.iter().any(|old| is_same(old, finding)) {
                let Finding { code, subject, found, remedy, .. } = finding;
                tracing::warn!(code, subject, found, remedy, "found on this host");
            }
        }
        for gone in told.iter().filter(|old| !found.iter().any(|now| is_same(old, now))) {
            tracing::info!(code = gone.code, subject = gone.subject, "no longer found");
        }
        let has_changed = *known != new;
        *known = new;
        has_changed
    });
}
