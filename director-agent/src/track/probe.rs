//! One task for each target that has to be tried: a gateway or a command.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::vrrp::{TrackPace, TrackTarget};
use fulcrum_vrrp::track::{Health, Probe, TargetState, Tries};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::command::{self, CommandHome};
use super::{Seen, gateway};

/// Shortest time between the starts of two tries of one target, whatever the plan says: it bounds
/// the work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Commands that run at once: each is a process with two pipes. The others wait.
const MOST_COMMANDS: usize = 64;

/// What a probe has to tell.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// Which.
    pub(super) probe: Probe,
    /// What it makes of its target now.
    pub(super) state: TargetState,
}

/// What all probes share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    commands_at: Option<Arc<CommandHome>>,
    commands: Arc<Semaphore>,
    news: mpsc::Sender<News>,
}

impl Shared {
    /// Commands are those of `home`.
    pub(super) fn new(home: Option<CommandHome>, news: mpsc::Sender<News>) -> Self {
        let commands = Arc::new(Semaphore::new(MOST_COMMANDS));
        Self { commands_at: home.map(Arc::new), commands, news }
    }
}

/// Starts the probe of a target that has to be tried; none for one that tells by itself.
pub(super) fn spawn(probe: &Probe, shared: &Shared) -> Option<AbortHandle> {
    let pace = match &probe.target {
        TrackTarget::Gateway(gateway) => gateway.pace,
        TrackTarget::Command(command) => command.pace,
        TrackTarget::Interface(_)
        | TrackTarget::Address(_)
        | TrackTarget::Route(_)
        | TrackTarget::Agent
        | TrackTarget::RealServers(_) => return None,
    };
    Some(tokio::spawn(run(probe.clone(), pace, shared.clone())).abort_handle())
}

/// Tries for as long as it is wanted.
async fn run(probe: Probe, pace: TrackPace, shared: Shared) {
    let interval = pace.interval.max(SHORTEST_INTERVAL);
    let mut tries = Tries::default();
    let mut told = TargetState::default();
    let mut sequence = 0_u16;
    loop {
        let started = Instant::now();
        let Some(seen) = try_once(&probe, &shared, sequence).await else { return };
        sequence = sequence.wrapping_add(1);
        tries = tries.note(&pace, seen.is_ok());
        let health = tries.health();
        // Until the health changes the last reason of that health stands.
        let state = match (health, seen) {
            (Health::Well, Ok(seen)) | (Health::Unwell, Err(seen)) => TargetState { health, seen },
            (Health::Well, Err(_)) | (Health::Unwell, Ok(_)) | (Health::Untried, _) => {
                TargetState { health, seen: told.seen.clone() }
            }
        };
        if state != told {
            told = state.clone();
            if shared.news.send(News { probe: probe.clone(), state }).await.is_err() {
                return;
            }
        }
        // A try that took longer than the interval is followed by the next at once.
        tokio::time::sleep_until(started + interval).await;
    }
}

/// None when the program ends.
async fn try_once(probe: &Probe, shared: &Shared, sequence: u16) -> Option<Seen> {
    match &probe.target {
        TrackTarget::Gateway(gateway) => {
            Some(gateway::ask(gateway, probe.asked_on.as_ref(), sequence).await)
        }
        TrackTarget::Command(command) => {
            let _slot = shared.commands.acquire().await.ok()?;
            Some(command::run(command, shared.commands_at.as_deref()).await)
        }
        TrackTarget::Interface(_)
        | TrackTarget::Address(_)
        | TrackTarget::Route(_)
        | TrackTarget::Agent
        | TrackTarget::RealServers(_) => None,
    }
}
