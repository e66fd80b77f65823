//! `lvsctl rollback`

use fulcrum_proto::v1;

use super::confirm::is_known;
use super::writing::Writing;
use crate::cli::Global;
use crate::connect::{self, Controllers, Traced};
use crate::exit::{Exit, Failure};
use crate::order::refused;

/// What to bring back, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The revision whose intent is brought back; `lvsctl history` tells which are kept.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    revision: u64,
    #[command(flatten)]
    writing: Writing,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let v1::ApplyRequest {
        validate_only,
        if_revision,
        request_id,
        reason,
        allow_drastic,
        confirm_within,
        ..
    } = arguments.writing.request();
    let revision = arguments.revision;
    let request = v1::RollbackRequest {
        revision,
        validate_only,
        if_revision,
        request_id,
        reason,
        allow_drastic,
        confirm_within,
    };
    let answer = controllers
        .ask(|channel: Traced| {
            let request = request.clone();
            async move {
                if request.confirm_within.is_some() {
                    is_known(channel.clone()).await?;
                }
                connect::intent(channel).rollback(request).await
            }
        })
        .await
        .map_err(|refusal| refused(refusal, "cannot roll back"))?;
    let v1::RollbackResponse { revision, changes, agent_changes, confirm_by } = answer;
    let answer = v1::ApplyResponse { revision, changes, agent_changes, confirm_by };
    arguments.writing.end(global, &controllers, &answer).await
}
