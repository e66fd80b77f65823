//! How many entries differ from what is wanted.

use super::Listing;

/// Entries of a director's table that differ, missing ones among them.
pub(crate) fn count(listing: &Listing) -> usize {
    let servers = listing.observed.ipvs.iter();
    let differences = servers.flat_map(|server| {
        let destinations = server.destinations.iter().map(|found| &found.difference);
        std::iter::once(&server.difference).chain(destinations)
    });
    differences.filter(|difference| !difference.is_empty()).count()
}

/// One line about all of them; none when nothing differs.
pub(crate) fn summary(listings: &[Listing]) -> Option<String> {
    let counts = listings.iter().map(|listing| (&listing.director, count(listing)));
    let counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    let told: Vec<String> =
        counts.iter().map(|(director, count)| format!("{count} on {director}")).collect();
    (!told.is_empty())
        .then(|| format!("entries that differ from what is wanted: {}", told.join(", ")))
}
