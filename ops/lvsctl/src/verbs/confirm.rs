//! `lvsctl confirm`

use std::time::Duration;

use fulcrum_proto::convert::duration_from_text;
use fulcrum_proto::v1;
use tonic::Status;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers, Traced};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{message_to_node, to_json, to_yaml};

/// Which change is kept, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The revision that waits; whichever does when not given.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    revision: Option<u64>,
    /// Why, for the history.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

/// Shortest and longest wait, as the API has them.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_hours(24);

/// Reads how long a change waits, such as `5m`.
pub(super) fn parse_wait(text: &str) -> Result<Duration, String> {
    duration_from_text(text)
        .filter(|wait| (MIN_WAIT..=MAX_WAIT).contains(wait))
        .ok_or_else(|| "write a number and its unit, 1s to 24h, such as 5m".to_owned())
}

/// Fails on a controller of a release that would pass over `confirm_within`, `owner` and the `label_selector` of a watch: it would keep
/// for good what was to be confirmed, prune what others own, and tell everything.
pub(crate) async fn is_known(channel: Traced) -> Result<(), Status> {
    connect::intent(channel).get_unconfirmed(v1::GetUnconfirmedRequest {}).await.map(drop)
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let revision = match arguments.revision {
        Some(revision) => revision,
        None => waiting(&controllers).await?,
    };
    let request = v1::ConfirmRequest {
        revision,
        request_id: uuid::Uuid::new_v4().to_string(),
        reason: arguments.reason,
    };
    let answer = controllers
        .ask(|channel| {
            let request = request.clone();
            async move { connect::intent(channel).confirm(request).await }
        })
        .await
        .map_err(|refusal| refusal.failure("nothing was confirmed"))?;
    let name = "fulcrum.v1.ConfirmResponse";
    out::print(&match global.output.unwrap_or(Output::Table) {
        Output::Json => to_json(&message_to_node(name, &answer)),
        Output::Yaml => to_yaml(&message_to_node(name, &answer)),
        Output::Table => {
            format!("revision {revision} stays: confirmed by revision {}\n", answer.revision)
        }
    })?;
    Ok(Exit::Ok)
}

/// The revision that waits.
async fn waiting(controllers: &Controllers) -> Result<u64, Failure> {
    let answer = controllers
        .ask(|channel| async move {
            connect::intent(channel).get_unconfirmed(v1::GetUnconfirmedRequest {}).await
        })
        .await
        .map_err(|refusal| refusal.failure("cannot tell which change waits"))?;
    let waiting = answer.revision.map(|revision| revision.revision);
    waiting.ok_or_else(|| {
        let text = "no change waits to be confirmed; `lvsctl history` tells what became of it";
        Failure::new(Exit::NotFound, text)
    })
}
