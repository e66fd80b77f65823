//! Orders that are given at an agent itself, without any controller, and end by themselves.
//!
//! ```text
//!   freeze, drain ---> [ LocalOrders ] ---> thaw, undrain: ended by whoever gave it, or by force
//!                             |
//!                             +-----------> expired: the wall clock or the time since boot is over
//! ```
//! The wall clock is what a person means. The time since boot bounds it: a clock that is set back lets nothing last longer.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::Name;

/// How long an order lasts that says nothing of it: long enough to look around, short enough to be forgotten safely.
pub const DEFAULT_DURATION: Duration = Duration::from_mins(15);
/// Least duration.
pub const MIN_DURATION: Duration = Duration::from_secs(1);
/// Longest duration: what must last longer belongs into the intent.
pub const MAX_DURATION: Duration = Duration::from_hours(24);
/// Most real servers that one agent drains by local order: more are a change of intent, and each is told in every report.
pub const MOST_DRAINS: usize = 256;

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: SystemTime,
    /// Time since the host's boot, suspended or not (`CLOCK_BOOTTIME` of `clock_gettime(2)`).
    pub up: Duration,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWish {
    /// Who, for people and programs.
    pub owner: String,
    /// Why, for people.
    pub reason: String,
    /// For how long.
    pub duration: Duration,
    /// Also where another owner's order stands, or where it would silence a pool.
    pub force: bool,
}

/// Asks for the end of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRelease {
    /// Who.
    pub owner: String,
    /// Also another owner's.
    pub force: bool,
}

/// An order in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalOrder {
    /// Who, for people and programs.
    pub owner: String,
    /// Why, for people.
    pub reason: String,
    /// When it was given, by the wall clock.
    pub since: SystemTime,
    /// When it ends, by the wall clock.
    pub expires_at: SystemTime,
    /// When it ends whatever the wall clock says, in time since boot.
    pub up_until: Duration,
}

/// The orders of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalOrders {
    freeze: Option<LocalOrder>,
    drains: BTreeMap<Name, LocalOrder>,
}

/// An order that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The real server that was drained; none of a freeze.
    pub real_server: Option<Name>,
    /// The order.
    pub order: LocalOrder,
    /// Why.
    pub ending: Ending,
}

/// Why an order ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its time is over.
    Expired,
    /// The host has booted since: what a freeze kept as it was has gone.
    Rebooted,
}

/// Why an order is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalRefusal {
    /// Another owner's order stands.
    Owned {
        /// The real server that is drained; none where it is a freeze.
        real_server: Option<Name>,
        /// The order that stands.
        order: LocalOrder,
    },
    /// A drain would not reach the kernel.
    Frozen(LocalOrder),
    /// So many are drained already.
    TooMany,
}

impl LocalOrder {
    fn new(now: Moment, wish: &LocalWish) -> Self {
        let duration = wish.duration.clamp(MIN_DURATION, MAX_DURATION);
        Self {
            owner: wish.owner.clone(),
            reason: wish.reason.clone(),
            since: now.wall,
            // No clock of today is within a day of its end.
            expires_at: now.wall.checked_add(duration).unwrap_or(now.wall),
            up_until: now.up.saturating_add(duration),
        }
    }

    fn is_over(&self, now: Moment) -> bool {
        now.wall >= self.expires_at || now.up >= self.up_until
    }

    /// Time until it ends, as both clocks stand now.
    fn remaining(&self, now: Moment) -> Duration {
        let by_wall = self.expires_at.duration_since(now.wall).unwrap_or_default();
        by_wall.min(self.up_until.saturating_sub(now.up))
    }

    /// The same after a boot: time since boot began anew, and a host without a battery may think that it is 1970.
    fn after_boot(self, now: Moment) -> Self {
        let whole = self.expires_at.duration_since(self.since).unwrap_or_default();
        let by_wall = self.expires_at.duration_since(now.wall).unwrap_or_default();
        Self { up_until: now.up.saturating_add(by_wall.min(whole)), ..self }
    }
}

impl LocalOrders {
    /// Orders as they were saved, in this boot of the host or in an earlier one, without those that are over.
    pub fn restored(
        freeze: Option<LocalOrder>,
        drains: BTreeMap<Name, LocalOrder>,
        is_same_boot: bool,
        now: Moment,
    ) -> (Self, Vec<Ended>) {
        if is_same_boot {
            let mut orders = Self { freeze, drains };
            for order in orders.freeze.iter_mut().chain(orders.drains.values_mut()) {
                // What the file says is bounded like everything else.
                order.up_until = order.up_until.min(now.up.saturating_add(MAX_DURATION));
            }
            let ended = orders.expire(now);
            return (orders, ended);
        }
        let rebooted = |order| Ended { real_server: None, order, ending: Ending::Rebooted };
        let mut ended: Vec<Ended> = freeze.map(rebooted).into_iter().collect();
        let drains = drains.into_iter().map(|(name, order)| (name, order.after_boot(now)));
        let mut orders = Self { freeze: None, drains: drains.collect() };
        ended.extend(orders.expire(now));
        (orders, ended)
    }

