//! What others decide for an instance: tracking its priority, its sync group that it takes over.

use std::time::Duration;

use fulcrum_model::Priority;

use super::{Instance, Output, State};
use crate::Config;
use crate::timers::down_interval;

impl Instance {
    /// Advertises this priority from now on. A Backup waits longer or shorter by what its skew
    /// changes, and does not begin to wait anew: a priority that changes often must not keep it from
    /// taking over.
    pub(super) fn set_priority(&mut self, now: Duration, priority: Priority) -> Vec<Output> {
        if self.config.priority == priority {
            return Vec::new();
        }
        let before = self.config.priority;
        let config = Config { priority, ..self.config.clone() };
        self.config = config;
        match &mut self.state {
            State::Initialize => Vec::new(),
            State::Backup(_) if priority == Priority::OWNER => self.become_active(now, None),
            State::Backup(backup) => {
                let down =
                    |priority| down_interval(&self.config.wire, priority, backup.active_interval);
                let waits_to = backup.down_at + down(priority);
                backup.down_at = waits_to.saturating_sub(down(before));
                Vec::new()
            }
            State::Active(active) => active.advertise(now, &self.config),
        }
    }

    /// A Backup becomes Active now, because its sync group does.
    pub(super) fn take_over(&mut self, now: Duration) -> Vec<Output> {
        match &self.state {
            State::Backup(backup) => {
                let predecessor = backup.living_predecessor(now);
                self.become_active(now, predecessor)
            }
            State::Initialize | State::Active(_) => Vec::new(),
        }
    }
}
