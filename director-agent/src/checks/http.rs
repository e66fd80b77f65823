//! An HTTP GET of a real server, on a connection of its own.

use std::net::SocketAddr;

use bytes::Bytes;
use fulcrum_model::HttpCheck;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::{Outcome, tcp};

/// The status decides; the body is not waited for.
pub(super) async fn get(address: SocketAddr, check: &HttpCheck) -> Outcome {
    let path = &check.path;
    let stream = match tcp::connect(address).await {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let host = check.host.clone().unwrap_or_else(|| address.ip().to_string());
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "fulcrum-director")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Outcome::NotTried(format!("GET {path} cannot be formed: {error}")),
    };
    match exchange(stream, request).await {
        Ok(status) if check.accepts(status.as_u16()) => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("GET {path} answered {}", status.as_u16())),
        Err(error) => Outcome::Failed(format!("GET {path}: {error}")),
    }
}

async fn exchange(
    stream: tokio::net::TcpStream,
    request: Request<Empty<Bytes>>,
) -> hyper::Result<StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        // The connection's end also ends the answer, with the reason.
        _ = &mut connection => answer.await,
    };
    response.map(|response| response.status())
}
