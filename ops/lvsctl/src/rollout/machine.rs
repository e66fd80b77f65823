//! The next step of a rollout. Pure: it takes what stands and the time since this program began, and remembers only since
//! when; so after a crash another one goes on from the intent alone.
//!
//! ```text
//!           drain             no connection, no request        the command ends well
//!   due ───────────▶ draining ─────────────────────▶ restarting ────────────────────▶ checking
//!                       │                                 │ fails, or nothing happens     │ serves for a second
//!                       │ time over                       ▼                               ▼ (gate healthy)
//!                       └───────────────────────────▶ stop: it stays drained          returning ──weight──▶ finished
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_proto::convert::duration_to_text;
use fulcrum_proto::v1::RestartState;

use super::options::{Gate, Options};
use super::view::{Server, View};

/// What is seen must hold so long before it counts: a connection whose handshake is under way counts as none for a round trip,
/// and a process that has just ended may still be told to be up.
const SETTLE: Duration = Duration::from_secs(1);
/// An agent that has an order and a drained server begins at once, so what it waits for after this is for people to mend.
const LONGEST_WAITING: Duration = Duration::from_secs(15);

/// Where a real server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nothing was ordered of it yet.
    Due,
    /// It takes no new connections, and is waited for.
    Draining,
    /// Its restart is ordered or runs.
    Restarting,
    /// It was restarted, and must be seen to serve.
    Checking,
    /// It is used again, and its weight is not yet back.
    Returning,
    /// It was restarted and serves.
    Finished,
    /// Its restart failed, or its orders were changed by others.
    Failed,
}

impl Phase {
    /// For people and programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Draining => "draining",
            Self::Restarting => "restarting",
            Self::Checking => "checking",
            Self::Returning => "returning",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Order that these take no new connections.
    Drain(Vec<String>),
    /// Order that these are restarted; each with the number of the attempt.
    Restart(Vec<(String, u32)>),
    /// Use these again.
    Undrain(Vec<String>),
    /// All were restarted: delete what is left of the orders.
    Finish,
    /// Look again when something changes, and after this long at the latest.
    Wait(Duration),
    /// Something is wrong, and nothing more is done: real servers with why, each drained or untouched.
    Stop(Vec<(String, String)>),
}

/// A rollout under way.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    options: Options,
    /// Failed orders that are tried again, by identity: those from before this program began.
    retried: BTreeSet<String>,
    /// Phase of each real server and whether it may leave it, and since when.
    since: BTreeMap<String, Since>,
    /// Since when nothing is under way.
    idle_since: Option<Duration>,
    /// Since when somebody is missing who should serve.
    missing_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    phase: Phase,
    entered: Duration,
    is_ready: bool,
    ready_changed: Duration,
}

