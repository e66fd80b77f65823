//! gRPC's own health check: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use std::io;
use std::sync::Mutex;

use fulcrum_model::GrpcCheck;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint as Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::endpoint::Endpoint;
use super::{Attempt, Outcome, failed, tls};

/// Longest answer that is read: it holds one number.
const ANSWER_BYTES: usize = 1024;

/// Asks on a connection of its own.
pub(super) async fn ask(endpoint: &Endpoint, check: &GrpcCheck) -> Attempt {
    let stream = endpoint.connect().await?;
    let Some(tls) = &check.tls else {
        serves(check, channel(stream).await?).await?;
        return Ok(None);
    };
    let (stream, remark) =
        tls::handshake(tls, (endpoint.address.ip(), None), &[b"h2"], stream).await?;
    serves(check, channel(stream).await?).await?;
    Ok(remark)
}

/// A channel on this connection, and on no other.
async fn channel<S>(stream: S) -> Result<Channel, Outcome>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = service_fn(move |_| {
        let stream = stream.lock().ok().and_then(|mut stream| stream.take());
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted)) }
    });
    // The name is of no matter: the connection is made.
    let uri = Uri::from_static("http://real-server");
    let channel = uri.connect_with_connector(connector).await;
    channel.map_err(|error| Outcome::Failed(format!("HTTP/2: {error}")))
}

async fn serves(check: &GrpcCheck, channel: Channel) -> Result<(), Outcome> {
    let request = HealthCheckRequest { service: check.service.clone() };
    let service = match check.service.as_str() {
        "" => "the server".to_owned(),
        name => format!("service {name}"),
    };
    let mut client = HealthClient::new(channel).max_decoding_message_size(ANSWER_BYTES);
    match client.check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(answer) => failed(format!("{service} is {}", answer.get_ref().status().as_str_name())),
        Err(status) => failed(format!(
            "{service}: {:?} to a health check: {}",
            status.code(),
            status.message()
        )),
    }
}
