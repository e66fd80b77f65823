//! Why a change is so drastic that it must be meant.
//!
//! The stated share is one half: a change that deletes more than half of the virtual servers, or that leaves a virtual server
//! less than half of its capacity, is held until somebody says that it is meant.

use std::collections::{BTreeMap, BTreeSet};

use fulcrum_model::resource::VirtualServer;
use fulcrum_model::{Name, Weight};

use crate::Intent;
use crate::catalog::Catalog;

/// Most names in a reason.
const SHOWN: usize = 5;

/// In words, what a change does that is rarely meant; none when it does nothing of the kind.
pub(crate) fn drastic(before: &Intent, after: &Intent) -> Option<String> {
    let (before, after) =
        (Catalog::new(before.resources.values()), Catalog::new(after.resources.values()));
    deleted(&before, &after).or_else(|| silenced(&before, &after))
}

fn deleted(before: &Catalog<'_>, after: &Catalog<'_>) -> Option<String> {
    let (old, new) = (&before.virtual_servers, &after.virtual_servers);
    let going: Vec<&str> =
        old.keys().filter(|name| !new.contains_key(*name)).map(|name| name.as_str()).collect();
    let left = old.len() - going.len();
    is_drastic(count(old.len()), count(left)).then(|| {
        format!("it deletes {} of {} virtual servers ({})", going.len(), old.len(), some(&going))
    })
}

fn silenced(before: &Catalog<'_>, after: &Catalog<'_>) -> Option<String> {
    let (drained_before, drained_after) = (Drained::new(before), Drained::new(after));
    let stays = |(name, old): (&&Name, &&VirtualServer)| {
        let new = after.virtual_servers.get(name)?;
        let old = capacity(before, &drained_before, name, old);
        let (was, is) = left(&old, &capacity(after, &drained_after, name, new));
        is_drastic(was, is).then(|| format!("{name}: {is} of {was}"))
    };
    let told: Vec<String> = before.virtual_servers.iter().filter_map(stays).collect();
    let shown: Vec<&str> = told.iter().map(String::as_str).collect();
    (!told.is_empty()).then(|| {
        format!(
            "it leaves {} virtual servers less than half of the weight of their real servers ({})",
            told.len(),
            some(&shown)
        )
    })
}

/// The weights of a virtual server's real servers that take new connections by intent: neither of weight 0 nor drained.
type Capacity<'a> = BTreeMap<&'a Name, Weight>;

/// Real servers that take no new connections by order: of all virtual servers, and of one.
struct Drained<'a> {
    of_all: BTreeSet<&'a Name>,
    of_one: BTreeMap<&'a Name, BTreeSet<&'a Name>>,
}

impl<'a> Drained<'a> {
    fn new(catalog: &Catalog<'a>) -> Self {
        let mut drained = Self { of_all: BTreeSet::new(), of_one: BTreeMap::new() };
        for drain in catalog.drains.values() {
            match &drain.virtual_server {
                None => _ = drained.of_all.insert(&drain.real_server),
                Some(server) => {
                    drained.of_one.entry(server).or_default().insert(&drain.real_server);
                }
            }
        }
        drained
    }

    fn holds(&self, virtual_server: &Name, real_server: &Name) -> bool {
        let of_one = self.of_one.get(virtual_server);
        self.of_all.contains(real_server) || of_one.is_some_and(|them| them.contains(real_server))
    }
}

fn capacity<'a>(
    catalog: &Catalog<'a>,
    drained: &Drained<'_>,
    name: &Name,
    server: &VirtualServer,
) -> Capacity<'a> {
    let members = catalog.pools.get(&server.pool).into_iter().flat_map(|pool| &pool.members);
    members
        .filter(|member| member.weight > Weight::ZERO && !drained.holds(name, &member.real_server))
        .map(|member| (&member.real_server, member.weight))
        .collect()
}

/// Whether less than half is left.
fn is_drastic(before: u64, after: u64) -> bool {
    after.saturating_mul(2) < before
}

/// Capacity before a change, and what is left of it after. Weights are relative, so a real server that stays counts with the
/// weight that it had, and one that is new with its own: a change of all weights loses nothing, nor does the replacement of
/// all by others as strong.
fn left(before: &Capacity<'_>, after: &Capacity<'_>) -> (u64, u64) {
    let sum = |weights: &mut dyn Iterator<Item = Weight>| -> u64 {
        weights.map(|weight| u64::from(weight.get())).sum()
    };
    let mut counted =
        after.iter().map(|(name, weight)| before.get(name).copied().unwrap_or(*weight));
    (sum(&mut before.values().copied()), sum(&mut counted))
}

fn some(names: &[&str]) -> String {
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", "))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Name> {
        ["a", "b", "c", "d"].map(|name| name.parse().expect("a name")).into()
    }

    /// What is tried, who carries which weight before, and after, and whether it is drastic.
    type Case = (&'static str, &'static [(usize, u64)], &'static [(usize, u64)], bool);

    fn capacity<'a>(names: &'a [Name], weights: &[(usize, u64)]) -> Capacity<'a> {
        let weight = |weight| Weight::new(weight).expect("a weight");
        weights.iter().map(|(index, value)| (&names[*index], weight(*value))).collect()
    }

    #[test]
    fn more_than_half_is_drastic() {
        let names = names();
        let cases: [Case; 8] = [
            ("one of two goes", &[(0, 1), (1, 1)], &[(0, 1)], false),
            ("two of three go", &[(0, 1), (1, 1), (2, 1)], &[(2, 1)], true),
            ("the stronger of two goes", &[(0, 9), (1, 1)], &[(1, 1)], true),
            ("the only one goes", &[(0, 1)], &[], true),
            ("all weights fall alike", &[(0, 100), (1, 100)], &[(0, 1), (1, 1)], false),
            ("all are replaced", &[(0, 5), (1, 5)], &[(2, 5), (3, 5)], false),
            ("all are replaced by weaker ones", &[(0, 5), (1, 5)], &[(2, 1), (3, 1)], true),
            ("there was nobody", &[], &[], false),
        ];
        for (what, before, after, expected) in cases {
            let (before, after) = left(&capacity(&names, before), &capacity(&names, after));
            assert_eq!(is_drastic(before, after), expected, "{what}: {after} of {before}");
        }
    }
}
