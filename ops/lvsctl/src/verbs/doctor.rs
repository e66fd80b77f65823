//! `lvsctl doctor`

use std::io::IsTerminal as _;
use std::time::SystemTime;

use fulcrum_runtime::certificate;
use fulcrum_runtime::tls::TlsFiles;

use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::doctor::{self, Check, Group, Outcome};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::paint::Paint;
use crate::suggest::suggest;
use crate::text::{to_json, to_yaml};
use crate::verbs::status::{ask, ask_director};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only these hosts: an agent by its name or as director/NAME or realserver/NAME, or cluster for the controllers.
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let groups = if let Some(socket) = &global.socket {
        doctor::director(&ask_director(socket).await?)
    } else {
        let tls = global.tls()?;
        let controllers = Controllers::new(&global.endpoint, tls.as_ref())?;
        let topology = ask(&controllers).await?;
        // Not before the answer, which would then be from the future.
        let now = SystemTime::now();
        doctor::topology(&topology, tls.as_ref().map(|files| certificates(files, now)), now)
    };
    let groups = chosen(groups, &arguments.hosts)?;
    match global.output.unwrap_or(Output::Table) {
        Output::Table => {
            let is_terminal = std::io::stdout().is_terminal();
            out::print(&doctor::to_text(&groups, is_terminal, Paint::detect()))?;
        }
        Output::Json => out::print(&to_json(&doctor::to_node(&groups)))?,
        Output::Yaml => out::print(&to_yaml(&doctor::to_node(&groups)))?,
    }
    Ok(if doctor::count(&groups, Outcome::Error) == 0 { Exit::Ok } else { Exit::Unhealthy })
}

fn certificates(files: &TlsFiles, now: SystemTime) -> Check {
    let found: Vec<_> = certificate::of_identity(files)
        .into_iter()
        .map(|(path, ends_at)| (path, ends_at.map_err(|error| error.to_string())))
        .collect();
    doctor::certificates(&found, now)
}

/// The groups of those names, all without any.
fn chosen(groups: Vec<Group>, hosts: &[String]) -> Result<Vec<Group>, Failure> {
    for host in hosts {
        if !groups.iter().any(|group| group.is_called(host)) {
            let known = groups.iter().map(|group| match group.name.as_str() {
                "" => group.role.as_str(),
                name => name,
            });
            let hint = match suggest(host, known) {
                Some(name) => format!("did you mean {name}?"),
                None => "`lvsctl doctor` without arguments shows all".to_owned(),
            };
            return Err(Failure::new(
                Exit::NotFound,
                format!("no host is called {host:?}: {hint}"),
            ));
        }
    }
    let is_chosen =
        |group: &Group| hosts.is_empty() || hosts.iter().any(|host| group.is_called(host));
    Ok(groups.into_iter().filter(is_chosen).collect())
}