impl Machine {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            retried: BTreeSet::new(),
            since: BTreeMap::new(),
            idle_since: None,
            missing_since: None,
        }
    }

    /// One that tries again what had failed before.
    pub(crate) fn resumed(options: Options, view: &View) -> Self {
        let failed = view.servers.iter().filter_map(|server| server.restart.as_ref());
        let failed = failed.filter(|restart| restart.state == RestartState::Failed);
        let retried = failed.map(|restart| restart.id.clone()).collect();
        Self { retried, ..Self::new(options) }
    }

    /// Where a real server is.
    pub(crate) fn phase(&self, server: &Server) -> Phase {
        let state = server.restart.as_ref().map(|restart| restart.state);
        match (server.is_drained, state) {
            (false, None) => Phase::Due,
            (true, None) => Phase::Draining,
            (true, Some(RestartState::Done)) => Phase::Checking,
            (_, Some(RestartState::Failed)) => Phase::Failed,
            (
                true,
                Some(RestartState::Unspecified | RestartState::Waiting | RestartState::Running),
            ) => Phase::Restarting,
            // Somebody took its drain back: it must not be stopped now.
            (
                false,
                Some(RestartState::Unspecified | RestartState::Waiting | RestartState::Running),
            ) => Phase::Failed,
            (false, Some(RestartState::Done)) => {
                if self.has_returned(server) {
                    Phase::Finished
                } else {
                    Phase::Returning
                }
            }
        }
    }

    fn has_returned(&self, server: &Server) -> bool {
        match self.options.gate {
            Gate::Acked => server.behind.is_empty(),
            Gate::Healthy => server.out_of_rotation.is_empty(),
        }
    }

    /// What it waits for, in words.
    pub(crate) fn waits_for(&self, view: &View, server: &Server) -> Vec<String> {
        match self.phase(server) {
            Phase::Due | Phase::Finished => Vec::new(),
            Phase::Draining => {
                let unattached = view.unattached.iter().filter(|_| !self.options.force);
                let unattached = unattached.map(|name| format!("{name} to be attached"));
                unattached.chain(server.connected.iter().cloned()).collect()
            }
            Phase::Restarting => match &server.restart {
                Some(restart) if !restart.detail.is_empty() => vec![restart.detail.clone()],
                Some(_) | None => vec!["its agent to run the command".to_owned()],
            },
            Phase::Checking => match self.options.gate {
                Gate::Acked => Vec::new(),
                Gate::Healthy => server.unhealthy.clone(),
            },
            Phase::Returning => match self.options.gate {
                Gate::Acked => server.behind.clone(),
                Gate::Healthy => {
                    server.out_of_rotation.iter().chain(&server.rising).cloned().collect()
                }
            },
            Phase::Failed => Vec::new(),
        }
    }

    /// The next step at `now`, which is counted from when this program began.
    pub(crate) fn step(&mut self, view: &View, now: Duration) -> Step {
        self.look(view, now);
        if let Some(again) = self.again(view) {
            return again;
        }
        let bad = self.bad(view, now);
        let settled = |machine: &Self, phase| machine.settled(view, phase, now);
        let whole = settled(self, Phase::Checking);
        if !whole.is_empty() {
            return Step::Undrain(whole);
        }
        if !bad.is_empty() {
            return self.stop(view, bad);
        }
        let mut drained = settled(self, Phase::Draining);
        if self.options.force {
            drained.extend(self.overdue(Phase::Draining, self.options.drain_timeout, now));
            drained.sort();
            drained.dedup();
        }
        if !drained.is_empty() {
            return Step::Restart(drained.into_iter().map(|name| (name, 1)).collect());
        }
        if self.is_under_way(view, now) {
            self.idle_since = None;
            return Step::Wait(SETTLE);
        }
        self.next_batch(view, now)
    }

    /// Remembers since when each is where it is, and since when it might go on.
    fn look(&mut self, view: &View, now: Duration) {
        let mut since = BTreeMap::new();
        for server in &view.servers {
            let phase = self.phase(server);
            let is_ready = self.waits_for(view, server).is_empty();
            let fresh = Since { phase, entered: now, is_ready, ready_changed: now };
            let known = self.since.get(&server.name).copied().filter(|it| it.phase == phase);
            let known = known.map_or(fresh, |known| {
                let ready_changed =
                    if known.is_ready == is_ready { known.ready_changed } else { now };
                Since { is_ready, ready_changed, ..known }
            });
            since.insert(server.name.clone(), known);
        }
        self.since = since;
    }

    /// What failed before this program began is tried again, where it is still drained.
    fn again(&self, view: &View) -> Option<Step> {
        let failed = view.servers.iter().filter(|server| server.is_drained);
        let again = failed.filter_map(|server| {
            let restart = server.restart.as_ref()?;
            let is_meant =
                restart.state == RestartState::Failed && self.retried.contains(&restart.id);
            is_meant.then(|| (server.name.clone(), restart.attempt.saturating_add(1)))
        });
        let again: Vec<(String, u32)> = again.collect();
        (!again.is_empty()).then_some(Step::Restart(again))
    }

    /// Those in a phase who have been ready to leave it for long enough.
    fn settled(&self, view: &View, phase: Phase, now: Duration) -> Vec<String> {
        let is_settled = |server: &&Server| {
            self.since.get(&server.name).is_some_and(|it| {
                it.phase == phase && it.is_ready && now.saturating_sub(it.ready_changed) >= SETTLE
            })
        };
        view.servers.iter().filter(is_settled).map(|server| server.name.clone()).collect()
    }

    fn overdue(&self, phase: Phase, most: Duration, now: Duration) -> Vec<String> {
        let is_overdue = |it: &Since| it.phase == phase && now.saturating_sub(it.entered) >= most;
        let overdue = self.since.iter().filter(|(_, it)| is_overdue(it));
        overdue.map(|(name, _)| name.clone()).collect()
    }

    /// Who cannot go on, and why.
    fn bad(&self, view: &View, now: Duration) -> Vec<(String, String)> {
        let why = |server: &Server| {
            let since = self.since.get(&server.name)?;
            let spent = now.saturating_sub(since.entered);
            let late = |most: Duration, what: &str| {
                let waits_for = self.waits_for(view, server).join("; ");
                let text =
                    format!("{what} after {}: waits for {waits_for}", duration_to_text(most));
                (spent >= most && !waits_for.is_empty()).then_some(text)
            };
            let Options { drain_timeout, health_timeout, force, .. } = &self.options;
            match since.phase {
                Phase::Due | Phase::Finished => None,
                Phase::Failed => Some(failed(server)),
                Phase::Draining if *force => None,
                Phase::Draining => late(*drain_timeout, "not drained"),
                Phase::Restarting => {
                    let is_waiting =
                        server.restart.as_ref().is_some_and(|it| it.state == RestartState::Waiting);
                    let most = if is_waiting {
                        LONGEST_WAITING.min(*health_timeout)
                    } else {
                        *health_timeout
                    };
                    late(most, "not restarted")
                }
                Phase::Checking => late(*health_timeout, "does not serve"),
                Phase::Returning => late(*health_timeout + view.slow_start, "is not used again"),
            }
        };
        view.servers.iter().filter_map(|server| Some((server.name.clone(), why(server)?))).collect()
    }

    /// Nothing new begins. Others of the batch are followed to their end; those that were only drained are used again.
    fn stop(&self, view: &View, bad: Vec<(String, String)>) -> Step {
        let others = view.servers.iter().filter(|it| bad.iter().all(|(name, _)| *name != it.name));
        let (mut unneeded, mut is_under_way) = (Vec::new(), false);
        for server in others {
            match self.phase(server) {
                Phase::Draining => unneeded.push(server.name.clone()),
                Phase::Restarting | Phase::Checking => is_under_way = true,
                Phase::Due | Phase::Returning | Phase::Finished | Phase::Failed => {}
            }
        }
        if !unneeded.is_empty() {
            return Step::Undrain(unneeded);
        }
        if is_under_way { Step::Wait(SETTLE) } else { Step::Stop(bad) }
    }

    fn is_under_way(&self, view: &View, now: Duration) -> bool {
        view.servers.iter().any(|server| match self.phase(server) {
            Phase::Draining | Phase::Restarting | Phase::Checking | Phase::Failed => true,
            // One that came back once and went again for another reason is missing, not under way.
            Phase::Returning => true,
            Phase::Finished => {
                // The capacity that rises is still missed, for as long as slow start takes.
                let since = self.since.get(&server.name).map_or(now, |since| since.entered);
                self.options.gate == Gate::Healthy
                    && !server.rising.is_empty()
                    && now.saturating_sub(since) < view.slow_start
            }
            Phase::Due => false,
        })
    }

    fn next_batch(&mut self, view: &View, now: Duration) -> Step {
        let due = batches(view, self, &self.options);
        let Some(batch) = due.first() else { return Step::Finish };
        let is_first = view.servers.iter().all(|server| self.phase(server) == Phase::Due);
        let idle_since = *self.idle_since.get_or_insert(now);
        let left = self.options.pause_between.saturating_sub(now.saturating_sub(idle_since));
        if !is_first && !left.is_zero() {
            return Step::Wait(left);
        }
        let missing = missing(view, self, &self.options, batch);
        if missing.is_empty() {
            self.missing_since = None;
            return Step::Drain(batch.clone());
        }
        let since = *self.missing_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.options.health_timeout {
            return Step::Stop(missing);
        }
        Step::Wait(SETTLE)
    }
}

