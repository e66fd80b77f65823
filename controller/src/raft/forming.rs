//! Forms the cluster from the configuration, and keeps it in order while this node leads.
//!
//! A node with a new store first asks the others. Did the cluster know it with another store, then that store's promises
//! are forgotten, and the node must not vote. Is there a cluster, its leader will send the log. Only when a majority is
//! as new as this node and has the same members does it begin one: several may do so at once, for they begin the same.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::internal::v1::{
    Command, FormCluster, IdentifyResponse, RegisterStore, command::Command as Wire,
};
use fulcrum_runtime::backoff::Backoff;
use openraft::error::{InitializeError, RaftError};
use tokio::sync::watch;

use super::leadership::{Leadership, Role};
use super::membership;
use super::peers::Peers;
use super::service::Identity;
use super::state::IntentState;
use super::types::Openraft;

/// A member that does not say who it is within this time is away.
const IDENTIFY_TIMEOUT: Duration = Duration::from_millis(500);
/// Waits between two rounds of asking: at first the others are just starting too.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait between two rounds.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A leader looks after the cluster's order this often.
const ORDER_INTERVAL: Duration = Duration::from_secs(1);

/// What a node with a new store does.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The cluster knows it with another store.
    Refuse,
    /// There is a cluster.
    Join,
    /// There is none, and a majority agrees on its members.
    Begin,
    /// Too few have answered.
    Wait,
}

/// Decides from what the other members answered.
fn step(own: &Identity, answers: &[IdentifyResponse]) -> Step {
    let knows_another = |answer: &IdentifyResponse| {
        answer
            .stores
            .iter()
            .any(|store| store.node_id == own.node_id && store.store_id != own.store_id)
    };
    if answers.iter().any(knows_another) {
        return Step::Refuse;
    }
    if answers.iter().any(|answer| answer.is_formed) {
        return Step::Join;
    }
    let agreeing = answers.iter().filter(|answer| answer.members == own.members).count();
    if agreeing + 1 > own.members.len() / 2 { Step::Begin } else { Step::Wait }
}

/// Those that count: where a backup was restored, nobody whose store is from before.
fn newest(answers: Vec<IdentifyResponse>) -> (u64, Vec<IdentifyResponse>) {
    let incarnation = answers.iter().map(|answer| answer.incarnation).max().unwrap_or_default();
    (incarnation, of_incarnation(answers, incarnation))
}

/// Those of that incarnation, and those that tell none: not formed yet, or of an older release.
fn of_incarnation(mut answers: Vec<IdentifyResponse>, incarnation: u64) -> Vec<IdentifyResponse> {
    answers.retain(|answer| [0, incarnation].contains(&answer.incarnation));
    answers
}

/// Finds out what a node with a new store may do, and does it. Gives the incarnation of the cluster that it joins, 0 when it begins one or none
/// is told, and `None` when it must not take part.
pub(crate) async fn admit(raft: &Openraft, peers: &Peers, own: &Identity) -> Option<u64> {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let (incarnation, answers) = newest(ask_all(peers).await);
        for answer in answers.iter().filter(|answer| answer.members != own.members) {
            tracing::warn!(
                controller = answer.node_id, members = ?answer.members, own_members = ?own.members,
                "[[controllers]] differs between controllers: make it the same on all"
            );
        }
        match step(own, &answers) {
            Step::Refuse => return None,
            Step::Join => return Some(incarnation),
            Step::Begin => {
                begin(raft, own).await;
                return Some(0);
            }
            Step::Wait => tokio::time::sleep(backoff.next()).await,
        }
    }
}

