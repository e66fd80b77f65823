//! The events that are kept, and what was told: a part of Raft's state. Pure, and the same on every replica.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fulcrum_proto::internal::v1::{EventBatch, EventChange, ToldCondition};
use fulcrum_proto::v1::{Event, NotificationStatus};
use prost::Message as _;

/// Most events that are kept: days of trouble, and far more than a person reads.
pub(crate) const MOST_EVENTS: usize = 10_000;
/// Most bytes that they take encoded.
pub(crate) const MOST_BYTES: usize = 8 << 20;
/// Most things whose condition is kept: VRRP instances, and whatever is not well.
pub(crate) const MOST_TOLD: usize = 20_000;
/// Most channels whose state is kept.
pub(crate) const MOST_CHANNELS: usize = 1_000;
/// Sequences of one entry of the log: more than a batch has events.
const SEQUENCES_PER_ENTRY: u64 = 1024;

/// What is kept of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Events up to this one are not kept.
    dropped_to: u64,
    told: BTreeMap<String, ToldCondition>,
    channels: BTreeMap<String, NotificationStatus>,
}

/// Part of it that changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventKey {
    /// An event.
    Event(u64),
    /// What was told of a thing.
    Told(String),
    /// A channel.
    Channel(String),
}

/// Events after a sequence are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsNotKept {
    /// The sequence that was asked for.
    pub wanted: u64,
    /// The least from which all is kept.
    pub oldest: u64,
}

/// Least sequence of the events of an entry of the log.
pub fn first_of_entry(index: u64) -> u64 {
    index.saturating_mul(SEQUENCES_PER_ENTRY)
}

/// The key of a channel.
pub fn channel_key(status: &NotificationStatus) -> String {
    format!("{}/{}", status.policy, status.channel)
}

impl EventLog {
    /// The newest event's sequence; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.events.back().map_or(self.dropped_to, |event| event.sequence)
    }

    /// Events up to this sequence are not kept.
    pub fn dropped_to(&self) -> u64 {
        self.dropped_to
    }

    /// The kept events after a sequence, oldest first.
    ///
    /// # Errors
    /// [`EventsNotKept`] when some are not.
    pub fn after(
        &self,
        sequence: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, EventsNotKept> {
        if sequence < self.dropped_to {
            return Err(EventsNotKept { wanted: sequence, oldest: self.dropped_to });
        }
        Ok(self.kept_after(sequence))
    }

    /// The kept events after a sequence, whether all are kept or not.
    pub fn kept_after(&self, sequence: u64) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let at = self.events.partition_point(|event| event.sequence <= sequence);
        self.events.range(at..)
    }

    /// What was told, by key.
    pub fn told(&self) -> &BTreeMap<String, ToldCondition> {
        &self.told
    }

    /// Each channel's state, by policy and channel.
    pub fn channels(&self) -> &BTreeMap<String, NotificationStatus> {
        &self.channels
    }

    /// Takes the batch of the log's entry at `index`, and notes what it changed.
    pub(crate) fn take(&mut self, index: u64, batch: &EventBatch, changed: &mut Vec<EventKey>) {
        // A replica that was of an older release has none of those before.
        if self.newest() < batch.after_sequence {
            changed.extend(self.events.drain(..).map(|event| EventKey::Event(event.sequence)));
            self.bytes = 0;
            self.dropped_to = batch.after_sequence;
        }
        for change in &batch.changes {
            self.apply(index, change, changed);
        }
        for status in &batch.channels {
            let key = channel_key(status);
            if self.channels.len() < MOST_CHANNELS || self.channels.contains_key(&key) {
                self.channels.insert(key.clone(), status.clone());
                changed.push(EventKey::Channel(key));
            }
        }
        for key in &batch.forget_channels {
            if self.channels.remove(key).is_some() {
                changed.push(EventKey::Channel(key.clone()));
            }
        }
    }

    fn apply(&mut self, index: u64, change: &EventChange, changed: &mut Vec<EventKey>) {
        let EventChange { key, told, event } = change;
        if !key.is_empty() {
            let known = self.told.get(key);
            // Whoever proposed it twice, or did not know that another leader had told it: it is told once.
            let is_told = match (known, told) {
                (Some(known), Some(told)) => known.value == told.value && event.is_some(),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if is_told {
                return;
            }
            match told {
                Some(told) if known.is_some() || self.told.len() < MOST_TOLD => {
                    self.told.insert(key.clone(), told.clone());
                }
                Some(_) => {}
                None => _ = self.told.remove(key),
            }
            changed.push(EventKey::Told(key.clone()));
        }
        if let Some(event) = event {
            let sequence = first_of_entry(index).max(self.newest() + 1);
            let event = Event { sequence, ..event.clone() };
            self.add(Arc::new(event));
            changed.push(EventKey::Event(sequence));
            while self.events.len() > MOST_EVENTS || self.bytes > MOST_BYTES {
                let Some(oldest) = self.drop_oldest() else { break };
                changed.push(EventKey::Event(oldest));
            }
        }
    }

    /// Becomes equal to a newer one in what the key names; see [`Self::follow_dropped`], too.
    pub(crate) fn follow(&mut self, newer: &Self, key: &EventKey) {
        match key {
            EventKey::Event(sequence) => {
                let event = newer.get(*sequence).filter(|_| self.newest() < *sequence);
                if let Some(event) = event {
                    self.add(Arc::clone(event));
                }
            }
            EventKey::Told(key) => follow(&mut self.told, &newer.told, key),
            EventKey::Channel(key) => follow(&mut self.channels, &newer.channels, key),
        }
    }

    /// Drops what a newer one has dropped.
    pub(crate) fn follow_dropped(&mut self, newer: &Self) {
        while self.events.front().is_some_and(|oldest| oldest.sequence <= newer.dropped_to) {
            self.drop_oldest();
        }
        self.dropped_to = newer.dropped_to;
    }

    /// Takes over the place of the newest event that is not kept.
    pub(crate) fn set_dropped_to(&mut self, sequence: u64) {
        self.dropped_to = sequence;
    }

    /// Adds an event as it was stored. Sequences must rise.
    pub(crate) fn add(&mut self, event: Arc<Event>) {
        self.bytes += event.encoded_len();
        self.events.push_back(event);
    }

    /// Adds what was told as it was stored.
    pub(crate) fn add_told(&mut self, key: String, told: ToldCondition) {
        self.told.insert(key, told);
    }

    /// Adds a channel as it was stored.
    pub(crate) fn add_channel(&mut self, status: NotificationStatus) {
        self.channels.insert(channel_key(&status), status);
    }

    /// The event of a sequence.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Arc<Event>> {
        let at = self.events.binary_search_by_key(&sequence, |event| event.sequence).ok()?;
        self.events.get(at)
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = EventKey> {
        let events = self.events.iter().map(|event| EventKey::Event(event.sequence));
        let told = self.told.keys().cloned().map(EventKey::Told);
        events.chain(told).chain(self.channels.keys().cloned().map(EventKey::Channel))
    }

    fn drop_oldest(&mut self) -> Option<u64> {
        let oldest = self.events.pop_front()?;
        self.bytes -= oldest.encoded_len();
        self.dropped_to = oldest.sequence;
        Some(oldest.sequence)
    }
}

fn follow<V: Clone>(own: &mut BTreeMap<String, V>, newer: &BTreeMap<String, V>, key: &str) {
    match newer.get(key) {
        Some(value) => _ = own.insert(key.to_owned(), value.clone()),
        None => _ = own.remove(key),
    }
}

#[cfg(test)]
mod tests;