fn failed(server: &Server) -> String {
    match &server.restart {
        Some(restart) if restart.state == RestartState::Failed => {
            format!("its restart failed: {}", restart.detail)
        }
        Some(_) | None => "its drain was taken back while its restart is ordered".to_owned(),
    }
}

/// Those that are due, in batches.
pub(crate) fn batches(view: &View, machine: &Machine, options: &Options) -> Vec<Vec<String>> {
    let due = view.servers.iter().filter(|server| machine.phase(server) == Phase::Due);
    let due: Vec<String> = due.map(|server| server.name.clone()).collect();
    let most = options.max_unavailable.of(view.servers.len()).max(1);
    due.chunks(most).map(<[String]>::to_vec).collect()
}

/// What keeps a batch from beginning: real servers that do not serve beside it, where they must.
fn missing(
    view: &View,
    machine: &Machine,
    options: &Options,
    batch: &[String],
) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    let mut left = 0;
    for server in &view.servers {
        let is_of_batch = batch.contains(&server.name);
        if is_of_batch && !server.foreign.is_empty() {
            missing.push((server.name.clone(), server.foreign.join("; ")));
        } else if server.out_of_rotation.is_empty() {
            left += usize::from(!is_of_batch);
        } else if !options.force {
            let phase = machine.phase(server);
            let foreign = server.foreign.first();
            let why = foreign.cloned().unwrap_or_else(|| {
                format!(
                    "does not serve ({}): waits for {}",
                    phase.word(),
                    server.out_of_rotation.join("; ")
                )
            });
            missing.push((server.name.clone(), why));
        }
    }
    if left == 0 {
        let text = "no other real server of the pool would serve meanwhile".to_owned();
        missing.push((batch.join(", "), text));
    }
    missing
}

/// Why a rollout must not begin, a line each.
pub(crate) fn obstacles(view: &View, options: &Options) -> Vec<String> {
    let machine = Machine::new(options.clone());
    let mut obstacles = Vec::new();
    if !view.has_agents {
        obstacles.push(format!(
            "pool {} says agent: none, so nobody can restart its real servers",
            view.pool
        ));
    }
    let most = options.max_unavailable.of(view.servers.len());
    if view.servers.len() <= most {
        obstacles.push(format!(
            "pool {} has {} real servers, and --max-unavailable {} lets all of them go at once; lower it",
            view.pool,
            view.servers.len(),
            options.max_unavailable
        ));
    }
    if !options.force {
        obstacles.extend(view.unattached.iter().map(|director| {
            format!(
                "director {director} is not attached: if it forwards, it would not know of a drain; bring it back, or take it \
                 out of its instance (--force goes on without it)"
            )
        }));
    }
    for batch in batches(view, &machine, options) {
        for (name, why) in missing(view, &machine, options, &batch) {
            let text = format!("{name}: {why}");
            if !obstacles.contains(&text) {
                obstacles.push(text);
            }
        }
    }
    obstacles
}
