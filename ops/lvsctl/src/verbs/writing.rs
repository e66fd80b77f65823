//! What every verb that writes intent is told, and how it ends.

use std::time::Duration;

use fulcrum_proto::convert::duration_to_wire;
use fulcrum_proto::v1;

use super::{apply, confirm, wait};
use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::out;

/// How to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Writing {
    /// Change nothing; print what would change, also for each agent. Exit code 1 when something would.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Refuse unless the intent is at this revision.
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(super) if_revision: u64,
    /// Mean it, even where it deletes more than half of the virtual servers, or leaves one less than half of its weight.
    #[arg(long)]
    pub(super) allow_drastic: bool,
    /// Why, for the history.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(super) reason: String,
    /// Undo it by itself unless it is confirmed within this time (`lvsctl confirm`). Until then others cannot write.
    #[arg(long, value_name = "TIME", value_parser = confirm::parse_wait)]
    pub(super) confirm_within: Option<Duration>,
    /// Wait until every agent has applied it.
    #[arg(
        long,
        value_name = "TIMEOUT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = wait::DEFAULT_TIMEOUT,
        value_parser = wait::parse_timeout
    )]
    pub(super) wait: Option<Duration>,
}

impl Writing {
    /// A write of nothing yet. Its id is the same on every controller that is tried: it is written once.
    pub(super) fn request(&self) -> v1::ApplyRequest {
        v1::ApplyRequest {
            validate_only: self.dry_run,
            if_revision: self.if_revision,
            request_id: uuid::Uuid::new_v4().to_string(),
            allow_drastic: self.allow_drastic,
            reason: self.reason.clone(),
            confirm_within: self.confirm_within.map(duration_to_wire),
            ..v1::ApplyRequest::default()
        }
    }

    /// Prints what was or would be changed, and waits where that is asked for.
    pub(super) async fn end(
        &self,
        global: &Global,
        controllers: &Controllers,
        answer: &v1::ApplyResponse,
    ) -> Result<Exit, Failure> {
        let format = global.output.unwrap_or(Output::Table);
        out::print(&apply::render(answer, self.dry_run, format))?;
        if self.dry_run {
            return Ok(if answer.changes.is_empty() { Exit::Ok } else { Exit::Unhealthy });
        }
        let Some(timeout) = self.wait else { return Ok(Exit::Ok) };
        let waited = wait::wait(controllers, answer.revision, timeout).await?;
        if waited.converged && format == Output::Table {
            out::print(&wait::converged(&waited))?;
        }
        wait::finish(&waited, timeout)
    }
}
