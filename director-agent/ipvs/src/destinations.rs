//! The real servers of one virtual server, kept small: a large table is mostly real servers, and mostly the same ones.

use std::sync::Arc;

use fulcrum_model::Shared;

use crate::{Connections, Destination, DestinationKey, DestinationSettings};

/// How real servers take part, ordered by name.
pub type AllSettings = Vec<(DestinationKey, DestinationSettings)>;

/// Real servers by name.
///
/// How they take part is shared: virtual servers with the same real servers keep it once ([`Self::share`]), and so do what
/// is wanted and what is held ([`Self::share_with`]).
#[derive(Clone, Debug, Default)]
pub struct Destinations {
    settings: Arc<AllSettings>,
    connections: Known,
}

/// What is known of the connections of each.
#[derive(Clone, Debug, Default)]
enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// None has any, as in most of a large table.
    Idle,
    /// In order.
    Each(Vec<Option<Connections>>),
}

impl Known {
    fn of(all: Vec<Option<Connections>>) -> Self {
        let idle = Some(Connections::default());
        match all.first() {
            Some(None) | None if all.iter().all(Option::is_none) => Self::Nothing,
            Some(first) if *first == idle && all.iter().all(|one| *one == idle) => Self::Idle,
            Some(_) | None => Self::Each(all),
        }
    }

    fn at(&self, position: usize) -> Option<Connections> {
        match self {
            Self::Nothing => None,
            Self::Idle => Some(Connections::default()),
            Self::Each(all) => all.get(position).copied().flatten(),
        }
    }
}

impl Destinations {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.settings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Whether there is one of that name.
    pub fn contains_key(&self, key: &DestinationKey) -> bool {
        self.position(key).is_ok()
    }

    /// The one of that name.
    pub fn get(&self, key: &DestinationKey) -> Option<Destination> {
        self.position(key).ok().map(|position| self.at(position).1)
    }

    /// All of them, ordered by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (DestinationKey, Destination)> + '_ {
        (0..self.len()).map(|position| self.at(position))
    }

    /// Their names, ordered.
    pub fn keys(&self) -> impl Iterator<Item = &DestinationKey> {
        self.settings.iter().map(|(key, _)| key)
    }

    /// All of them without their names, in that order.
    pub fn values(&self) -> impl Iterator<Item = Destination> + '_ {
        self.iter().map(|(_, destination)| destination)
    }

    /// How they take part, ordered by name.
    pub fn settings(&self) -> &AllSettings {
        &self.settings
    }

    /// Puts one in, in place of the one of that name.
    pub fn insert(&mut self, key: DestinationKey, destination: Destination) {
        let Destination { settings, connections } = destination;
        let position = self.position(&key);
        if !matches!((&self.connections, connections), (Known::Nothing, None)) {
            let mut all = self.connections();
            match position {
                Ok(position) => all[position] = connections,
                Err(position) => all.insert(position, connections),
            }
            self.connections = Known::of(all);
        }
        let all = Arc::make_mut(&mut self.settings);
        match position {
            Ok(position) => all[position].1 = settings,
            Err(position) => all.insert(position, (key, settings)),
        }
    }

    /// Takes the one of that name out.
    pub fn remove(&mut self, key: &DestinationKey) -> Option<Destination> {
        let position = self.position(key).ok()?;
        let (_, destination) = self.at(position);
        if let Known::Each(all) = &mut self.connections {
            all.remove(position);
            self.connections = Known::of(std::mem::take(all));
        }
        Arc::make_mut(&mut self.settings).remove(position);
        Some(destination)
    }

    /// Changes each of them.
    pub fn change(&mut self, mut change: impl FnMut(&DestinationKey, &mut Destination)) {
        let changed = self.iter().map(|(key, mut destination)| {
            change(&key, &mut destination);
            (key, destination)
        });
        *self = changed.collect();
    }

    /// Keeps how they take part once with `known`, where that has the same.
    pub fn share(&mut self, known: &mut Shared<AllSettings>) {
        known.share(&mut self.settings);
    }

    /// Whether how they take part is the same as with `other`, and kept twice.
    pub fn could_share_with(&self, other: &Self) -> bool {
        !Arc::ptr_eq(&self.settings, &other.settings) && self.settings == other.settings
    }

    /// Keeps how they take part once with `other`, where that is the same.
    pub fn share_with(&mut self, other: &Self) {
        if self.could_share_with(other) {
            self.settings = Arc::clone(&other.settings);
        }
    }

    fn position(&self, key: &DestinationKey) -> Result<usize, usize> {
        self.settings.binary_search_by_key(key, |(key, _)| *key)
    }

    fn at(&self, position: usize) -> (DestinationKey, Destination) {
        let (key, settings) = self.settings[position];
        (key, Destination { settings, connections: self.connections.at(position) })
    }

    /// Those of each, in order.
    fn connections(&self) -> Vec<Option<Connections>> {
        (0..self.len()).map(|position| self.connections.at(position)).collect()
    }
}

