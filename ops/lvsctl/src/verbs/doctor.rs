//! `lvsctl doctor`

mod ask;

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
use crate::verbs::status;

/// What to look at.
#[derive(Debug, clap::Args)]
#[command(after_long_help = FORM)]
pub(crate) struct Arguments {
    /// Only these hosts: a program by its name, or as controller/NAME, director/NAME or realserver/NAME, or cluster for all
    /// controllers.
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
}

const FORM: &str = "\
Each check is ok, warning, error or unknown: nobody has looked, or what was told is old. Controllers and agents look at \
their hosts by themselves, every 30 s; lvsctl asks every controller. Nothing is changed.

Exit codes: 0 no error, whatever the warnings; 1 errors; 2 usage; 3 no controller or agent answers; 4 no such host; 6 denied.

With -o json (or yaml) one object: errors, warnings and unknown as numbers, and hosts, a list of objects with role (cluster, \
controller, director, realserver), name (empty for cluster) and checks. A check has code, result (ok, warning, error, \
unknown), title (what holds when it is ok), why (of unknown; else empty) and findings, a list of objects with severity \
(warning, error), subject, found and remedy. Codes and keys stay; more of both may come.";

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let groups = if let Some(socket) = &global.socket {
        ask::agent(socket).await?
    } else {
        let tls = global.tls()?;
        let controllers = Controllers::new(&global.endpoint, tls.as_ref())?;
        let topology = status::ask(&controllers).await?;
        let identities = ask::identities(&controllers).await;
        let answers = ask::each(&topology.controllers, tls.as_ref()).await;
        // Not before the answer, which would then be from the future.
        let now = SystemTime::now();
        let own = tls.as_ref().map(|files| certificates(files, now));
        let mut groups = doctor::topology(&topology, &answers, own, now);
        if tls.is_some() {
            let cluster = groups.iter_mut().find(|group| group.role == "cluster");
            if let Some(cluster) = cluster {
                cluster.checks.extend(identities.clone());
            }
        }
        groups
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
