//! `lvsctl thaw`

use fulcrum_proto::v1;

use super::freeze::NEEDS_SOCKET;
use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::local::{self, Answer, release};

/// Whose freeze to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Who you are.
    #[arg(long, env = "USER", default_value = "lvsctl", value_name = "NAME")]
    owner: String,
    /// End another owner's freeze, too.
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let Some(socket) = &global.socket else { return Err(Failure::usage(NEEDS_SOCKET)) };
    let release = Some(release(&arguments.owner, arguments.force));
    let for_host = release.clone();
    let answer = local::ask(
        socket,
        "cannot thaw",
        async |mut director| director.thaw(v1::ThawRequest { release }).await,
        async |mut agent| agent.thaw_host(v1::ThawHostRequest { release: for_host }).await,
    )
    .await?;
    let line = |ended: &Option<v1::Freeze>| match ended {
        Some(v1::Freeze { owner, held_edits, .. }) => {
            format!("thawed; {owner} had frozen it, and {held_edits} edits were held back\n")
        }
        None => "it was not frozen\n".to_owned(),
    };
    match answer {
        Answer::Director(told) => {
            local::print(global, "fulcrum.v1.ThawResponse", &told, &line(&told.ended), &[])?;
        }
        Answer::RealServer(told) => {
            local::print(global, "fulcrum.v1.ThawHostResponse", &told, &line(&told.ended), &[])?;
        }
    }
    Ok(Exit::Ok)
}