async fn ask_all(peers: &Peers) -> Vec<IdentifyResponse> {
    let asked = peers.ids().map(|id| peers.identify(id, IDENTIFY_TIMEOUT));
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn begin(raft: &Openraft, own: &Identity) {
    let members: BTreeSet<u64> = own.members.iter().copied().collect();
    match raft.initialize(members).await {
        Ok(()) => tracing::info!(members = ?own.members, "beginning the cluster"),
        // Another member was quicker.
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
        Err(error) => tracing::error!(%error, "the cluster cannot be begun"),
    }
}

/// While this node leads: names the cluster, notes which store each member votes with, and aligns the voters with the
/// configuration.
pub(crate) async fn keep_order<F, O>(
    raft: Openraft,
    peers: Arc<Peers>,
    own: Arc<Identity>,
    mut leadership: watch::Receiver<Leadership>,
    intent: watch::Receiver<Arc<IntentState>>,
    propose: F,
) where
    F: Fn(Command) -> O,
    O: Future<Output = bool>,
{
    let mut alarmed = BTreeSet::new();
    loop {
        let leads = leadership.wait_for(|now| matches!(now.role, Role::Leader | Role::Stopped));
        let voters = match leads.await {
            Ok(now) if now.role == Role::Leader => now.voters.clone(),
            Ok(_) | Err(_) => return,
        };
        let known = intent.borrow().clone();
        let mut is_done = true;
        if known.cluster_id.is_empty() {
            let cluster_id = uuid::Uuid::new_v4().to_string();
            is_done &= propose(command(Wire::FormCluster(FormCluster { cluster_id }))).await;
        }
        // A store from before a restore is neither noted nor made a voter: whoever has it comes back with an empty one.
        let answers = of_incarnation(ask_all(&peers).await, known.incarnation);
        for register in unregistered(&peers, &own, &known, &answers, &mut alarmed) {
            is_done &= propose(command(Wire::RegisterStore(register))).await;
        }
        is_done &= membership::align(&raft, &own, &voters, &answers).await;
        tokio::time::sleep(if is_done { ORDER_INTERVAL } else { FIRST_WAIT }).await;
    }
}

/// The stores that are not noted yet. Says so once when a member votes with another than the noted one.
fn unregistered(
    peers: &Peers,
    own: &Identity,
    known: &IntentState,
    answers: &[IdentifyResponse],
    alarmed: &mut BTreeSet<u64>,
) -> Vec<RegisterStore> {
    let own_store = (own.node_id, own.store_id.as_str());
    let others = answers.iter().map(|answer| (answer.node_id, answer.store_id.as_str()));
    let mut found = Vec::new();
    for (node_id, store_id) in std::iter::once(own_store).chain(others) {
        match known.stores.get(&node_id) {
            None => found.push(RegisterStore { node_id, store_id: store_id.to_owned() }),
            Some(registered) if *registered != store_id && alarmed.insert(node_id) => {
                tracing::error!(
                    controller = %peers.label(node_id),
                    "a controller has come back with another store; it must get a new id in [[controllers]]"
                );
            }
            Some(_) => {}
        }
    }
    found
}

fn command(wire: Wire) -> Command {
    Command { command: Some(wire), time_ms: 0, traceparent: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number and incarnation of each, the newest incarnation, and who has it or nothing.
    type Case = (&'static [(u64, u64)], u64, &'static [u64]);

    #[test]
    fn stores_from_before_a_restore_do_not_count() {
        let answer = |node_id: u64, incarnation: u64| IdentifyResponse {
            node_id,
            incarnation,
            ..IdentifyResponse::default()
        };
        let cases: [Case; 4] = [
            (&[], 0, &[]),
            (&[(1, 0), (2, 0)], 0, &[1, 2]),
            (&[(1, 1), (2, 0), (3, 1)], 1, &[1, 2, 3]),
            (&[(1, 9), (2, 0), (3, 1)], 9, &[1, 2]),
        ];
        for (answers, expected, counted) in cases {
            let all = answers.iter().map(|(id, incarnation)| answer(*id, *incarnation)).collect();
            let (incarnation, left) = newest(all);
            let ids: Vec<u64> = left.iter().map(|answer| answer.node_id).collect();
            assert_eq!((incarnation, &ids[..]), (expected, counted));
        }
    }

    #[test]
    fn a_new_store_joins_begins_waits_or_is_refused() {
        let own = |members: &[u64]| Identity {
            node_id: 1,
            store_id: "new".to_owned(),
            members: members.to_vec(),
        };
        let answer = |node_id: u64, is_formed: bool, members: &[u64], known_store: Option<&str>| {
            IdentifyResponse {
                node_id,
                store_id: format!("store-{node_id}"),
                cluster_id: String::new(),
                is_formed,
                members: members.to_vec(),
                stores: known_store
                    .map(|store_id| RegisterStore { node_id: 1, store_id: store_id.to_owned() })
                    .into_iter()
                    .collect(),
                state: None,
                incarnation: 0,
            }
        };
        let three = [1, 2, 3];
        let cases = [
            ("alone", own(&[1]), vec![], Step::Begin),
            ("nobody answers", own(&three), vec![], Step::Wait),
            (
                "one of two is as new",
                own(&three),
                vec![answer(2, false, &three, None)],
                Step::Begin,
            ),
            (
                "one as new, with other members",
                own(&three),
                vec![answer(2, false, &[1, 2], None)],
                Step::Wait,
            ),
            (
                "two of five are not enough",
                own(&[1, 2, 3, 4, 5]),
                vec![answer(2, false, &[1, 2, 3, 4, 5], None)],
                Step::Wait,
            ),
            (
                "a cluster is there",
                own(&three),
                vec![answer(2, false, &three, None), answer(3, true, &three, None)],
                Step::Join,
            ),
            (
                "it knows this store",
                own(&three),
                vec![answer(3, true, &three, Some("new"))],
                Step::Join,
            ),
            (
                "it knows another store",
                own(&three),
                vec![answer(2, false, &three, None), answer(3, true, &three, Some("old"))],
                Step::Refuse,
            ),
        ];
        for (name, own, answers, expected) in cases {
            assert_eq!(step(&own, &answers), expected, "{name}");
        }
    }
}
