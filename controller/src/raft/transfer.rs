//! Has another node lead, as planned: on request, before a stop, and where the disk is nearly full.
//!
//! openraft 0.9 has no transfer of its own. The leader picks a voter, waits until that one has nearly everything while writes go on, and then takes no
//! write, sends no heartbeats and lets the voter have the last entries. Asked to stand for election it wins: it has every entry of the log, and the
//! leader itself gives it the second vote. An acknowledged entry is on a majority as ever; one that was not acknowledged is written by the new leader
//! when it is asked again, once, for it has its request id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fulcrum_proto::internal::v1::TakeLeadershipRequest;
use tokio::time::timeout;

use super::config::Member;
use super::leadership::{Leadership, Role};
use super::proposals;
use super::{Node, Raft};

/// A leader that stops gives its successor this long. It takes two syncs, unless the disk is very busy.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);
/// And this long before, without writes, to get the entries that it lacks.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// A successor that lacks no more entries than this has them within `CATCH_UP_TIMEOUT`.
const NEAR_ENTRIES: u64 = 64;
/// Longest wait, while writes go on, until it lacks no more than that.
const NEAR_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait until the leader of before has heard of its successor.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);

type Metrics = openraft::RaftMetrics<u64, openraft::EmptyNode>;

/// Another node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Node that led.
    pub from: u64,
    /// Node that leads.
    pub to: u64,
    /// Its term.
    pub term: u64,
    /// For how long no write was taken.
    pub gap: Duration,
}

/// Why the node that was to lead does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This node does not lead. Nothing was done.
    #[error("this controller does not lead")]
    NotLeader {
        /// Who leads, when it is known.
        leader: Option<Member>,
    },
    /// It has no vote, or there is no other voter. Nothing was done.
    #[error(
        "{controller} has no vote, so it cannot lead: `lvsctl controller list` tells who votes"
    )]
    NotAVoter {
        /// Whom.
        controller: String,
    },
    /// Another transfer is under way, or this node stops. Nothing was done.
    #[error("the leadership is being handed over already: see who leads then")]
    Busy,
    /// It lacks too much of the log. Writes go on here.
    #[error(
        "{controller} lacks entries of the log: wait until `lvsctl controller list` shows it less far behind, or name another one"
    )]
    Behind {
        /// Whom.
        controller: String,
    },
    /// The others did not elect it. They elect somebody now.
    #[error("{controller} was not elected: {reason}; see who leads now, and try again")]
    Refused {
        /// Whom.
        controller: String,
        /// In its words.
        reason: String,
    },
}

/// Whether a successor that lacks entries is asked all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// It is not: this node can go on.
    Only,
    /// It is: this node goes in any case, and the others may have no more than it has.
    OrNot,
}

impl Ready {
    fn patience(self) -> Duration {
        match self {
            Self::Only => NEAR_TIMEOUT,
            Self::OrNot => CATCH_UP_TIMEOUT,
        }
    }

    fn judge(self, found: Result<(), TransferError>) -> Result<(), TransferError> {
        match (self, found) {
            (Self::OrNot, Err(error @ TransferError::Behind { .. })) => {
                tracing::warn!(%error, "the best successor is behind");
                Ok(())
            }
            (Self::Only | Self::OrNot, found) => found,
        }
    }
}

impl Raft {
    /// Has another voter lead: the named one, or the one that is furthest. Returns when it does. That it leads already is no error. On the leader.
    ///
    /// # Errors
    /// [`TransferError`].
    pub async fn transfer(&self, to: Option<u64>) -> Result<Transferred, TransferError> {
        let node = Arc::clone(&self.node);
        // Whoever asked may go meanwhile, and must not leave the leader without its heartbeats.
        let asked = tokio::spawn(async move { node.transfer_as_asked(to).await });
        asked.await.unwrap_or(Err(TransferError::Busy))
    }
}

impl Node {
    async fn transfer_as_asked(&self, to: Option<u64>) -> Result<Transferred, TransferError> {
        let leadership = self.leadership.borrow().clone();
        if leadership.role != Role::Leader {
            return Err(TransferError::NotLeader { leader: leadership.leader });
        }
        let own = self.identity.node_id;
        if to == Some(own) {
            let gap = Duration::ZERO;
            return Ok(Transferred { from: own, to: own, term: leadership.term, gap });
        }
        let _handing_over = self.handing_over.try_lock().map_err(|_| TransferError::Busy)?;
        if *self.is_stopping.borrow() {
            return Err(TransferError::Busy);
        }
        self.transfer(to, Ready::Only).await
    }

    /// Has the follower that is furthest elected, so that the others need not wait for the lease to run out. Says so when that fails.
    pub(super) async fn hand_over(&self) {
        let _handing_over = self.handing_over.lock().await;
        match self.transfer(None, Ready::OrNot).await {
            // Whoever is alone hands over to nobody.
            Ok(_) | Err(TransferError::NotLeader { .. } | TransferError::NotAVoter { .. }) => {}
            Err(error) => tracing::warn!(
                %error,
                "leadership could not be handed over; the others elect a leader when the lease has run out"
            ),
        }
    }

