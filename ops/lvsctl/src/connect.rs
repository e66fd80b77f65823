//! Controllers, tried in the order given, and agents' local sockets.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use fulcrum_proto::v1;
use fulcrum_proto::v1::access_service_client::AccessServiceClient;
use fulcrum_proto::v1::cluster_service_client::ClusterServiceClient;
use fulcrum_proto::v1::director_local_service_client::DirectorLocalServiceClient;
use fulcrum_proto::v1::event_service_client::EventServiceClient;
use fulcrum_proto::v1::intent_service_client::IntentServiceClient;
use fulcrum_proto::v1::topology_service_client::TopologyServiceClient;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::trace::InjectInterceptor;
use fulcrum_runtime::transport::connect_lazy;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::codegen::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status, Streaming};
use tonic_types::StatusExt;

use crate::exit::{Exit, Failure};
use crate::verbs::confirm::is_known;

/// A channel that sends the trace along.
pub(crate) type Traced = InterceptedService<Channel, InjectInterceptor>;

/// A controller that has not answered for this long is given up, and the next one tried.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer: a topology of a hundred thousand resources takes some tens of megabytes.
const MAX_ANSWER_BYTES: usize = 512 * 1024 * 1024;

/// The controllers.
pub(crate) struct Controllers {
    endpoints: Vec<(String, Traced)>,
}

