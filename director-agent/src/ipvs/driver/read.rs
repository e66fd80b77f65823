//! Reading the table: whole at the start, in slices of bounded cost after that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulcrum_ipvs::{Drift, Table, VirtualServer, VirtualServerKey, VirtualServerSettings};
use tokio::time::Instant;

use super::Driver;
use crate::ipvs::error::IpvsError;
use crate::ipvs::netlink::Kernel;
use crate::ipvs::{DriftSeen, KernelState, MOST_DRIFT, Reading};

/// Entries that are read again right after they were written: some milliseconds of work. The rest of a large burst, or of a
/// large virtual server that changes again and again, waits for its slice.
const MOST_TOUCHED: usize = 1000;
/// Entries whose traffic is read without being asked for: some milliseconds of work.
const MOST_COUNTED: usize = 1000;
/// Time between two readings of traffic: reports are made as often.
const TRAFFIC_EVERY: Duration = Duration::from_secs(5);

/// The whole table, and what in it cannot be understood.
pub(super) async fn everything(kernel: &mut Kernel) -> Result<(Table, Vec<String>), IpvsError> {
    let (servers, mut problems) = kernel.virtual_servers().await?;
    let mut table = Table::default();
    for (key, settings) in servers {
        let (server, mut unclear) = with_destinations(kernel, &key, settings).await?;
        problems.append(&mut unclear);
        table.virtual_servers.insert(key, Arc::new(server));
    }
    Ok((table, problems))
}

async fn with_destinations(
    kernel: &mut Kernel,
    key: &VirtualServerKey,
    settings: VirtualServerSettings,
) -> Result<(VirtualServer, Vec<String>), IpvsError> {
    let (destinations, problems) = kernel.destinations(key).await?;
    Ok((VirtualServer { settings, destinations, foreign: false }, problems))
}

/// Virtual servers that were written, as far as they can be read again at once: of a large table it is not worth room and time to
/// note all of them.
#[derive(Debug, Default)]
pub(super) struct Touched {
    noted: BTreeSet<VirtualServerKey>,
    /// Others were written, too.
    is_more: bool,
}

impl Touched {
    /// Takes note of one.
    pub(super) fn insert(&mut self, key: VirtualServerKey) {
        if self.noted.len() < MOST_TOUCHED {
            self.noted.insert(key);
        } else {
            self.is_more |= !self.noted.contains(&key);
        }
    }

    /// Whether it may have been written.
    fn may_contain(&self, key: &VirtualServerKey) -> bool {
        self.is_more || self.noted.contains(key)
    }
}

/// Where the rolling read is.
pub(super) struct Round {
    /// It goes on after this virtual server.
    cursor: Option<VirtualServerKey>,
    began: Instant,
    /// How long the last one took.
    took: Option<Duration>,
}

impl Round {
    /// The first one.
    pub(super) fn begun(began: Instant) -> Self {
        Self { cursor: None, began, took: None }
    }

    /// How long the last one took; none before it has ended.
    pub(super) fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Goes on after that virtual server, or from the start again when there is none: then a round has ended.
    fn go_on(&mut self, cursor: Option<VirtualServerKey>) {
        self.cursor = cursor;
        if cursor.is_none() {
            self.took = Some(self.began.elapsed());
            self.began = Instant::now();
        }
    }
}

/// What IPVS tells beside its table; none of a kernel that does not tell its version.
pub(super) async fn state(kernel: &mut Kernel) -> Result<Option<KernelState>, IpvsError> {
    let Some(information) = kernel.information().await? else { return Ok(None) };
    let (timeouts, daemons) = (kernel.timeouts().await?, kernel.sync_daemons().await?);
    Ok(Some(KernelState { information, timeouts, daemons }))
}

impl Driver {
    /// The whole table as it is now, with its traffic.
    pub(super) async fn read_all(&mut self) -> Result<Reading, IpvsError> {
        let took = self.round.took;
        self.round = Round::begun(Instant::now());
        self.look(usize::MAX).await?;
        // This one came out of turn.
        self.round.took = took;
        Ok(Reading {
            table: self.reconciler.held().clone(),
            traffic: self.kernel.traffic().await?,
            wanted: self.reconciler.wanted().cloned(),
        })
    }

    /// Reads the traffic of a table that is small, when that is due. Nothing depends on it.
    pub(super) async fn read_traffic(&mut self) {
        let now = Instant::now();
        if now < self.traffic_at {
            return;
        }
        self.traffic_at = now + TRAFFIC_EVERY;
        match state(&mut self.kernel).await {
            Ok(state) => self.kernel_state = state,
            Err(error) => {
                tracing::debug!(%error, "what IPVS tells beside its table cannot be read");
            }
        }
        if self.reconciler.held().entries() > MOST_COUNTED {
            return;
        }
        match self.kernel.traffic().await {
            Ok(traffic) => self.traffic = Arc::new(traffic),
            Err(error) => tracing::debug!(%error, "the traffic of IPVS entries cannot be read"),
        }
    }