    async fn transfer(&self, to: Option<u64>, ready: Ready) -> Result<Transferred, TransferError> {
        let successor = self.successor(to)?;
        // openraft has a leader refuse its vote until the lease of its own election has run out.
        let led = self.leadership.borrow().since.map_or(Duration::ZERO, |since| since.elapsed());
        tokio::time::sleep(self.lease.saturating_sub(led)).await;
        ready.judge(self.until(successor, NEAR_ENTRIES, ready.patience()).await)?;
        // An entry that the successor lacks would cost it the election: none may come after the look at what it has.
        self.is_handing_over.send_replace(true);
        let begun = Instant::now();
        let still = timeout(CATCH_UP_TIMEOUT, proposals::held_up(&self.in_flight)).await;
        let given = match ready.judge(self.still(successor, still.is_ok())) {
            Ok(()) => self.give(successor, ready, begun).await,
            Err(error) => Err(error),
        };
        drop(still);
        self.is_handing_over.send_replace(false);
        let (controller, from) = (self.peers.label(successor), self.identity.node_id);
        let (term, gap) = given?;
        tracing::info!(successor = %controller, term, gap_ms = gap.as_millis(), "leadership handed over");
        Ok(Transferred { from, to: successor, term, gap })
    }

    /// What it means for a successor whether all entries have come to rest.
    fn still(&self, successor: u64, is_still: bool) -> Result<(), TransferError> {
        if is_still {
            return Ok(());
        }
        Err(TransferError::Behind { controller: self.peers.label(successor) })
    }

    /// Lets the successor have the last entries, and be elected, with no word of this leader in between.
    async fn give(
        &self,
        successor: u64,
        ready: Ready,
        begun: Instant,
    ) -> Result<(u64, Duration), TransferError> {
        // A heartbeat would renew the lease that the voters wait for, and an election of its own would beat the successor.
        self.raft.runtime_config().heartbeat(false);
        self.raft.runtime_config().elect(false);
        let given = self.give_to(successor, ready, begun).await;
        self.raft.runtime_config().heartbeat(true);
        self.raft.runtime_config().elect(true);
        given
    }

    /// The voter that is to lead.
    fn successor(&self, to: Option<u64>) -> Result<u64, TransferError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let is_voter =
            |id: u64| metrics.membership_config.membership().voter_ids().any(|v| v == id);
        let replication = metrics.replication.clone().unwrap_or_default();
        let candidates = replication
            .into_iter()
            .filter(|(id, _)| *id != self.identity.node_id && is_voter(*id))
            .filter(|(id, _)| to.is_none_or(|to| to == *id));
        let best = candidates.max_by_key(|(_, matched)| *matched).map(|(id, _)| id);
        best.ok_or_else(|| TransferError::NotAVoter {
            controller: to
                .map_or_else(|| "no other controller".to_owned(), |to| self.peers.label(to)),
        })
    }

    /// Waits until the successor lacks `most` entries or fewer.
    async fn until(
        &self,
        successor: u64,
        most: u64,
        longest: Duration,
    ) -> Result<(), TransferError> {
        let is_near = |metrics: &Metrics| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&successor));
            let matched = matched.and_then(|id| id.map(|id| id.index));
            metrics.replication.is_none()
                || matched.is_some_and(|matched| {
                    metrics.last_log_index.is_some_and(|last| last.saturating_sub(matched) <= most)
                })
        };
        let waited = self.raft.wait(Some(longest)).metrics(is_near, "caught up").await;
        match waited {
            Ok(metrics) if metrics.replication.is_none() => {
                Err(TransferError::NotLeader { leader: None })
            }
            Ok(_) => Ok(()),
            Err(_) => Err(TransferError::Behind { controller: self.peers.label(successor) }),
        }
    }

    /// Lets the successor have the last entries, and be elected. Gives the term and for how long no write was taken.
    async fn give_to(
        &self,
        successor: u64,
        ready: Ready,
        begun: Instant,
    ) -> Result<(u64, Duration), TransferError> {
        ready.judge(self.until(successor, 0, CATCH_UP_TIMEOUT).await)?;
        let controller = || self.peers.label(successor);
        let Some(mut client) = self.peers.control(successor) else {
            return Err(TransferError::NotAVoter { controller: controller() });
        };
        let envelope = Some(self.peers.envelope(successor));
        let mut request = tonic::Request::new(TakeLeadershipRequest { envelope });
        request.set_timeout(HANDOVER_TIMEOUT);
        let taken = client.take_leadership(request).await;
        taken.map_err(|status| TransferError::Refused {
            controller: controller(),
            reason: status.message().to_owned(),
        })?;
        let gap = begun.elapsed();
        let mut leadership = self.leadership.clone();
        let is_known = |now: &Leadership| now.leader_id == Some(successor);
        let known = timeout(NOTICE_TIMEOUT, leadership.wait_for(is_known)).await;
        match known {
            Ok(Ok(now)) => Ok((now.term, gap)),
            Ok(Err(_)) | Err(_) => Err(TransferError::Refused {
                controller: controller(),
                reason: "it was elected, and is not heard of since".to_owned(),
            }),
        }
    }
}
