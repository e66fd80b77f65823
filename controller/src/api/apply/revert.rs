//! Undoing what nobody confirms in time.
//!
//! Every controller notes when it first saw a change that waits; the one that leads undoes it when the time has passed since then, by
//! the monotonic clock. One that was restarted waits anew: too late is annoying, too early takes a good change away.

use std::time::Duration;

use fulcrum_intent::history::Entry;
use fulcrum_model::Revision;
use fulcrum_proto::convert::{duration_to_text, kind_to_wire, resource_to_wire};
use fulcrum_proto::internal;
use fulcrum_runtime::backoff::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument as _;

use super::{Applier, TURN_TIMEOUT};
use crate::raft::{Role, WriteOutcome};

/// Stands for who undoes, in the history.
const WHO: &str = "the controllers";
/// First and longest pause after an attempt that failed: the majority may be back at any time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When the change that waits was first seen here.
#[derive(Debug, Default)]
struct FirstSeen(Option<(Revision, Instant)>);

impl FirstSeen {
    /// When the change that waits, if one does, is to be undone.
    fn due(&mut self, waiting: Option<(Revision, Duration)>, now: Instant) -> Option<Instant> {
        let Some((revision, within)) = waiting else {
            self.0 = None;
            return None;
        };
        let since = match self.0 {
            Some((seen, since)) if seen == revision => since,
            Some(_) | None => now,
        };
        self.0 = Some((revision, since));
        since.checked_add(within)
    }
}

/// What undoes an entry whose changes are kept.
pub(super) fn write(entry: &Entry) -> internal::v1::WriteIntent {
    let (put, delete) = fulcrum_intent::revert(entry.undo.as_deref().unwrap_or_default());
    let within = duration_to_text(Duration::from_millis(entry.confirm_within_ms));
    let key = |key: &fulcrum_model::resource::ResourceKey| internal::v1::ResourceKey {
        kind: kind_to_wire(key.kind).into(),
        name: key.name.to_string(),
    };
    internal::v1::WriteIntent {
        // It takes effect only while nothing was written since.
        base_revision: entry.revision.0,
        put: put.iter().map(resource_to_wire).collect(),
        delete: delete.iter().map(key).collect(),
        who: WHO.to_owned(),
        reason: format!("nobody confirmed it within {within}"),
        rollback_to: entry.base.0,
        reverts: entry.revision.0,
        ..Default::default()
    }
}

impl Applier {
    /// Undoes what nobody confirms in time, whenever this controller leads, until `stopping`.
    pub async fn revert_unconfirmed(self, stopping: CancellationToken) {
        let (mut states, mut leadership) = (self.states(), self.shared.raft.leadership());
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut first_seen = FirstSeen::default();
        let mut not_before = Instant::now();
        loop {
            let waiting = {
                let state = states.borrow_and_update();
                state
                    .waiting()
                    .map(|entry| (entry.revision, Duration::from_millis(entry.confirm_within_ms)))
            };
            let due = first_seen.due(waiting, Instant::now());
            let is_leader = leadership.borrow_and_update().role == Role::Leader;
            let next = due.filter(|_| is_leader).map(|due| due.max(not_before));
            let is_gone = tokio::select! {
                () = stopping.cancelled() => true,
                changed = states.changed() => changed.is_err(),
                changed = leadership.changed() => changed.is_err(),
                () = until(next) => {
                    if let Some((revision, _)) = waiting {
                        match self.revert(revision).await {
                            Ok(()) => backoff.reset(),
                            Err(status) => {
                                let error = status.message();
                                tracing::warn!(%revision, error, "what was not confirmed cannot be undone yet");
                            }
                        }
                        not_before = Instant::now() + backoff.next();
                    }
                    false
                }
            };
            if is_gone {
                return;
            }
        }
    }

    /// Undoes the change of a revision if it waits still.
    async fn revert(&self, revision: Revision) -> Result<(), Status> {
        async {
            let _turn = self.turn().await?;
            let state = self.state();
            let Some(entry) = state.waiting().filter(|entry| entry.revision == revision) else {
                return Ok(());
            };
            match self.write(write(entry)).await? {
                WriteOutcome::Applied(by) => {
                    let who = entry.who.as_str();
                    tracing::warn!(%revision, %by, who, "nobody confirmed a change in time: it is undone");
                }
                WriteOutcome::Stale(newer) | WriteOutcome::Repeated(newer) => {
                    self.catch_up(newer, TURN_TIMEOUT).await;
                }
            }
            Ok(())
        }
        .instrument(tracing::info_span!("intent.revert", %revision))
        .await
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
