//! `lvsctl status`

use std::path::Path;
use std::time::SystemTime;

use fulcrum_proto::v1;
use prost::Message;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers, Refusal};
use crate::exit::{Exit, Failure};
use crate::local::{self, Answer};
use crate::out;
use crate::paint::Paint;
use crate::status;
use crate::text::{Node, message_to_node, to_json, to_yaml};

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let format = global.output.unwrap_or(Output::Table);
    let problems = if let Some(socket) = &global.socket {
        of_agent(socket, format).await?
    } else {
        let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
        let topology = ask(&controllers).await?;
        // Not before the answer, which would then be from the future.
        let now = SystemTime::now();
        let problems = status::problems(&topology, now);
        let table = || status::topology(&topology, &problems, now, Paint::detect());
        print(format, &problems, table, "fulcrum.v1.Topology", &topology)?;
        problems
    };
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Unhealthy })
}

/// Whoever is behind the socket.
async fn of_agent(socket: &Path, format: Output) -> Result<Vec<String>, Failure> {
    let found = local::ask(
        socket,
        "cannot ask the agent",
        async |mut director| director.get_director_status(v1::GetDirectorStatusRequest {}).await,
        async |mut agent| agent.get_real_server_status(v1::GetRealServerStatusRequest {}).await,
    )
    .await?;
    let now = SystemTime::now();
    match found {
        Answer::Director(found) => {
            let problems = status::director_problems(&found);
            let table = || status::director(&found, &problems, now, Paint::detect());
            print(format, &problems, table, "fulcrum.v1.GetDirectorStatusResponse", &found)?;
            Ok(problems)
        }
        Answer::RealServer(found) => {
            let problems = status::real_server_problems(&found);
            let table = || status::real_server(&found, &problems, now, Paint::detect());
            print(format, &problems, table, "fulcrum.v1.GetRealServerStatusResponse", &found)?;
            Ok(problems)
        }
    }
}

/// Makes what was asked for and no more: of a director with a hundred thousand weights either takes hundreds of megabytes.
fn print(
    format: Output,
    problems: &[String],
    table: impl FnOnce() -> String,
    name: &str,
    message: &impl Message,
) -> Result<(), Failure> {
    let node = || with_problems(message_to_node(name, message), problems);
    match format {
        Output::Table => out::print(&table()),
        Output::Json => out::print(&to_json(&node())),
        Output::Yaml => out::print(&to_yaml(&node())),
    }
}

/// The message with what lvsctl makes of it.
fn with_problems(node: Node, problems: &[String]) -> Node {
    let list = Node::List(problems.iter().map(|problem| Node::text(problem)).collect());
    match node {
        Node::Map(mut entries) => {
            entries.push(("problems".to_owned(), list));
            Node::Map(entries)
        }
        other @ (Node::Plain(_) | Node::Text(_) | Node::List(_)) => other,
    }
}

/// The whole topology.
pub(crate) async fn ask(controllers: &Controllers) -> Result<v1::Topology, Failure> {
    let answer = controllers
        .ask(|channel| async move {
            connect::topology(channel).get_status(v1::GetStatusRequest {}).await
        })
        .await
        .map_err(|refusal| {
            let is_silent = matches!(refusal, Refusal::Silent(_));
            let mut failure = refusal.failure("cannot tell the cluster's status");
            if is_silent {
                failure.text.push_str(
                    "\nDirectors go on without controllers: on a director's host, `lvsctl --socket \
                     /run/fulcrum/director.sock status`.",
                );
            }
            failure
        })?;
    Ok(answer.topology.unwrap_or_default())
}

/// A director on this host.
pub(crate) async fn ask_director(socket: &Path) -> Result<v1::GetDirectorStatusResponse, Failure> {
    let mut client = connect::director(socket).await?;
    match client.get_director_status(v1::GetDirectorStatusRequest {}).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(Refusal::Answered(Box::new(status)).failure("cannot ask the director")),
    }
}
