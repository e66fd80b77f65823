//! Follows orders into the kernel, beside the agent's own task.

use std::future::Future;
use std::time::Duration;

use fulcrum_proto::v1;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::ipvs::IpvsHandle;
use crate::metrics::Metrics;

/// Results that wait for the agent: of one plan there is one at a time, and older plans are followed no longer.
pub(super) const RESULTS_CAPACITY: usize = 8;

/// Time between two looks at a table that the kernel refuses in part. Whoever loads a missing module waits no longer.
const RETRY: Duration = Duration::from_secs(1);

/// Longest time that evidence is followed for, so that a kernel that refuses gathers no tasks.
const EVIDENCE_BOUND: Duration = Duration::from_secs(10);

/// What became of a plan in the kernel.
#[derive(Debug)]
pub(super) struct Programmed {
    /// Of the plan's table.
    pub(super) generation: u64,
    /// The plan.
    pub(super) version: v1::PlanVersion,
    /// Why the kernel refuses a part of it.
    pub(super) refused: Option<String>,
}

/// Tells when the kernel has the table of a plan and the disk the plan itself; until then, each new reason why the
/// kernel has not.
pub(super) async fn plan(
    ipvs: IpvsHandle,
    generation: u64,
    version: v1::PlanVersion,
    saved: impl Future<Output = ()>,
    results: mpsc::Sender<Programmed>,
) {
    let mut told = None;
    while let Err(error) = ipvs.converged(generation).await {
        let refused = Some(error.to_string());
        if refused != told {
            told.clone_from(&refused);
            let result = Programmed { generation, version: version.clone(), refused };
            if results.send(result).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
    saved.await;
    // The agent may be stopping.
    let _ = results.send(Programmed { generation, version, refused: None }).await;
}

/// Measures how long evidence takes from its receipt until the kernel has its weights, inside `span`.
pub(super) fn evidence(
    ipvs: IpvsHandle,
    generation: u64,
    received: Instant,
    metrics: Metrics,
    span: Span,
) {
    let following = async move {
        let converged = tokio::time::timeout(EVIDENCE_BOUND, ipvs.converged(generation)).await;
        if let Ok(Ok(())) = converged {
            metrics.evidence_applied(received.elapsed());
        }
    };
    tokio::spawn(following.instrument(span));
}