    /// Nothing is ordered.
    pub fn is_empty(&self) -> bool {
        self.freeze.is_none() && self.drains.is_empty()
    }

    /// The freeze, if there is one.
    pub fn frozen(&self) -> Option<&LocalOrder> {
        self.freeze.as_ref()
    }

    /// The real servers that are drained, by name.
    pub fn drains(&self) -> &BTreeMap<Name, LocalOrder> {
        &self.drains
    }

    /// Freezes, or gives the same owner's freeze a new end.
    ///
    /// # Errors
    /// [`LocalRefusal::Owned`], unless it is forced.
    pub fn freeze(&mut self, now: Moment, wish: &LocalWish) -> Result<&LocalOrder, LocalRefusal> {
        owned(None, self.freeze.as_ref(), &wish.owner, wish.force)?;
        Ok(self.freeze.insert(LocalOrder::new(now, wish)))
    }

    /// Ends the freeze; none when there was none.
    ///
    /// # Errors
    /// [`LocalRefusal::Owned`], unless it is forced.
    pub fn thaw(&mut self, release: &LocalRelease) -> Result<Option<LocalOrder>, LocalRefusal> {
        owned(None, self.freeze.as_ref(), &release.owner, release.force)?;
        Ok(self.freeze.take())
    }

    /// Whether [`Self::drain`] would take it.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn may_drain(&self, real_server: &Name, wish: &LocalWish) -> Result<(), LocalRefusal> {
        if let Some(freeze) = &self.freeze {
            return Err(LocalRefusal::Frozen(freeze.clone()));
        }
        let known = self.drains.get(real_server);
        owned(Some(real_server), known, &wish.owner, wish.force)?;
        if known.is_none() && self.drains.len() >= MOST_DRAINS {
            return Err(LocalRefusal::TooMany);
        }
        Ok(())
    }

    /// Drains a real server, or gives the same owner's drain a new end. There is one drain of a real server at a time.
    ///
    /// # Errors
    /// [`LocalRefusal`]; that of another owner can be forced.
    pub fn drain(
        &mut self,
        now: Moment,
        real_server: &Name,
        wish: &LocalWish,
    ) -> Result<&LocalOrder, LocalRefusal> {
        self.may_drain(real_server, wish)?;
        let order = LocalOrder::new(now, wish);
        Ok(self.drains.entry(real_server.clone()).insert_entry(order).into_mut())
    }

    /// Ends a drain; none when there was none.
    ///
    /// # Errors
    /// [`LocalRefusal::Owned`], unless it is forced.
    pub fn undrain(
        &mut self,
        real_server: &Name,
        release: &LocalRelease,
    ) -> Result<Option<LocalOrder>, LocalRefusal> {
        let known = self.drains.get(real_server);
        owned(Some(real_server), known, &release.owner, release.force)?;
        Ok(self.drains.remove(real_server))
    }

    /// Takes out what is over.
    pub fn expire(&mut self, now: Moment) -> Vec<Ended> {
        let expired = |real_server, order| Ended { real_server, order, ending: Ending::Expired };
        let freeze = self.freeze.take_if(|order| order.is_over(now));
        let mut ended: Vec<Ended> = freeze.map(|order| expired(None, order)).into_iter().collect();
        let drains = self.drains.extract_if(.., |_, order| order.is_over(now));
        ended.extend(drains.map(|(name, order)| expired(Some(name), order)));
        ended
    }

    /// Time until the first of them ends, as both clocks stand now.
    pub fn next_expiry(&self, now: Moment) -> Option<Duration> {
        let orders = self.freeze.iter().chain(self.drains.values());
        orders.map(|order| order.remaining(now)).min()
    }
}

/// Whether another owner's order is in the way.
fn owned(
    real_server: Option<&Name>,
    order: Option<&LocalOrder>,
    owner: &str,
    force: bool,
) -> Result<(), LocalRefusal> {
    match order.filter(|order| order.owner != owner && !force) {
        None => Ok(()),
        Some(order) => {
            Err(LocalRefusal::Owned { real_server: real_server.cloned(), order: order.clone() })
        }
    }
}

#[cfg(test)]
mod tests;