    /// Looks at all virtual servers, and at the real servers of those that differ and of the next in turn, `slice` entries
    /// together.
    pub(super) async fn look(&mut self, slice: usize) -> Result<(), IpvsError> {
        let (servers, mut problems) = self.kernel.virtual_servers().await?;
        let missing = |key: &&VirtualServerKey| !servers.contains_key(*key);
        let gone: Vec<_> =
            self.reconciler.held().virtual_servers.keys().filter(missing).copied().collect();
        for key in gone {
            // A dump may pass over an entry when the table changes meanwhile: ask for it by name.
            self.read_one(key, &mut problems).await?;
        }
        for (key, settings) in self.choose(servers, slice) {
            if self.inbox.wishes.has_changed().unwrap_or(false) {
                // A weight does not wait for the end of a long look.
                self.take_wishes();
                self.write_wishes().await;
            }
            if self.touched.may_contain(&key) {
                // Perhaps written since it was listed.
                self.read_one(key, &mut problems).await?;
            } else {
                self.read_listed(key, settings, &mut problems).await?;
            }
        }
        self.problems.entries = problems;
        Ok(())
    }

    /// Those whose settings are not as we think, and the next in turn with at least `slice` entries.
    fn choose(
        &mut self,
        servers: BTreeMap<VirtualServerKey, VirtualServerSettings>,
        slice: usize,
    ) -> Vec<(VirtualServerKey, VirtualServerSettings)> {
        let held = &self.reconciler.held().virtual_servers;
        let (cursor, mut last, mut left) = (self.round.cursor, None, slice);
        let is_chosen = |(key, settings): &(VirtualServerKey, VirtualServerSettings)| {
            let held = held.get(key);
            let is_in_turn = left > 0 && cursor.is_none_or(|cursor| *key > cursor);
            if is_in_turn {
                left = left.saturating_sub(1 + held.map_or(0, |held| held.destinations.len()));
                last = Some(*key);
            }
            is_in_turn || held.is_none_or(|held| held.settings != *settings)
        };
        let chosen = servers.into_iter().filter(is_chosen).collect();
        self.round.go_on(last.filter(|_| left == 0));
        chosen
    }

    /// Reads again what the kernel does not hold as we thought. True when that succeeded.
    pub(super) async fn read_stale(&mut self) -> bool {
        let stale = self.reconciler.stale().clone();
        self.read_some(stale).await
    }

    /// Reads again what was just written and what leaves, so that a difference is seen at once and what has drained
    /// can go.
    pub(super) async fn read_touched(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let mut keys = self.first_of(touched.noted);
        keys.extend(self.first_of(self.reconciler.leaving()));
        self.read_some(keys).await;
    }

    /// The first of them, with as many entries as may be read at once.
    fn first_of(
        &self,
        keys: impl IntoIterator<Item = VirtualServerKey>,
    ) -> BTreeSet<VirtualServerKey> {
        let held = &self.reconciler.held().virtual_servers;
        let mut left = MOST_TOUCHED;
        let first = keys.into_iter().take_while(|key| {
            let has_room = left > 0;
            left = left.saturating_sub(1 + held.get(key).map_or(0, |held| held.destinations.len()));
            has_room
        });
        first.collect()
    }

    async fn read_some(&mut self, keys: impl IntoIterator<Item = VirtualServerKey>) -> bool {
        let mut problems = Vec::new();
        for key in keys {
            if let Err(error) = self.read_one(key, &mut problems).await {
                // The look that comes round tries again, and tells when it fails too.
                tracing::warn!(%error, virtual_server = %key, "cannot read what was written");
                return false;
            }
        }
        true
    }

    /// Reads one virtual server by its name.
    async fn read_one(
        &mut self,
        key: VirtualServerKey,
        problems: &mut Vec<String>,
    ) -> Result<(), IpvsError> {
        // The kernel answers an empty success for the real servers of a virtual server that is not there.
        if let Some(settings) = self.kernel.virtual_server(&key).await? {
            return self.read_listed(key, settings, problems).await;
        }
        self.observe(key, None);
        Ok(())
    }

    /// Reads the real servers of a virtual server that is there.
    async fn read_listed(
        &mut self,
        key: VirtualServerKey,
        settings: VirtualServerSettings,
        problems: &mut Vec<String>,
    ) -> Result<(), IpvsError> {
        let kernel = &mut self.kernel;
        let (mut server, mut unclear) = with_destinations(kernel, &key, settings.clone()).await?;
        if self.reconciler.differs(&key, Some(&server)) {
            // The same as with a virtual server that is missing: a second dump confirms what the first one showed.
            (server, unclear) = with_destinations(kernel, &key, settings).await?;
        }
        problems.append(&mut unclear);
        self.observe(key, Some(server));
        Ok(())
    }

    fn remember(&mut self, drift: &[Drift]) {
        if drift.is_empty() {
            return;
        }
        let seen = Arc::make_mut(&mut self.drift);
        for Drift { found, repair } in drift {
            seen.push_front(DriftSeen {
                found_at: SystemTime::now(),
                entry: repair.entry(),
                found: found.clone(),
                repair: repair.to_string(),
            });
        }
        seen.truncate(MOST_DRIFT);
    }

    fn observe(&mut self, key: VirtualServerKey, found: Option<VirtualServer>) {
        let drift = self.reconciler.observe(key, found, self.start.elapsed());
        for Drift { found, repair } in &drift {
            tracing::warn!(virtual_server = %key, %found, %repair, "another program changed an IPVS entry of ours");
        }
        self.remember(&drift);
        if let Some(Drift { found, repair }) = drift.first() {
            let words = format!(
                "another program changed an IPVS entry of ours ({found}; repair: {repair}): stop it, or take the entry \
                 out of the intent"
            );
            self.problems.drift = Some((Instant::now(), words));
        }
    }
}
