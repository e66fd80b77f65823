//! `lvsctl rollback`

use std::time::Duration;

use fulcrum_proto::v1;

use super::{apply, wait};
use crate::cli::Global;
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::order::refused;

/// What to bring back, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The revision whose intent is brought back; `lvsctl history` tells which are kept.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    revision: u64,
    /// Change nothing; print what would change, also for each agent. Exit code 1 when something would.
    #[arg(long)]
    dry_run: bool,
    /// Refuse unless the intent is at this revision.
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    if_revision: u64,
    /// Mean it, even where it deletes more than half of the virtual servers, or leaves one less than half of its weight.
    #[arg(long)]
    allow_drastic: bool,
    /// Why, for the history.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Wait until every agent has applied it.
    #[arg(
        long,
        value_name = "TIMEOUT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = wait::DEFAULT_TIMEOUT,
        value_parser = wait::parse_timeout
    )]
    wait: Option<Duration>,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let request = v1::RollbackRequest {
        revision: arguments.revision,
        validate_only: arguments.dry_run,
        if_revision: arguments.if_revision,
        // The same on every controller that is tried: it is written once.
        request_id: uuid::Uuid::new_v4().to_string(),
        reason: arguments.reason,
        allow_drastic: arguments.allow_drastic,
    };
    let answer = controllers
        .ask(|channel| {
            let request = request.clone();
            async move { connect::intent(channel).rollback(request).await }
        })
        .await
        .map_err(|refusal| refused(refusal, "cannot roll back"))?;
    let v1::RollbackResponse { revision, changes, agent_changes } = answer;
    let answer = v1::ApplyResponse { revision, changes, agent_changes };
    apply::end(global, &controllers, &answer, arguments.dry_run, arguments.wait).await
}
