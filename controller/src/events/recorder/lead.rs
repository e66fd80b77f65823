//! One time of leading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fulcrum_proto::internal::v1::command::Command as Wire;
use fulcrum_proto::internal::v1::{Command, EventBatch, EventChange, WriteIntent};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::{INTERVAL, Recorder, WHOLE_INTERVAL};
use crate::events::derive::Deriver;
use crate::events::notify::policy::{Channel, channels};
use crate::events::notify::queue::{Message, Next, Queue};
use crate::events::notify::text::Sender;
use crate::events::notify::{Fault, send};
use crate::events::world::{Now, World};
use crate::outbox::Next as Told;
use crate::raft::IntentState;
use crate::sessions::hub::{News, Watcher};

/// Messages on their way at once: one that nobody takes keeps no other one waiting.
const MOST_AT_ONCE: usize = 16;
/// A batch of events is written whatever the intent is at; a replica of an older release takes this for a revision that never is.
const NO_REVISION: u64 = u64::MAX;

/// What came of a message.
struct Sent {
    key: String,
    message: Message,
    result: Result<(), Fault>,
}

/// What this time of leading has seen.
struct Leading {
    began: Instant,
    world: World,
    deriver: Deriver,
    channels: Vec<Channel>,
    queues: BTreeMap<String, Queue>,
    sending: JoinSet<Sent>,
    /// Revision and newest event of the state that was compared last, and when; none where there is news since. Not the state itself,
    /// which would be copied for the next write as long as it is held.
    compared: Option<(u64, u64, Duration)>,
}

impl Recorder {
    /// Returns when it cannot go on so, and had better begin anew.
    pub(super) async fn lead(&mut self) {
        // What the leader before wrote is known then.
        if let Err(error) = self.raft.read_barrier().await {
            tracing::debug!(%error, "events are not looked at yet");
            return;
        }
        let Ok(watcher) = Watcher::of_this_controller(&self.hub) else { return };
        let mut leading = Leading::new(&self.me, &self.hub.planned());
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                news = watcher.news() => match news {
                    Ok(news) => {
                        leading.take(&self.hub, &news);
                        while let Told::Changed(news) = watcher.take() {
                            leading.take(&self.hub, &news);
                        }
                    }
                    Err(_) => return,
                },
                Some(event) = self.events.recv() => leading.deriver.note(event),
                Some(sent) = leading.sending.join_next() => {
                    leading.sent(sent);
                    self.pass(&mut leading).await;
                }
                _ = ticks.tick() => self.pass(&mut leading).await,
            }
        }
    }

    /// Compares, writes down what is new, and sends what is due.
    async fn pass(&self, leading: &mut Leading) {
        let state = self.state();
        let now = leading.now();
        let trace = |agent: &str| {
            let evidence = self.hub.evidence(&agent.parse().ok()?)?;
            Some(evidence.traceparent).filter(|trace| !trace.is_empty())
        };
        let changes = if leading.has_news(&state, now) {
            leading.deriver.derive(&leading.world, &state, now, trace)
        } else {
            Vec::new()
        };
        leading.keep_queues(&state, now);
        let batch = leading.batch(&state, changes, now);
        drop(state);
        if batch != (EventBatch { after_sequence: batch.after_sequence, ..Default::default() })
            && !self.write(leading, batch).await
        {
            return;
        }
        self.send(leading, &self.state());
    }

    /// Whether the batch was written.
    async fn write(&self, leading: &mut Leading, batch: EventBatch) -> bool {
        let write = WriteIntent {
            base_revision: NO_REVISION,
            events: Some(batch.clone()),
            ..Default::default()
        };
        let command = Command { command: Some(Wire::WriteIntent(write)), ..Default::default() };
        match self.raft.write(command).await {
            Ok(_) => {
                leading.noted(&batch);
                for event in batch.changes.iter().filter_map(|change| change.event.as_ref()) {
                    tracing::info!(
                        kind = event.kind().as_str_name(),
                        cause = event.cause,
                        "{}",
                        event.text
                    );
                }
                true
            }
            Err(error) => {
                tracing::debug!(%error, "events cannot be written yet");
                let moments = batch.changes.into_iter().filter(|change| change.key.is_empty());
                moments.filter_map(|change| change.event).for_each(|it| leading.deriver.note(it));
                false
            }
        }
    }

    fn send(&self, leading: &mut Leading, state: &IntentState) {
        let now = leading.now();
        let Leading { channels, queues, sending, world, .. } = leading;
        for channel in &*channels {
            let key = channel.key();
            let Some(queue) = queues.get_mut(&key).filter(|_| sending.len() < MOST_AT_ONCE) else {
                continue;
            };
            match queue.next(channel, &state.events, &world.planned, now) {
                Next::Send(message) => {
                    let sender = Sender {
                        policy: channel.policy.clone(),
                        channel: channel.way.as_str(),
                        controller: self.me.clone(),
                        cluster_id: state.cluster_id.clone(),
                    };
                    let (way, home) = (channel.way.clone(), self.home.clone());
                    sending.spawn(async move {
                        let result = send(&way, &message, &sender, &home).await;
                        Sent { key, message, result }
                    });
                }
                Next::At(_) | Next::Idle => {}
            }
        }
    }

    fn state(&self) -> Arc<IntentState> {
        self.raft.state().borrow().clone()
    }
}

