//! Who is asked beside the one controller that tells the topology.

use std::path::Path;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_topology_response::Event;
use fulcrum_runtime::tls::TlsFiles;
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};

use crate::connect::{self, Controllers, Refusal};
use crate::doctor::{self, Answers, Check, Group};
use crate::exit::Failure;
use crate::local;

/// A controller that has not answered within this is told to be silent: a handshake over the world takes a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// Events that are read for a controller's word on all of them: they come first, and there are a handful.
const MOST_EVENTS: usize = 64;

/// The agent behind a socket, whichever it is.
pub(super) async fn agent(socket: &Path) -> Result<Vec<Group>, Failure> {
    let found = local::ask(
        socket,
        "cannot ask the agent",
        async |mut director| director.get_director_status(v1::GetDirectorStatusRequest {}).await,
        async |mut agent| agent.get_real_server_status(v1::GetRealServerStatusRequest {}).await,
    );
    Ok(match found.await? {
        local::Answer::Director(found) => doctor::director(&found),
        local::Answer::RealServer(found) => doctor::real_server(&found),
    })
}

/// Whether callers must have an identity; none where the controller does not tell.
pub(super) async fn identities(controllers: &Controllers) -> Option<Check> {
    let asked = controllers.ask_for(PATIENCE, |channel| async move {
        connect::access(channel).get_caller(v1::GetCallerRequest {}).await
    });
    asked.await.ok().map(|answer| doctor::identities(answer.identities_required))
}

/// Asks every controller by itself, all at once, how it knows the controllers.
pub(super) async fn each(controllers: &[v1::ControllerStatus], tls: Option<&TlsFiles>) -> Answers {
    let mut asked = JoinSet::new();
    for controller in controllers {
        let v1::ControllerStatus { name, endpoint, .. } = controller.clone();
        let (tls, count) = (tls.cloned(), controllers.len());
        asked.spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, one(&endpoint, tls.as_ref(), count)).await;
            let late =
                |_| doctor::Answer::Silent(format!("no answer for {} s", PATIENCE.as_secs()));
            (name, answer.unwrap_or_else(late))
        });
    }
    asked.join_all().await.into_iter().collect()
}

async fn one(endpoint: &str, tls: Option<&TlsFiles>, count: usize) -> doctor::Answer {
    let controllers = match Controllers::new(&[endpoint.to_owned()], tls) {
        Ok(controllers) => controllers,
        Err(failure) => return doctor::Answer::Silent(failure.text),
    };
    match controllers.watch_topology().await {
        Ok(mut events) => match known(&mut events, count).await {
            Ok(known) => doctor::Answer::Told(known),
            Err(status) => doctor::Answer::Silent(connect::told(&status)),
        },
        // It answers, and has its hands full.
        Err(Refusal::Answered(status)) if status.code() == Code::ResourceExhausted => {
            doctor::Answer::Told(Vec::new())
        }
        Err(Refusal::Answered(status)) => doctor::Answer::Silent(connect::told(&status)),
        // One endpoint, one reason, behind `endpoint: `.
        Err(Refusal::Silent(why)) => {
            let why = why.join("; ");
            let prefix = format!("{endpoint}: ");
            doctor::Answer::Silent(why.strip_prefix(&prefix).unwrap_or(&why).to_owned())
        }
    }
}

/// The controllers by the word of one, which tells of them first. Neither intent nor agents are read.
async fn known(
    events: &mut Streaming<v1::WatchTopologyResponse>,
    count: usize,
) -> Result<Vec<v1::ControllerStatus>, Status> {
    let mut known: Vec<v1::ControllerStatus> = Vec::new();
    for _ in 0..MOST_EVENTS {
        if known.len() >= count {
            break;
        }
        match events.message().await?.and_then(|response| response.event) {
            Some(Event::Controller(controller)) => {
                known.retain(|other| other.name != controller.name);
                known.push(controller);
            }
            Some(Event::Synced(_)) | None => break,
            Some(Event::Agent(_) | Event::Resource(_) | Event::Deleted(_) | Event::Evidence(_)) => {
            }
        }
    }
    Ok(known)
}
