//! What is due of an order to restart. Pure.
//!
//! ```text
//!   order ──drained, action known──▶ begun (on disk) ──exit 0──▶ done
//!     │ otherwise                        │ anything else, or the agent ended
//!     ▼                                  ▼
//!   waiting                            failed: it is not run again
//! ```

use std::time::Duration;

use fulcrum_model::{Name, RestartEvidence, RestartPlan, RestartState};

/// What is remembered of the last order of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The order.
    pub id: String,
    /// How far it came.
    pub stage: Stage,
}

/// How far an order came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its command was begun.
    Begun,
    /// Its command ended, then; with why it failed, if it did.
    Ended(Duration, Result<(), String>),
    /// Nothing else is known for certain: the journal cannot be read. With the remedy.
    Unread(String),
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// The command is begun.
    Run,
    /// Nothing but to tell this.
    Tell(RestartEvidence),
}

/// Judges an order. `is_busy`: a command of its server runs in this life of the agent.
pub fn due(
    order: &RestartPlan,
    is_drained: bool,
    record: Option<&Record>,
    is_busy: bool,
    has_action: bool,
) -> Due {
    let tell = |state, detail: String, finished_at| {
        Due::Tell(RestartEvidence { id: order.id.clone(), state, detail, finished_at })
    };
    let wait = |detail: String| tell(RestartState::Waiting, detail, None);
    match (record, is_busy) {
        (Some(Record { stage: Stage::Unread(why), .. }), _) => wait(why.clone()),
        (Some(Record { id, stage: Stage::Begun }), true) if *id == order.id => {
            Due::Tell(running(id))
        }
        (Some(Record { id, stage: Stage::Begun }), false) if *id == order.id => {
            tell(RestartState::Failed, INTERRUPTED.to_owned(), None)
        }
        (Some(Record { id, stage: Stage::Ended(at, outcome) }), _) if *id == order.id => {
            match outcome {
                Ok(()) => tell(RestartState::Done, String::new(), Some(*at)),
                Err(why) => tell(RestartState::Failed, why.clone(), Some(*at)),
            }
        }
        (_, true) => wait("another restart of it still runs".to_owned()),
        (_, false) if !has_action => wait(no_such_action(&order.action)),
        (_, false) if !is_drained && !order.even_if_serving => wait(NOT_DRAINED.to_owned()),
        (_, false) => Due::Run,
    }
}

/// The command of this order runs.
pub fn running(id: &str) -> RestartEvidence {
    RestartEvidence {
        id: id.to_owned(),
        state: RestartState::Running,
        detail: String::new(),
        finished_at: None,
    }
}

/// The remedy where the configuration has no such action.
pub fn no_such_action(action: &Name) -> String {
    format!(
        "no such action configured: put {action} = [\"PROGRAM\", \"ARGUMENT\", ...] under [actions] in realserver.toml on its \
         host, and restart the agent"
    )
}

const INTERRUPTED: &str = "unknown: interrupted: the agent ended while the command ran, and does not run it again; look at \
                           the server, then order a new restart";
const NOT_DRAINED: &str =
    "it takes new connections: drain it first (`lvsctl drain`), or order it with even_if_serving";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_carried_out_once() {
        let order = |id: &str, even_if_serving| RestartPlan {
            id: id.to_owned(),
            action: "restart".parse().expect("a name"),
            even_if_serving,
        };
        let record = |id: &str, stage| Some(Record { id: id.to_owned(), stage });
        let at = Duration::from_secs(9);
        let failed = || Stage::Ended(at, Err("exit status: 1".to_owned()));
        let damaged = || Stage::Unread("damaged".to_owned());
        // What is remembered, whether a command runs, whether it is drained, whether the action is there: what is told.
        let cases = [
            (None, false, true, true, "run"),
            (None, false, false, true, "Waiting: it takes new connections"),
            (None, false, true, false, "Waiting: no such action configured: put restart = "),
            (record("a@1", Stage::Begun), true, true, true, "Running: "),
            (record("a@1", Stage::Begun), true, false, false, "Running: "),
            (record("a@1", Stage::Begun), false, true, true, "Failed: unknown: interrupted"),
            (record("a@1", Stage::Ended(at, Ok(()))), false, true, true, "Done: "),
            (record("a@1", Stage::Ended(at, Ok(()))), false, false, false, "Done: "),
            (record("a@1", failed()), false, true, true, "Failed: exit status: 1"),
            // Another order went before.
            (record("a@0", Stage::Begun), true, true, true, "Waiting: another restart"),
            (record("a@0", Stage::Begun), false, true, true, "run"),
            (record("a@0", Stage::Ended(at, Ok(()))), false, true, true, "run"),
            (record("a@0", failed()), false, false, true, "Waiting: it takes new connections"),
            (record("a@1", damaged()), false, true, true, "Waiting: damaged"),
            (record("", damaged()), false, true, true, "Waiting: damaged"),
        ];
        for (record, is_busy, is_drained, has_action, expected) in cases {
            let due = due(&order("a@1", false), is_drained, record.as_ref(), is_busy, has_action);
            let text = match due {
                Due::Run => "run".to_owned(),
                Due::Tell(told) => format!("{:?}: {}", told.state, told.detail),
            };
            assert!(text.starts_with(expected), "{record:?} {is_busy} {is_drained}: {text}");
        }
        assert_eq!(due(&order("a@1", true), false, None, false, true), Due::Run);
    }
}
