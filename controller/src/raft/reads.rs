//! Linearizable reads: how far this node must have applied to tell everything that was acknowledged before it was asked.
//!
//! The leader notes what it has committed and has a majority confirm that it still leads; a follower asks the leader. Nothing is written. Both share
//! rounds ([`super::rounds`]), so that the cost is a message each way for each round and not for each reader.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::Revision;
use fulcrum_proto::internal::v1::{ReadIndexRequest, ReadIndexResponse};
use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::sync::watch;
use tonic::{Code, Status};

use super::config::Member;
use super::leadership::{Leadership, Role};
use super::peers::Peers;
use super::rounds::Rounds;
use super::state::IntentState;
use super::types::Openraft;

/// Longest time of a round. A majority answers within a heartbeat, and what was committed is applied a moment later.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// Why it is not known how far to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader is known, or the one that was asked leads no more.
    #[error("no controller is known to lead")]
    NoLeader {
        /// Who leads as far as is known here, when somebody else does.
        leader: Option<Member>,
    },
    /// The leader has no majority, or did not answer in time.
    #[error("no majority of the controllers confirmed who leads within {} ms", ROUND_TIMEOUT.as_millis())]
    NoQuorum,
    /// The leader's release does not know the question.
    #[error("the leader runs an older release")]
    OldLeader,
    /// Raft has stopped here.
    #[error("Raft has stopped here")]
    Stopped,
}

type Told = Result<Revision, ReadError>;

/// Both kinds of rounds of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads {
    leadership: watch::Receiver<Leadership>,
    /// Confirmed by a majority, as the leader.
    here: Rounds<Told>,
    /// Asked of the leader.
    there: Rounds<Told>,
}

impl Reads {
    pub(crate) fn spawn(
        raft: Openraft,
        peers: Arc<Peers>,
        leadership: watch::Receiver<Leadership>,
        intent: watch::Receiver<Arc<IntentState>>,
    ) -> Self {
        let of = leadership.clone();
        let here = Rounds::spawn(move || confirm(raft.clone(), of.clone(), intent.clone()));
        let of = leadership.clone();
        let there = Rounds::spawn(move || ask(Arc::clone(&peers), of.clone()));
        Self { leadership, here, there }
    }

    /// The revision to read at, wherever the leader is.
    pub(crate) async fn index(&self) -> Told {
        let role = self.leadership.borrow().role;
        let rounds = match role {
            Role::Leader => &self.here,
            Role::Learner | Role::Follower | Role::Candidate => &self.there,
            Role::Stopped => return Err(ReadError::Stopped),
        };
        rounds.next().await.unwrap_or(Err(ReadError::Stopped))
    }

    /// The revision to read at, as the leader.
    pub(crate) async fn index_here(&self) -> Told {
        self.here.next().await.unwrap_or(Err(ReadError::Stopped))
    }
}

async fn confirm(
    raft: Openraft,
    leadership: watch::Receiver<Leadership>,
    intent: watch::Receiver<Arc<IntentState>>,
) -> Told {
    match tokio::time::timeout(ROUND_TIMEOUT, raft.ensure_linearizable()).await {
        Ok(Ok(_)) => Ok(intent.borrow().revision),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => {
            Err(ReadError::NoLeader { leader: leadership.borrow().leader.clone() })
        }
        Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) | Err(_) => {
            Err(ReadError::NoQuorum)
        }
        Ok(Err(RaftError::Fatal(_))) => Err(ReadError::Stopped),
    }
}

async fn ask(peers: Arc<Peers>, mut leadership: watch::Receiver<Leadership>) -> Told {
    let known = leadership.borrow_and_update().clone();
    let id = known.leader_id.ok_or(ReadError::NoLeader { leader: None })?;
    // A leader that is not configured here cannot be asked; nor can a node ask itself.
    let Some(mut client) = peers.control(id) else {
        return Err(ReadError::NoLeader { leader: None });
    };
    let mut request = tonic::Request::new(ReadIndexRequest { envelope: Some(peers.envelope(id)) });
    request.set_timeout(ROUND_TIMEOUT);
    let is_another = |now: &Leadership| now.leader_id.is_some() && now.leader_id != Some(id);
    tokio::select! {
        answered = client.read_index(request) => match answered {
            Ok(answer) => Ok(Revision(answer.into_inner().revision)),
            Err(status) if status.code() == Code::Unimplemented => Err(ReadError::OldLeader),
            Err(status) if status.code() == Code::Aborted => Err(ReadError::NoLeader { leader: None }),
            Err(_) => Err(ReadError::NoQuorum),
        },
        // The one that was asked may be dead, and its silence long.
        _ = leadership.wait_for(is_another) => Err(ReadError::NoLeader { leader: None }),
    }
}

/// What a follower that asked is answered.
pub(crate) fn to_wire(told: Told) -> Result<ReadIndexResponse, Status> {
    match told {
        Ok(revision) => Ok(ReadIndexResponse { revision: revision.0 }),
        Err(error @ ReadError::NoLeader { .. }) => Err(Status::aborted(error.to_string())),
        Err(error) => Err(Status::unavailable(error.to_string())),
    }
}
