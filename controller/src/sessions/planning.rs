//! Makes the plans that sessions ask for, on a thread of its own: one reading of the intent serves all that ask at once,
//! and however many do, evidence has the other cores.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fulcrum_intent::{AgentId, Planner};
use fulcrum_model::Name;
use fulcrum_proto::v1;
use tokio::sync::{mpsc, oneshot};

use super::plans::{self, AgentPlan, Planned};
use super::update::{self, Has};

/// Sessions that wait in the queue itself. More wait at its door; each session asks for one plan at a time.
const QUEUE: usize = 1024;

/// Hands plans to sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Planning {
    jobs: mpsc::Sender<Job>,
}

/// What a session sends next, made from its agent's plan.
#[derive(Debug)]
pub struct Made {
    /// What brings the agent from what it has to its plan.
    pub update: v1::PlanUpdate,
    /// What it has then.
    pub then: Has,
    /// A director's: the agents that its plan names.
    pub agents: BTreeSet<Name>,
    /// Trace of the newest write, W3C traceparent; empty when none.
    pub traceparent: String,
}

#[derive(Debug)]
struct Job {
    planned: Arc<Planned>,
    key: AgentId,
    has: Has,
    answer: oneshot::Sender<Made>,
}

impl Planning {
    /// Starts the thread. It ends when the last clone is dropped.
    pub fn start() -> Self {
        let (jobs, mut asked) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let mut batch = Vec::new();
            while asked.blocking_recv_many(&mut batch, QUEUE) > 0 {
                make_all(std::mem::take(&mut batch));
            }
        });
        Self { jobs }
    }

    /// What brings an agent from what it has to its plan. None when that could not be made.
    pub async fn make(&self, planned: Arc<Planned>, key: AgentId, has: Has) -> Option<Made> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { planned, key, has, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// Jobs of one revision stand together, for those who ask at once ask for the newest.
fn make_all(jobs: Vec<Job>) {
    let mut jobs = jobs.into_iter().peekable();
    while let Some(first) = jobs.next() {
        let planned = Arc::clone(&first.planned);
        let planner = Planner::new(&planned.intent);
        make(first, &planner);
        while let Some(job) = jobs.next_if(|job| Arc::ptr_eq(&job.planned, &planned)) {
            make(job, &planner);
        }
    }
}

fn make(job: Job, planner: &Planner<'_>) {
    let Job { planned, key, has, answer } = job;
    // A plan that cannot be made ends the session that asked for it, not this thread.
    if let Ok(made) = catch_unwind(AssertUnwindSafe(|| update(&planned, planner, &key, has))) {
        // The session may have ended meanwhile.
        let _ = answer.send(made);
    }
}

/// What brings an agent from what it has to its plan, with a reading of the intent for it alone.
pub fn make_one(planned: &Planned, key: &AgentId, has: Has) -> Made {
    update(planned, &Planner::new(&planned.intent), key, has)
}

fn update(planned: &Planned, planner: &Planner<'_>, key: &AgentId, has: Has) -> Made {
    let version = &planned.version;
    let diff = has.version().and_then(|since| planned.diff_since(key, since));
    let (update, objects, agents) = match (has, diff) {
        (Has::Sent(_, mut objects), Some(diff)) => {
            let changed = planned.change(planner, diff);
            let update = update::follow(&mut objects, version, changed, &diff.removed);
            (update, objects, plans::agents_of(planner, key))
        }
        (has, _) => {
            let AgentPlan { objects, agents } = planned.plan(planner, key);
            (update::update(&has, version, &objects), objects, agents)
        }
    };
    let then = Has::Sent(version.clone(), objects);
    Made { update, then, agents, traceparent: planned.traceparent.clone() }
}
