//! What a member of a sync group has lived through, as far as its group must know.

use std::net::IpAddr;
use std::time::Duration;

use super::{Backup, Member};
use crate::{Change, Instance, Role};

/// Watches one instance: told of each change of role and each advert, it says how the member stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Witness {
    /// When the role was entered.
    since: Duration,
    relieved_at: Option<Duration>,
    heard_at: Duration,
    left_at: Option<Duration>,
}

impl Witness {
    /// The role has changed.
    pub fn note_change(&mut self, now: Duration, change: Change) {
        let relieved_at = match change {
            Change::Backup { successor } => successor.map(|_| now),
            Change::Initialize | Change::Active { .. } => None,
        };
        *self = Self { since: now, relieved_at, heard_at: now, left_at: None };
    }

    /// The instance has taken an advert of this priority.
    pub fn note_advert(
        &mut self,
        now: Duration,
        instance: &Instance,
        source: IpAddr,
        priority: u8,
    ) {
        match (instance.role(), instance.predecessor(now), priority) {
            // It believes that the Active leaves.
            (Role::Backup, Some(router), 0) if router == source => self.left_at = Some(now),
            // It waits anew: an Active that it does not outrank.
            (Role::Backup, None, 1..) => self.heard_at = now,
            (Role::Backup, Some(_) | None, _) | (Role::Initialize | Role::Active, _, _) => {}
        }
    }

    /// How the member stands. `is_able` while nothing keeps it from leaving Initialize.
    pub fn member(&self, now: Duration, instance: &Instance, is_able: bool) -> Member {
        match instance.role() {
            Role::Initialize if is_able => Member::Idle,
            Role::Initialize => Member::Faulty { has_left: true },
            Role::Backup => Member::Backup(Backup {
                relieved_at: self.relieved_at,
                heard_at: self.heard_at,
                left_at: self.left_at,
                interval: instance.active_interval(),
                is_due: instance.is_due(now),
            }),
            Role::Active => Member::Active { since: self.since },
        }
    }
}
