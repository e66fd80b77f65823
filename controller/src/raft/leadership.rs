//! Who leads, as others want to know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

use super::config::Member;

/// What a node is in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Takes entries but has no vote; also before the cluster is formed.
    #[default]
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped, for good or after an error.
    Stopped,
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// What this node is.
    pub role: Role,
    /// The term that it knows.
    pub term: u64,
    /// Node id of the leader of the term; it may have died unnoticed.
    pub leader_id: Option<u64>,
    /// The leader as the configuration has it.
    pub leader: Option<Member>,
    /// Index of the last entry applied here; `None` before the first.
    pub applied_index: Option<u64>,
    /// Node ids of the voters.
    pub voters: BTreeSet<u64>,
    /// Since when the node has been this in this term; `None` at first.
    pub(crate) since: Option<Instant>,
}

impl Leadership {
    fn new(
        metrics: &RaftMetrics<u64, openraft::EmptyNode>,
        members: &BTreeMap<u64, Member>,
    ) -> Self {
        let role = match (metrics.running_state.is_ok(), metrics.state) {
            (false, _) | (true, ServerState::Shutdown) => Role::Stopped,
            (true, ServerState::Learner) => Role::Learner,
            (true, ServerState::Follower) => Role::Follower,
            (true, ServerState::Candidate) => Role::Candidate,
            (true, ServerState::Leader) => Role::Leader,
        };
        let leader_id = metrics.current_leader.filter(|_| role != Role::Stopped);
        Self {
            role,
            term: metrics.current_term,
            leader_id,
            leader: leader_id.and_then(|id| members.get(&id).cloned()),
            applied_index: metrics.last_applied.map(|id| id.index),
            voters: metrics.membership_config.membership().voter_ids().collect(),
            since: None,
        }
    }
}

/// Follows openraft's metrics until it is gone, and logs when the leader or this node's role changes.
pub(crate) async fn follow(
    mut metrics: watch::Receiver<RaftMetrics<u64, openraft::EmptyNode>>,
    published: watch::Sender<Leadership>,
    members: Arc<BTreeMap<u64, Member>>,
) {
    loop {
        let mut now = Leadership::new(&metrics.borrow_and_update(), &members);
        published.send_if_modified(|before| {
            if (before.role, before.leader_id, before.term) == (now.role, now.leader_id, now.term) {
                now.since = before.since;
            } else {
                now.since = Some(Instant::now());
                let leader = now.leader.as_ref().map(|member| &member.name);
                tracing::info!(role = ?now.role, term = now.term, ?leader, "leadership changed");
            }
            let is_new = *before != now;
            before.clone_from(&now);
            is_new
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
