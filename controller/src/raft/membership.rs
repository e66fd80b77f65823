//! Brings the voters in line with the configuration: a controller that lost its store comes back under a new id.

use std::collections::BTreeSet;
use std::time::Duration;

use fulcrum_proto::internal::v1::IdentifyResponse;
use openraft::EmptyNode;

use super::service::Identity;
use super::types::Openraft;

/// A new member that has not the log after this long is tried again later.
const LEARN_TIMEOUT: Duration = Duration::from_secs(30);

/// The members that the voters should change to, if that is safe now: the new ones are there, a majority of the
/// configured ones has this configuration, and none that answers has another. So controllers that are restarted one by
/// one with a new configuration do not change the voters back and forth.
fn change(
    own: &Identity,
    voters: &BTreeSet<u64>,
    answers: &[IdentifyResponse],
) -> Option<BTreeSet<u64>> {
    let configured: BTreeSet<u64> = own.members.iter().copied().collect();
    if configured == *voters || voters.is_empty() {
        return None;
    }
    let agrees = |id: &u64| {
        *id == own.node_id
            || answers.iter().any(|answer| answer.node_id == *id && answer.members == own.members)
    };
    let differs = answers
        .iter()
        .any(|answer| configured.contains(&answer.node_id) && answer.members != own.members);
    let agreeing = configured.iter().filter(|id| agrees(id)).count();
    let is_safe =
        !differs && agreeing > configured.len() / 2 && configured.difference(voters).all(agrees);
    is_safe.then_some(configured)
}

/// On the leader: changes the voters to those of the configuration when that is safe. Gives whether nothing is left to do.
pub(crate) async fn align(
    raft: &Openraft,
    own: &Identity,
    voters: &BTreeSet<u64>,
    answers: &[IdentifyResponse],
) -> bool {
    let Some(configured) = change(own, voters, answers) else { return true };
    tracing::info!(?voters, ?configured, "changing the voters to those of [[controllers]]");
    for id in configured.difference(voters) {
        let learned =
            tokio::time::timeout(LEARN_TIMEOUT, raft.add_learner(*id, EmptyNode::new(), true));
        match learned.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(controller = id, %error, "a new controller cannot be added yet");
                return false;
            }
            Err(_) => {
                tracing::warn!(controller = id, "a new controller has not learned the log yet");
                return false;
            }
        }
    }
    match raft.change_membership(configured, false).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "the voters cannot be changed yet");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_change_only_when_everybody_there_agrees() {
        let answer = |node_id: u64, members: &[u64]| IdentifyResponse {
            node_id,
            members: members.to_vec(),
            ..IdentifyResponse::default()
        };
        let (old, new) = ([1, 2, 3], [2, 3, 4]);
        let cases = [
            ("nothing differs", old, vec![answer(1, &old), answer(3, &old)], None),
            ("all agree", new, vec![answer(3, &new), answer(4, &new)], Some(new)),
            ("one is away", new, vec![answer(4, &new)], Some(new)),
            ("the new one is away", new, vec![answer(3, &new)], None),
            ("one has the old configuration", new, vec![answer(3, &old), answer(4, &new)], None),
            ("a removed one has it still", new, vec![answer(1, &old), answer(4, &new)], Some(new)),
            ("nobody is there", new, vec![], None),
        ];
        for (name, members, answers, expected) in cases {
            let own =
                Identity { node_id: 2, store_id: "store".to_owned(), members: members.to_vec() };
            let found = change(&own, &BTreeSet::from(old), &answers);
            assert_eq!(found, expected.map(BTreeSet::from), "{name}");
        }
    }
}
