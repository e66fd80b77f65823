//! Orders at an agent itself, by its local socket: a director's, or a real-server agent's.
//!
//! Which of the two answers is found out by asking: what the one does not know, the other does.

use std::fmt::Write as _;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use fulcrum_proto::convert::{duration_from_text, duration_to_wire};
use fulcrum_proto::v1;
use fulcrum_proto::v1::director_local_service_client::DirectorLocalServiceClient;
use fulcrum_proto::v1::real_server_local_service_client::RealServerLocalServiceClient;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::cli::{Global, Output};
use crate::connect::{self, Refusal};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{message_to_node, to_json, to_yaml};

/// Whose, why and how long.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) owner: String,
    pub(crate) reason: String,
    /// The agent's default when none.
    pub(crate) duration: Option<Duration>,
    pub(crate) force: bool,
}

impl Order {
    pub(crate) fn to_wire(&self) -> v1::LocalOrder {
        v1::LocalOrder {
            owner: person(&self.owner),
            reason: self.reason.clone(),
            duration: self.duration.map(duration_to_wire),
            force: self.force,
        }
    }
}

/// Who asks for an end.
pub(crate) fn release(owner: &str, force: bool) -> v1::LocalRelease {
    v1::LocalRelease { owner: person(owner), force }
}

/// Who sits there: behind root by sudo stands somebody.
fn person(owner: &str) -> String {
    match std::env::var("SUDO_USER") {
        Ok(user) if owner == "root" && !user.is_empty() => user,
        _ => owner.to_owned(),
    }
}

/// How long an order at an agent stands.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration_from_text(text).ok_or_else(|| "write a number and its unit, such as 15m".to_owned())
}

/// What one of the two answered.
pub(crate) enum Answer<D, R> {
    Director(D),
    RealServer(R),
}

/// Asks whoever is behind the socket.
pub(crate) async fn ask<D, R, AsD, AsR>(
    socket: &Path,
    doing: &str,
    director: impl FnOnce(DirectorLocalServiceClient<Channel>) -> AsD,
    real_server: impl FnOnce(RealServerLocalServiceClient<Channel>) -> AsR,
) -> Result<Answer<D, R>, Failure>
where
    AsD: Future<Output = Result<Response<D>, Status>>,
    AsR: Future<Output = Result<Response<R>, Status>>,
{
    let channel = connect::local(socket).await?;
    let failed = |status| Refusal::Answered(Box::new(status)).failure(doing);
    match director(connect::director_of(channel.clone())).await {
        Ok(answer) => return Ok(Answer::Director(answer.into_inner())),
        Err(status) if status.code() == Code::Unimplemented => {}
        Err(status) => return Err(failed(status)),
    }
    match real_server(RealServerLocalServiceClient::new(channel)).await {
        Ok(answer) => Ok(Answer::RealServer(answer.into_inner())),
        Err(status) if status.code() == Code::Unimplemented => Err(Failure::new(
            Exit::Unreachable,
            format!("{doing}: the agent at {} does not know this; upgrade it", socket.display()),
        )),
        Err(status) => Err(failed(status)),
    }
}

/// Prints an answer: `lines` for people, with what to know besides.
pub(crate) fn print(
    global: &Global,
    name: &str,
    message: &impl Message,
    lines: &str,
    warnings: &[String],
) -> Result<(), Failure> {
    let node = || message_to_node(name, message);
    match global.output.unwrap_or(Output::Table) {
        Output::Table => {
            let mut text = lines.to_owned();
            for warning in warnings {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  ! {warning}");
            }
            out::print(&text)
        }
        Output::Json => out::print(&to_json(&node())),
        Output::Yaml => out::print(&to_yaml(&node())),
    }
}