impl Leading {
    fn new(me: &str, planned: &Arc<crate::sessions::Planned>) -> Self {
        Self {
            began: Instant::now(),
            world: World::new(me, Arc::clone(planned)),
            deriver: Deriver::default(),
            channels: channels(planned),
            queues: BTreeMap::new(),
            sending: JoinSet::new(),
            compared: None,
        }
    }

    /// Whether there may be something to tell, as of now, which is compared then.
    fn has_news(&mut self, state: &IntentState, now: Now) -> bool {
        let place = (state.revision.0, state.events.newest());
        let is_same = self.compared.is_some_and(|(revision, newest, at)| {
            (revision, newest) == place && now.at.saturating_sub(at) < WHOLE_INTERVAL
        });
        if is_same && !self.deriver.waits() {
            return false;
        }
        self.compared = Some((place.0, place.1, now.at));
        true
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { wall_ms, at: self.began.elapsed() }
    }

    fn take(&mut self, hub: &crate::sessions::Hub, news: &News) {
        // Evidence alone tells nothing: directors decide.
        if !matches!(news, News::Evidence(_)) {
            self.compared = None;
        }
        match news {
            News::Controller(name) => match hub.controller_status(name) {
                Some(status) => _ = self.world.controllers.insert(name.clone(), status),
                None => _ = self.world.controllers.remove(name),
            },
            News::Agent(key) => self.world.set_agent(key.clone(), hub.agent_status(key)),
            News::Resource(_) | News::Synced => {
                let planned = hub.planned();
                if !Arc::ptr_eq(&planned, &self.world.planned) {
                    self.keep_channels(channels(&planned));
                    self.world.set_planned(planned);
                }
            }
            News::Evidence(_) => {}
        }
    }

    /// What a policy changed is tried at once.
    fn keep_channels(&mut self, new: Vec<Channel>) {
        for channel in &new {
            let key = channel.key();
            let is_changed = |old: &Channel| old.key() == key && old.way != channel.way;
            if self.channels.iter().any(is_changed) {
                self.queues.entry(key).and_modify(Queue::try_now);
            }
        }
        self.channels = new;
    }

    /// A queue for each channel.
    fn keep_queues(&mut self, state: &IntentState, now: Now) {
        let keys: BTreeSet<String> = self.channels.iter().map(Channel::key).collect();
        self.queues.retain(|key, _| keys.contains(key));
        for channel in &self.channels {
            let key = channel.key();
            let noted = state.events.channels().get(&key);
            self.queues.entry(key).or_insert_with(|| Queue::new(channel, noted, now));
        }
    }

    fn batch(&self, state: &IntentState, changes: Vec<EventChange>, now: Now) -> EventBatch {
        let is_gone = |key: &&String| !self.queues.contains_key(*key);
        EventBatch {
            after_sequence: state.events.newest(),
            changes,
            channels: self.queues.values().filter_map(|it| it.to_note(now).cloned()).collect(),
            forget_channels: state.events.channels().keys().filter(is_gone).cloned().collect(),
        }
    }

    fn noted(&mut self, batch: &EventBatch) {
        let now = self.now();
        // What was noted of channels is told, too.
        self.compared = None;
        for status in &batch.channels {
            if let Some(queue) = self.queues.get_mut(&crate::events::log::channel_key(status)) {
                queue.noted(status, now);
            }
        }
    }

    fn sent(&mut self, sent: Result<Sent, tokio::task::JoinError>) {
        let now = self.now();
        let Ok(Sent { key, message, result }) = sent else { return };
        let channel = self.channels.iter().find(|channel| channel.key() == key);
        let (Some(queue), Some(channel)) = (self.queues.get_mut(&key), channel) else { return };
        match result {
            Ok(()) => {
                tracing::info!(channel = key, events = message.events.len(), "notified");
                queue.sent(&message, now);
            }
            Err(Fault(error)) => {
                let given_up = queue.failed(&message, &error, channel, now);
                tracing::warn!(channel = key, error, given_up, "a notification failed");
            }
        }
    }
}
