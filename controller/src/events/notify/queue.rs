//! When a channel sends what. Pure: time comes in, and what was sent is told to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::NotificationStatus;

use super::policy::Channel;
use crate::events::log::EventLog;
use crate::events::world::Now;
use crate::sessions::Planned;

/// Most events of a message, with those that it counts as one: a person reads fewer.
const MOST_EVENTS: usize = 200;
/// Longest pause between tries of a message.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// A channel is told to fail after so many tries: a mail server that is restarted is no news.
const TELL_AFTER: u32 = 2;
/// What was passed over is noted this often, so that it is not looked through again by another leader.
const NOTE_INTERVAL: Duration = Duration::from_mins(1);
/// Longest word of what went wrong, in bytes.
const MOST_ERROR_BYTES: usize = 512;

/// What is sent at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The events, oldest first, each the latest of its kind about its subject, with their count.
    pub events: Vec<(Arc<v1::Event>, u32)>,
    /// All up to here is sent with it.
    pub upto: u64,
    /// Some before were no longer kept when it was made.
    pub lost_some: bool,
}

/// What a channel does now.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// It sends this.
    Send(Message),
    /// It waits for this, since the leader began.
    At(Duration),
    /// There is nothing to send.
    Idle,
}

/// One channel's queue, as its leader has it.
#[derive(Clone, Debug)]
pub struct Queue {
    status: NotificationStatus,
    /// What is noted by Raft of it.
    noted: Option<NotificationStatus>,
    noted_at: Duration,
    /// When the first event that waits was seen.
    waiting_since: Option<Duration>,
    sent_at: Option<Duration>,
    /// Tries of the message at hand, when the first one was, and when the next one is.
    tries: u32,
    tried_since: Option<Duration>,
    not_before: Duration,
    is_sending: bool,
}

impl Queue {
    /// Goes on from what was noted.
    pub fn new(channel: &Channel, noted: Option<&NotificationStatus>, now: Now) -> Self {
        let fresh = || NotificationStatus {
            policy: channel.policy.clone(),
            channel: channel.way.as_str().to_owned(),
            sent_to: channel.begins_after,
            ..Default::default()
        };
        Self {
            status: noted.cloned().unwrap_or_else(fresh),
            noted: noted.cloned(),
            noted_at: now.at,
            waiting_since: None,
            sent_at: None,
            tries: 0,
            tried_since: None,
            not_before: Duration::ZERO,
            is_sending: false,
        }
    }

    /// What is to be done now. After [`Next::Send`] it waits for [`Self::sent`] or [`Self::failed`].
    pub fn next(&mut self, channel: &Channel, log: &EventLog, planned: &Planned, now: Now) -> Next {
        if self.is_sending {
            return Next::Idle;
        }
        let Some(message) = self.message(channel, log, planned) else {
            self.waiting_since = None;
            self.status.sent_to = self.status.sent_to.max(log.newest());
            return Next::Idle;
        };
        let since = *self.waiting_since.get_or_insert(now.at);
        let after_last = self.sent_at.map(|at| at + channel.spec.group_interval);
        let due = (since + channel.spec.group_wait)
            .max(after_last.unwrap_or_default())
            .max(self.not_before);
        if now.at < due {
            return Next::At(due);
        }
        self.is_sending = true;
        self.tried_since.get_or_insert(now.at);
        Next::Send(message)
    }

    fn message(&self, channel: &Channel, log: &EventLog, planned: &Planned) -> Option<Message> {
        let mut places: BTreeMap<(i32, i32, &str), usize> = BTreeMap::new();
        let mut events: Vec<(Arc<v1::Event>, u32)> = Vec::new();
        let mut upto = log.newest();
        let wanted = log.kept_after(self.status.sent_to);
        for (taken, event) in wanted.filter(|event| channel.takes(event, planned)).enumerate() {
            if taken == MOST_EVENTS {
                break;
            }
            upto = event.sequence;
            let (subject, name) =
                event.subject.as_ref().map_or((0, ""), |subject| (subject.kind, &subject.name));
            let place = (event.kind, subject, name);
            let at = *places.entry(place).or_insert_with(|| {
                events.push((Arc::clone(event), 0));
                events.len() - 1
            });
            let count = events[at].1 + 1;
            events[at] = (Arc::clone(event), count);
        }
        events.sort_by_key(|(event, _)| event.sequence);
        let lost_some = self.status.sent_to < log.dropped_to();
        (!events.is_empty()).then_some(Message { events, upto, lost_some })
    }

    /// The message was taken.
    pub fn sent(&mut self, message: &Message, now: Now) {
        self.status.sent_to = message.upto;
        self.status.failing_since_ms = 0;
        self.status.error.clear();
        self.sent_at = Some(now.at);
        self.done();
    }

    /// A try failed. Gives whether the message is given up.
    pub fn failed(&mut self, message: &Message, error: &str, channel: &Channel, now: Now) -> bool {
        self.is_sending = false;
        self.tries = self.tries.saturating_add(1);
        let tried_for = now.at.saturating_sub(self.tried_since.unwrap_or(now.at));
        if self.tries >= TELL_AFTER {
            if self.status.failing_since_ms == 0 {
                let before = u64::try_from(tried_for.as_millis()).unwrap_or(u64::MAX);
                self.status.failing_since_ms = now.wall_ms.saturating_sub(before).max(1);
            }
            error[..error.floor_char_boundary(MOST_ERROR_BYTES)].clone_into(&mut self.status.error);
        }
        if tried_for >= channel.spec.give_up_after {
            self.status.sent_to = message.upto;
            self.status.given_up = self.status.given_up.saturating_add(1);
            self.done();
            return true;
        }
        let pause = Duration::from_secs(1 << self.tries.min(16)).min(LONGEST_PAUSE);
        self.not_before = now.at + pause;
        false
    }

    /// What fails is tried again without a pause: it goes elsewhere now.
    pub fn try_now(&mut self) {
        self.not_before = Duration::ZERO;
    }

    fn done(&mut self) {
        (self.is_sending, self.tries, self.tried_since) = (false, 0, None);
        (self.waiting_since, self.not_before) = (None, Duration::ZERO);
    }

    /// What Raft is to note of it, if that is worth a write: at once what was sent, and how it fails; what was passed over now and then.
    pub fn to_note(&self, now: Now) -> Option<&NotificationStatus> {
        let Some(noted) = &self.noted else { return Some(&self.status) };
        let is_news = noted != &self.status
            && (noted.failing_since_ms != self.status.failing_since_ms
                || noted.given_up != self.status.given_up
                || noted.error != self.status.error
                || self.sent_at.is_some_and(|at| at >= self.noted_at)
                || now.at.saturating_sub(self.noted_at) >= NOTE_INTERVAL);
        is_news.then_some(&self.status)
    }

    /// It was noted.
    pub fn noted(&mut self, status: &NotificationStatus, now: Now) {
        self.noted = Some(status.clone());
        self.noted_at = now.at;
    }
}

#[cfg(test)]
mod tests;