impl Controllers {
    /// Prepares a channel to each; none is connected yet.
    pub(crate) fn new(endpoints: &[String], tls: Option<&TlsFiles>) -> Result<Self, Failure> {
        let endpoints = endpoints
            .iter()
            .map(|endpoint| match connect_lazy(endpoint, tls) {
                Ok(channel) => {
                    let traced = InterceptedService::new(channel, InjectInterceptor);
                    Ok((endpoint.clone(), traced))
                }
                Err(error) => Err(Failure::usage(error.to_string())),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { endpoints })
    }

    /// Asks one controller after the other until one answers. A request must be safe to repeat.
    pub(crate) async fn ask<T, F>(&self, ask: impl Fn(Traced) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask_for(ANSWER_TIMEOUT, ask).await
    }

    /// Watches the topology: all of it, then what changes.
    pub(crate) async fn watch_topology(
        &self,
    ) -> Result<Streaming<v1::WatchTopologyResponse>, Refusal> {
        let watch = |channel| async move {
            topology(channel).watch_topology(v1::WatchTopologyRequest {}).await
        };
        self.ask(watch).await
    }

    /// Asks for a write. Its id makes sure that it is written once, whoever is asked.
    pub(crate) async fn apply(
        &self,
        request: &v1::ApplyRequest,
    ) -> Result<v1::ApplyResponse, Refusal> {
        let apply = |channel: Traced| {
            let request = request.clone();
            async move {
                if request.confirm_within.is_some() || !request.owner.is_empty() {
                    is_known(channel.clone()).await?;
                }
                intent(channel).apply(request).await
            }
        };
        self.ask(apply).await
    }

    /// As [`Self::ask`], for a request that may take `longest`.
    pub(crate) async fn ask_for<T, F>(
        &self,
        longest: Duration,
        ask: impl Fn(Traced) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut silent = Vec::new();
        for (endpoint, channel) in &self.endpoints {
            match tokio::time::timeout(longest, ask(channel.clone())).await {
                Err(_) => silent.push(format!("{endpoint}: no answer for {} s", longest.as_secs())),
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if status.code() == Code::Unimplemented => {
                    silent.push(format!("{endpoint}: its release does not know the request"));
                }
                Ok(Err(status)) if is_no_http2(&status) => silent.push(format!(
                    "{endpoint}: what answers speaks no plain gRPC: where the controllers have [tls], give --tls-ca, --tls-cert and --tls-key"
                )),
                Ok(Err(status)) if is_silence(&status) => {
                    silent.push(format!("{endpoint}: {}", innermost(&status)));
                }
                Ok(Err(status)) => return Err(Refusal::Answered(Box::new(status))),
            }
        }
        Err(Refusal::Silent(silent))
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No controller could answer; each with why.
    Silent(Vec<String>),
    /// A controller answered, with this.
    Answered(Box<Status>),
}

impl Refusal {
    /// The failure, told with what was being done.
    pub(crate) fn failure(self, doing: &str) -> Failure {
        match self {
            Self::Silent(silent) => Failure::new(
                Exit::Unreachable,
                format!(
                    "{doing}: no controller can answer\n  {}\nCheck --endpoint (or FULCRUM_ENDPOINT), the network, and \
                     on a controller `systemctl status fulcrum-controller`.",
                    silent.join("\n  ")
                ),
            ),
            Self::Answered(status) => {
                Failure::new(exit_of(&status), format!("{doing}: {}", told(&status)))
            }
        }
    }
}

/// No answer from a controller that could give one: another one may.
fn is_silence(status: &Status) -> bool {
    // tonic reports a broken connection as unavailable or, mid-request, as unknown with its source.
    match status.code() {
        // The latter is one of an older release, which does not know the call: during an upgrade another one does.
        Code::Unavailable | Code::Unimplemented => true,
        code => code == Code::Unknown && std::error::Error::source(status).is_some(),
    }
}

/// What came back is no HTTP/2, as from a port that speaks TLS alone.
fn is_no_http2(status: &Status) -> bool {
    // tonic has no other sign of it; a controller's own words never begin so.
    status.code() == Code::Internal && status.message().starts_with("h2 protocol error")
}

/// What is at the bottom of it: `Connection refused`, not `transport error`.
fn innermost(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

fn exit_of(status: &Status) -> Exit {
    match status.code() {
        Code::Ok => Exit::Ok,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::Unavailable | Code::Unimplemented => Exit::Unreachable,
        Code::NotFound => Exit::NotFound,
        Code::Aborted | Code::AlreadyExists | Code::FailedPrecondition => Exit::Conflict,
        Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
        Code::DeadlineExceeded | Code::Cancelled => Exit::TimedOut,
        Code::ResourceExhausted | Code::Internal | Code::DataLoss | Code::Unknown => {
            Exit::Unhealthy
        }
    }
}

/// The controller's words, with the details that it sent.
pub(crate) fn told(status: &Status) -> String {
    let mut text = status.message().to_owned();
    if let Some(info) = status.get_details_error_info() {
        let known: Vec<String> = info
            .metadata
            .iter()
            .filter(|(_, value)| !text.contains(value.as_str()))
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        let mut known = known;
        known.sort();
        if !known.is_empty() {
            text = format!("{text} ({})", known.join(", "));
        }
    }
    if text.is_empty() { status.code().description().to_owned() } else { text }
}

/// A client of the intent.
pub(crate) fn intent(channel: Traced) -> IntentServiceClient<Traced> {
    IntentServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// A client of what callers may do.
pub(crate) fn access(channel: Traced) -> AccessServiceClient<Traced> {
    AccessServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// A client of the topology.
pub(crate) fn topology(channel: Traced) -> TopologyServiceClient<Traced> {
    TopologyServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// A client of what happened.
pub(crate) fn events(channel: Traced) -> EventServiceClient<Traced> {
    EventServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// A client of the controllers as a cluster.
pub(crate) fn cluster(channel: Traced) -> ClusterServiceClient<Traced> {
    ClusterServiceClient::new(channel)
}

/// A channel to an agent on this host, by its local socket.
pub(crate) async fn local(socket: &Path) -> Result<Channel, Failure> {
    let path = socket.to_owned();
    // The URI is not used: the connector below goes to the socket.
    Endpoint::from_static("http://agent.local")
        .connect_timeout(ANSWER_TIMEOUT)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|error| socket_failure(socket, &error))
}

/// A client of a director on this host, by its local socket.
pub(crate) async fn director(
    socket: &Path,
) -> Result<DirectorLocalServiceClient<Channel>, Failure> {
    local(socket).await.map(director_of)
}

/// The client of a director's channel.
pub(crate) fn director_of(channel: Channel) -> DirectorLocalServiceClient<Channel> {
    DirectorLocalServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

fn socket_failure(socket: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let kind = innermost.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let (exit, remedy) = match kind {
        Some(std::io::ErrorKind::PermissionDenied) => {
            (Exit::Denied, "run as root or as a member of the agent's group")
        }
        Some(std::io::ErrorKind::NotFound) => {
            (Exit::Unreachable, "start the agent, or give the `socket` of its configuration")
        }
        _ => (
            Exit::Unreachable,
            "check `systemctl status` of fulcrum-director or fulcrum-realserver",
        ),
    };
    let socket = socket.display();
    Failure::new(exit, format!("cannot ask the agent at {socket}: {innermost}; {remedy}"))
}
