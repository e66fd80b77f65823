//! `lvsctl history`

use std::time::SystemTime;

use fulcrum_proto::v1;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::history::{lines, one};
use crate::out;
use crate::text::{message_to_node, to_json, to_yaml};

/// Which revisions to tell of.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this revision, with each field that it changed.
    revision: Option<u64>,
    /// Most revisions to print, newest first; up to 1000.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Tell what the controller asked has, without asking the leader: it may be old. For when no controller leads.
    #[arg(long)]
    stale: bool,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let stale = arguments.stale;
    let format = global.output.unwrap_or(Output::Table);
    let text = if let Some(revision) = arguments.revision {
        let request = v1::GetRevisionRequest { revision, stale };
        let answer = controllers
            .ask(|channel| async move { connect::intent(channel).get_revision(request).await })
            .await
            .map_err(|refusal| refusal.failure("cannot tell of the revision"))?;
        match format {
            Output::Table => one(&answer),
            Output::Json => to_json(&message_to_node(GET, &answer)),
            Output::Yaml => to_yaml(&message_to_node(GET, &answer)),
        }
    } else {
        let page_size = arguments.limit;
        let request = v1::ListRevisionsRequest { page_size, page_token: String::new(), stale };
        let answer = controllers
            .ask(|channel| {
                let request = request.clone();
                async move { connect::intent(channel).list_revisions(request).await }
            })
            .await
            .map_err(|refusal| refusal.failure("cannot tell the history"))?;
        match format {
            Output::Table => lines(&answer, SystemTime::now()),
            Output::Json => to_json(&message_to_node(LIST, &answer)),
            Output::Yaml => to_yaml(&message_to_node(LIST, &answer)),
        }
    };
    out::print(&text)?;
    Ok(Exit::Ok)
}

const GET: &str = "fulcrum.v1.GetRevisionResponse";
const LIST: &str = "fulcrum.v1.ListRevisionsResponse";
