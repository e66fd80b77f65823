//! What was asked of a rollout, and how its orders' labels say it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use fulcrum_proto::convert::{duration_from_text, duration_to_text};

/// Labels of a rollout's orders.
pub(crate) const ID: &str = "rollout.id";
pub(crate) const POOL: &str = "rollout.pool";
pub(crate) const ORDINAL: &str = "rollout.ordinal";
pub(crate) const ATTEMPT: &str = "rollout.attempt";
const MAX_UNAVAILABLE: &str = "rollout.max-unavailable";
const GATE: &str = "rollout.gate";
const DRAIN_TIMEOUT: &str = "rollout.drain-timeout";
const HEALTH_TIMEOUT: &str = "rollout.health-timeout";
const PAUSE_BETWEEN: &str = "rollout.pause-between";
const ACTION: &str = "rollout.action";
const FORCE: &str = "rollout.force";
const ALLOW_DRASTIC: &str = "rollout.allow-drastic";

/// How many real servers may be out of rotation at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// So many.
    Count(usize),
    /// So many of a hundred, rounded down, at least one.
    Percent(usize),
}

impl Share {
    /// Of so many real servers.
    pub(crate) fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (all * percent / 100).max(1),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, of) = match text.strip_suffix('%') {
            Some(number) => (number, Self::Percent as fn(usize) -> Self),
            None => (text, Self::Count as fn(usize) -> Self),
        };
        let most = if number == text { 10_000 } else { 100 };
        let number = number.parse().ok().filter(|number| (1..=most).contains(number));
        number.map(of).ok_or_else(|| "write a number from 1, or a share such as 25%".to_owned())
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// What must hold of a real server that was restarted before it is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Gate {
    /// Its agent says up, every director's probe passes, and its weight is back in force.
    Healthy,
    /// The command has ended well, and the directors have the plan.
    Acked,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) max_unavailable: Share,
    pub(crate) gate: Gate,
    pub(crate) drain_timeout: Duration,
    pub(crate) health_timeout: Duration,
    pub(crate) pause_between: Duration,
    /// Key of the agents' `[actions]`.
    pub(crate) action: String,
    pub(crate) reason: String,
    /// Connections that are left after the drain's time are cut, and what does not serve is no obstacle.
    pub(crate) force: bool,
    pub(crate) allow_drastic: bool,
}

impl Options {
    /// As labels of an order, without the reason, which the order itself tells.
    pub(crate) fn to_labels(&self) -> BTreeMap<String, String> {
        let gate = match self.gate {
            Gate::Healthy => "healthy",
            Gate::Acked => "acked",
        };
        let labels = [
            (MAX_UNAVAILABLE, self.max_unavailable.to_string()),
            (GATE, gate.to_owned()),
            (DRAIN_TIMEOUT, duration_to_text(self.drain_timeout)),
            (HEALTH_TIMEOUT, duration_to_text(self.health_timeout)),
            (PAUSE_BETWEEN, duration_to_text(self.pause_between)),
            (ACTION, self.action.clone()),
            (FORCE, self.force.to_string()),
            (ALLOW_DRASTIC, self.allow_drastic.to_string()),
        ];
        labels.map(|(key, value)| (key.to_owned(), value)).into()
    }

    /// From an order's labels and reason; none where they are not as we write them.
    pub(crate) fn from_labels(labels: &BTreeMap<String, String>, reason: &str) -> Option<Self> {
        let duration = |key| duration_from_text(labels.get(key)?);
        let flag = |key| labels.get(key)?.parse::<bool>().ok();
        Some(Self {
            max_unavailable: labels.get(MAX_UNAVAILABLE)?.parse().ok()?,
            gate: match labels.get(GATE)?.as_str() {
                "healthy" => Gate::Healthy,
                "acked" => Gate::Acked,
                _ => return None,
            },
            drain_timeout: duration(DRAIN_TIMEOUT)?,
            health_timeout: duration(HEALTH_TIMEOUT)?,
            pause_between: duration(PAUSE_BETWEEN)?,
            action: labels.get(ACTION)?.clone(),
            reason: reason.to_owned(),
            force: flag(FORCE)?,
            allow_drastic: flag(ALLOW_DRASTIC)?,
        })
    }
}
