//! The controllers as they are: who votes, how far each is, and what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_proto::internal::v1::{IdentifyResponse, NodeState};
use fulcrum_proto::v1::{GetClusterResponse, Member as Told, MemberRole};

use super::config::Member;
use super::space::LOW_BYTES;
use super::{Node, Raft};

/// A controller that does not say how it is within this time is out of reach.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of the cluster on one node.
struct Known<'a> {
    node_id: u64,
    leader_id: Option<u64>,
    term: u64,
    configured: &'a BTreeMap<u64, Member>,
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    /// What each node answered, itself included, or why it did not.
    answers: BTreeMap<u64, Result<IdentifyResponse, String>>,
}

impl Raft {
    /// The controllers, as this node knows them and as each answers within a second.
    pub async fn cluster(&self) -> GetClusterResponse {
        let node = &self.node;
        let asked = node.peers.ids().map(|id| async move {
            let answer = node.peers.identify(id, ASK_TIMEOUT).await;
            (id, answer.map_err(|status| status.message().to_owned()))
        });
        let mut answers: BTreeMap<_, _> =
            futures::future::join_all(asked).await.into_iter().collect();
        answers.insert(node.identity.node_id, Ok(node.identify()));
        let (voters, learners) = {
            let metrics = node.raft.metrics();
            let metrics = metrics.borrow();
            let membership = metrics.membership_config.membership();
            let voters: BTreeSet<u64> = membership.voter_ids().collect();
            (voters, membership.learner_ids().collect())
        };
        let leadership = node.leadership.borrow().clone();
        let (leader_id, term) = (leadership.leader_id, leadership.term);
        let (node_id, configured) = (node.identity.node_id, &*node.members);
        let known = Known { node_id, leader_id, term, configured, voters, learners, answers };
        let intent = node.intent.borrow().clone();
        GetClusterResponse {
            cluster_id: intent.cluster_id.clone(),
            incarnation: intent.incarnation,
            ..tell(&known)
        }
    }
}

impl Node {
    /// Who this node is, for the others.
    pub(super) fn identify(&self) -> IdentifyResponse {
        let intent = self.intent.borrow().clone();
        let stores = intent.stores.iter().map(|(node_id, store_id)| {
            fulcrum_proto::internal::v1::RegisterStore {
                node_id: *node_id,
                store_id: store_id.clone(),
            }
        });
        IdentifyResponse {
            node_id: self.identity.node_id,
            store_id: self.identity.store_id.clone(),
            cluster_id: intent.cluster_id.clone(),
            is_formed: self.log.has_entries(),
            members: self.identity.members.clone(),
            stores: stores.collect(),
            state: Some(self.state(intent.revision.0)),
            incarnation: intent.incarnation,
        }
    }