/// Equal real servers with equal connections: those of a wanted table are unknown.
impl PartialEq for Destinations {
    fn eq(&self, other: &Self) -> bool {
        let is_same = Arc::ptr_eq(&self.settings, &other.settings);
        (is_same || self.settings == other.settings)
            && (0..self.len())
                .all(|position| self.connections.at(position) == other.connections.at(position))
    }
}

impl Eq for Destinations {}

impl FromIterator<(DestinationKey, Destination)> for Destinations {
    /// Of two of one name the last stands.
    fn from_iter<T: IntoIterator<Item = (DestinationKey, Destination)>>(entries: T) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        // It keeps the order of those of one name.
        entries.sort_by_key(|(key, _)| *key);
        let mut settings = AllSettings::with_capacity(entries.len());
        let mut connections = Vec::with_capacity(entries.len());
        for (key, destination) in entries {
            if settings.last().is_some_and(|(last, _)| *last == key) {
                settings.pop();
                connections.pop();
            }
            settings.push((key, destination.settings));
            connections.push(destination.connections);
        }
        settings.shrink_to_fit();
        Self { settings: Arc::new(settings), connections: Known::of(connections) }
    }
}

impl<const N: usize> From<[(DestinationKey, Destination); N]> for Destinations {
    fn from(entries: [(DestinationKey, Destination); N]) -> Self {
        entries.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::tests::tables::any_destination;

    fn key(host: u8) -> DestinationKey {
        DestinationKey { address: Ipv4Addr::new(10, 0, 0, host).into(), port: 80 }
    }

    proptest! {
        /// They are a map, however they came to be.
        #[test]
        fn they_are_a_map(
            steps in prop::collection::vec((0..6_u8, prop::option::of(any_destination())), 0..24),
        ) {
            let (mut map, mut destinations) = (BTreeMap::new(), Destinations::default());
            for (host, destination) in steps {
                if let Some(destination) = destination {
                    map.insert(key(host), destination);
                    destinations.insert(key(host), destination);
                } else {
                    prop_assert_eq!(map.remove(&key(host)), destinations.remove(&key(host)));
                }
                let entries = map.iter().map(|(key, destination)| (*key, *destination));
                prop_assert!(entries.clone().eq(destinations.iter()));
                prop_assert_eq!(&entries.collect::<Destinations>(), &destinations);
                prop_assert_eq!(destinations.get(&key(0)), map.get(&key(0)).copied());
            }
        }
    }

    #[test]
    fn alike_ones_are_kept_once() {
        let one = |connections| {
            let settings = DestinationSettings::new(1, crate::Forwarding::Route);
            Destinations::from([(key(1), Destination { settings, connections })])
        };
        let (wanted, mut held) = (one(None), one(Some(Connections::default())));
        assert!(held.could_share_with(&wanted));
        held.share_with(&wanted);
        assert!(!held.could_share_with(&wanted) && held != wanted);
        let mut known = Shared::default();
        let mut shared = [one(None), one(None)];
        for destinations in &mut shared {
            destinations.share(&mut known);
        }
        assert!(Arc::ptr_eq(&shared[0].settings, &shared[1].settings));
    }
}
