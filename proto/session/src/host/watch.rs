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

/// Why nothing is known while a look lasts longer than that.
const HANGS: &str = "the look at the host does not end";

/// Looks at once, when what is wanted changes, and every 30 s, on a thread where it may wait for the kernel. Ends when
/// the sender of `wanted` is gone.
pub fn follow<W, L>(role: HostRole, wanted: watch::Receiver<W>, look: L) -> watch::Receiver<Look>
where
    W: Clone + Send + Sync + 'static,
    L: Fn(&W, PacketFilter) -> Look + Send + Sync + 'static,
{
    follow_within(EVERY, role, wanted, look)
}

/// As [`follow`]. A look that takes longer than `bound` is told of, and waited for: no second one begins beside it, so that
/// only one thread hangs with the host.
fn follow_within<W, L>(
    bound: Duration,
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
            let mut looking = tokio::task::spawn_blocking(move || Look::merge([look(&of, filter)]));
            let in_time = tokio::time::timeout(bound, &mut looking).await;
            let looked = if let Ok(looked) = in_time {
                looked
            } else {
                hang(&sender, role);
                tokio::select! {
                    looked = looking => looked,
                    () = sender.closed() => return,
                }
            };
            match looked {
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

/// Nothing is known to be well any more. What was found stays, for nobody has seen it go.
fn hang(sender: &watch::Sender<Look>, role: HostRole) {
    tracing::error!("{HANGS}: a disk or the kernel does not answer");
    let Look { findings, .. } = sender.borrow().clone();
    tell(sender, Look { findings, ..Look::unseen(role, HANGS) });
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use fulcrum_proto::finding::Code;

    use super::*;

    #[tokio::test]
    async fn a_look_that_hangs_is_told_and_no_second_one_begins() {
        let (answer, answers) = mpsc::channel::<Look>();
        let answers = Mutex::new(answers);
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let (wants, wanted) = watch::channel(());
        let bound = Duration::from_millis(20);
        let mut told = follow_within(bound, HostRole::Controller, wanted, move |(), _| {
            counted.fetch_add(1, Ordering::SeqCst);
            let answers = answers.lock().expect("nobody panics with it");
            answers.recv().expect("an answer comes")
        });
        let hangs = |look: &Look| look.unchecked.iter().any(|unseen| unseen.why == HANGS);
        told.wait_for(hangs).await.expect("it is told");
        // What is wanted anew waits for the one that hangs, too.
        wants.send(()).expect("it is followed");
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        let found = Look::from(vec![Code::DiskSpace.error("/", "full", "free space")]);
        answer.send(found.clone()).expect("it is waited for");
        told.wait_for(|look| *look == found).await.expect("it is told");
        // The next one hangs, too: what was found is still told.
        let next = told.wait_for(hangs).await.expect("it is told").clone();
        assert_eq!((next.findings, begun.load(Ordering::SeqCst)), (found.findings, 2));
        answer.send(Look::default()).expect("it is waited for");
    }
}