    fn state(&self, revision: u64) -> NodeState {
        let leadership = self.leadership.borrow().clone();
        let room = *self.room.borrow();
        NodeState {
            term: leadership.term,
            leader: leadership.leader_id.unwrap_or_default(),
            last_index: self.raft.metrics().borrow().last_log_index.unwrap_or_default(),
            applied_index: leadership.applied_index.unwrap_or_default(),
            revision,
            store_bytes: room.used_bytes,
            free_bytes: room.free_bytes,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Tells it. The cluster's name is left to the caller.
fn tell(known: &Known<'_>) -> GetClusterResponse {
    let name = |id: u64| known.configured.get(&id).map_or(String::new(), |m| m.name.clone());
    let ids: BTreeSet<u64> =
        known.configured.keys().chain(&known.voters).chain(&known.learners).copied().collect();
    let quorum = known.voters.len() / 2 + 1;
    GetClusterResponse {
        cluster_id: String::new(),
        incarnation: 0,
        asked: name(known.node_id),
        leader: known.leader_id.map(name).unwrap_or_default(),
        term: known.term,
        members: ids.into_iter().map(|id| member(known, id)).collect(),
        quorum: u32::try_from(quorum).unwrap_or(u32::MAX),
    }
}

fn member(known: &Known<'_>, id: u64) -> Told {
    let applied = |id: u64| match known.answers.get(&id) {
        Some(Ok(answer)) => answer.state.as_ref().map(|state| state.applied_index),
        Some(Err(_)) | None => None,
    };
    let role = match (known.voters.contains(&id), known.learners.contains(&id)) {
        (true, _) if known.leader_id == Some(id) => MemberRole::Leader,
        (true, _) => MemberRole::Voter,
        (false, true) => MemberRole::Learner,
        (false, false) => MemberRole::Outside,
    };
    let configured = known.configured.get(&id);
    let answer = known.answers.get(&id);
    let state = match answer {
        Some(Ok(answer)) => answer.state.clone().unwrap_or_default(),
        Some(Err(_)) | None => NodeState::default(),
    };
    let behind = known.leader_id.and_then(applied).zip(applied(id));
    let text = |of: fn(&Member) -> &String| configured.map(of).cloned().unwrap_or_default();
    Told {
        id,
        name: text(|member| &member.name),
        api: text(|member| &member.api),
        raft: text(|member| &member.raft),
        role: role.into(),
        configured: configured.is_some(),
        reachable: matches!(answer, Some(Ok(_))),
        problem: problem(known, id, role).unwrap_or_default(),
        last_index: state.last_index,
        applied_index: state.applied_index,
        behind_entries: behind.map(|(leader, own)| leader.saturating_sub(own)),
        applied_revision: state.revision,
        store_bytes: state.store_bytes,
        free_bytes: state.free_bytes,
        program_version: state.program_version,
    }
}

/// What is in the way of a controller, with the remedy.
fn problem(known: &Known<'_>, id: u64, role: MemberRole) -> Option<String> {
    let Some(configured) = known.configured.get(&id) else {
        return Some(
            "[[controllers]] does not list it: it loses its vote once a majority of those listed runs with that list"
                .to_owned(),
        );
    };
    let answer = match known.answers.get(&id) {
        Some(Ok(answer)) => answer,
        Some(Err(why)) => {
            return Some(format!(
                "does not answer at {}: {why}; see `systemctl status fulcrum-controller` there",
                configured.raft
            ));
        }
        None => return Some("was not asked".to_owned()),
    };
    let own: Vec<u64> = known.configured.keys().copied().collect();
    if answer.members != own {
        return Some(format!(
            "its [[controllers]] lists ids {}, but {} here: make the list the same on every controller and restart those that had \
             another",
            list(&answer.members),
            list(&own)
        ));
    }
    match (role, &answer.state) {
        (MemberRole::Outside, _) => Some(
            "is not taken in yet: the leader does so when every new controller answers with the same [[controllers]]".to_owned(),
        ),
        (MemberRole::Learner, _) => {
            Some("is being sent the log, and votes when it has it".to_owned())
        }
        (_, Some(state)) if state.free_bytes < LOW_BYTES => Some(format!(
            "only {} MiB are free for its store, so that it takes no writes: make room",
            state.free_bytes >> 20
        )),
        (_, _) => None,
    }
}

fn list(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u64, members: &[u64], applied_index: u64, free_mib: u64) -> IdentifyResponse {
        let state = NodeState {
            applied_index,
            last_index: applied_index,
            free_bytes: free_mib << 20,
            ..NodeState::default()
        };
        let members = members.to_vec();
        IdentifyResponse { node_id: id, members, state: Some(state), ..Default::default() }
    }

    #[test]
    fn each_controller_is_told_with_what_is_in_its_way() {
        let configured: BTreeMap<u64, Member> = [1, 2, 4, 5]
            .map(|id| {
                let at = |port: u64| format!("c{id}:{port}");
                (id, Member { name: format!("c{id}"), api: at(7400), raft: at(7401) })
            })
            .into();
        let list = [1, 2, 4, 5];
        let known = Known {
            node_id: 1,
            leader_id: Some(2),
            term: 7,
            configured: &configured,
            voters: [1, 2, 3].into(),
            learners: [4].into(),
            answers: [
                (1, Ok(answer(1, &list, 90, 100))),
                (2, Ok(answer(2, &[1, 2, 3], 100, 100))),
                (4, Ok(answer(4, &list, 10, 100))),
                (5, Err("connection refused".to_owned())),
            ]
            .into(),
        };
        let told = tell(&known);
        assert_eq!((told.asked.as_str(), told.leader.as_str(), told.quorum), ("c1", "c2", 2));
        let found: Vec<_> = told
            .members
            .iter()
            .map(|m| (m.id, m.role(), m.reachable, m.behind_entries, m.problem.as_str()))
            .collect();
        let expected = [
            (1, MemberRole::Voter, true, Some(10), ""),
            (2, MemberRole::Leader, true, Some(0), "lists ids 1, 2, 3, but 1, 2, 4, 5 here"),
            (3, MemberRole::Voter, false, None, "does not list it"),
            (4, MemberRole::Learner, true, Some(90), "is being sent the log"),
            (5, MemberRole::Outside, false, None, "c5:7401: connection refused"),
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(
                (found.0, found.1, found.2, found.3),
                (expected.0, expected.1, expected.2, expected.3)
            );
            assert!(found.4.contains(expected.4), "{found:?}");
            assert_eq!(found.4.is_empty(), expected.4.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn little_room_is_a_problem_and_an_older_release_is_none() {
        let member =
            |id: u64| Member { name: format!("c{id}"), api: String::new(), raft: String::new() };
        let configured: BTreeMap<u64, Member> = [(1, member(1)), (2, member(2))].into();
        let known = Known {
            node_id: 1,
            leader_id: None,
            term: 1,
            configured: &configured,
            voters: [1, 2].into(),
            learners: BTreeSet::new(),
            answers: [
                (1, Ok(answer(1, &[1, 2], 5, 63))),
                (2, Ok(IdentifyResponse { state: None, ..answer(2, &[1, 2], 0, 0) })),
            ]
            .into(),
        };
        let told = tell(&known);
        assert!(told.members[0].problem.contains("only 63 MiB"), "{:?}", told.members[0]);
        assert_eq!((told.members[1].problem.as_str(), told.members[1].behind_entries), ("", None));
        assert_eq!((told.leader.as_str(), told.quorum), ("", 2));
    }
}
