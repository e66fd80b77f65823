//! Which directors belong side by side.

use std::collections::BTreeMap;

use fulcrum_proto::ipvsadm::ServerKey;

use super::Listing;

/// Directors that have a virtual server in common, directly or by others, in the order given.
pub(crate) fn groups(listings: &[Listing]) -> Vec<Vec<&Listing>> {
    let mut leaders: Vec<usize> = (0..listings.len()).collect();
    let mut first_with: BTreeMap<ServerKey, usize> = BTreeMap::new();
    for (index, listing) in listings.iter().enumerate() {
        for server in &listing.observed.ipvs {
            let first = *first_with.entry(ServerKey::of(server)).or_insert(index);
            let (ours, theirs) = (leader(&leaders, index), leader(&leaders, first));
            // The first of a group leads it, so that groups stand in the order given.
            leaders[ours.max(theirs)] = ours.min(theirs);
        }
    }
    let mut groups: BTreeMap<usize, Vec<&Listing>> = BTreeMap::new();
    for (index, listing) in listings.iter().enumerate() {
        groups.entry(leader(&leaders, index)).or_default().push(listing);
    }
    groups.into_values().collect()
}

fn leader(leaders: &[usize], mut index: usize) -> usize {
    // Each step goes to a smaller index, or ends.
    while leaders[index] != index {
        index = leaders[index];
    }
    index
}
