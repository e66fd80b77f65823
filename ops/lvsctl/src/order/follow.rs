//! Follows the topology until what was ordered has come true.

use std::time::Duration;

use fulcrum_runtime::backoff::Backoff;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use super::Cluster;
use crate::connect::Controllers;
use crate::exit::Failure;
use crate::verbs::wait;

/// First and longest pause before the controllers are asked again after a stream has ended.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether to wait, and how long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Waiting {
    /// Wait until it is done; the default.
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return as soon as the order is written.
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Longest wait.
    #[arg(long, default_value = wait::DEFAULT_TIMEOUT, value_parser = wait::parse_timeout)]
    pub(crate) timeout: Duration,
}

impl Waiting {
    /// Whether to return as soon as the order is written.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.no_wait && !self.wait
    }
}

/// Shows `see` the cluster, whole and after each change, until it says that all is done, or until the deadline. Whether it
/// saw the cluster at all.
///
/// # Errors
/// [`Exit::Unreachable`](crate::exit::Exit::Unreachable) when no controller answers at first, and what `see` returns.
pub(crate) async fn follow(
    controllers: &Controllers,
    deadline: Instant,
    mut see: impl FnMut(&Cluster) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut has_seen = false;
    loop {
        match controllers.watch_topology().await {
            Err(refusal) if !has_seen => return Err(refusal.failure("cannot watch")),
            // A controller that is upgraded meanwhile is no failure; the time limit is.
            Err(_) => {}
            Ok(mut stream) => {
                let mut cluster = Cluster::default();
                while let Ok(Some(Ok(response))) =
                    tokio::time::timeout_at(deadline, stream.next()).await
                {
                    backoff.reset();
                    let Some(event) = &response.event else { continue };
                    cluster.take(event);
                    if !cluster.is_synced {
                        continue;
                    }
                    has_seen = true;
                    if see(&cluster)? {
                        return Ok(true);
                    }
                }
            }
        }
        let pause = Instant::now() + backoff.next();
        if pause >= deadline {
            tokio::time::sleep_until(deadline).await;
            return Ok(has_seen);
        }
        tokio::time::sleep_until(pause).await;
    }
}
