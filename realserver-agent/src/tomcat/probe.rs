//! One try of a server from its own host: a TCP connection, and an HTTP GET where a path is given.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Most bytes of an answer's body that are read; what is beyond fails the try.
const MAX_BODY: usize = 4 << 20;

/// A try that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Time from the start of the connection to the answer's head.
    pub time: Duration,
    /// Status, where a page was asked for.
    pub status: Option<u16>,
}

/// A try that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody listens.
    #[error("connection to {0} refused")]
    Refused(SocketAddr),
    /// No answer in time.
    #[error("{what} took longer than {}", humantime::format_duration(*timeout))]
    TimedOut {
        /// What was awaited.
        what: String,
        /// The limit.
        timeout: Duration,
    },
    /// Another status than 200 to 399.
    #[error("GET {path} answered {status}")]
    Status {
        /// The path.
        path: String,
        /// The status.
        status: u16,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Tries once.
///
/// # Errors
/// [`Failure`] tells what was seen, in words for people.
pub async fn probe(
    server: SocketAddr,
    path: Option<&str>,
    timeout: Duration,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let what = match path {
        Some(path) => format!("GET {path}"),
        None => format!("connection to {server}"),
    };
    let attempt = async {
        let stream = connect(server).await?;
        let Some(path) = path else { return Ok(Answer { time: started.elapsed(), status: None }) };
        let (status, _) = get(stream, &server.to_string(), path, None).await?;
        if status.is_success() || status.is_redirection() {
            Ok(Answer { time: started.elapsed(), status: Some(status.as_u16()) })
        } else {
            Err(Failure::Status { path: path.to_owned(), status: status.as_u16() })
        }
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Failure::TimedOut { what, timeout }),
    }
}

/// Connects.
///
/// # Errors
/// [`Failure::Refused`] or [`Failure::Other`].
pub async fn connect(server: SocketAddr) -> Result<TcpStream, Failure> {
    TcpStream::connect(server).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Failure::Refused(server),
        _ => Failure::Other(format!("connection to {server}: {error}")),
    })
}

/// Asks for a page and reads the whole answer.
///
/// # Errors
/// The connection or the answer breaks, or the body is larger than 4 MiB.
pub async fn get(
    stream: TcpStream,
    host: &str,
    path: &str,
    authorization: Option<&str>,
) -> Result<(StatusCode, Bytes), Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Other(format!("GET {path}: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    let mut request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "fulcrum-realserver")
        .header(header::CONNECTION, "close");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| broken(&e))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        Ok((status, body.map_err(|e| broken(&e))?.to_bytes()))
    };
    // The connection only moves while it is polled; it ends with the exchange.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended.map_err(|e| broken(&e))?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        address
    }

    #[tokio::test]
    async fn statuses_count_as_they_should() {
        let second = Duration::from_secs(5);
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(Some(200))),
            ("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", Ok(Some(302))),
            ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Err("GET / answered 503".to_owned())),
        ] {
            let server = serve(answer).await;
            let got = probe(server, Some("/"), second).await;
            assert_eq!(got.map(|a| a.status).map_err(|e| e.to_string()), expected);
        }
        let server = serve("nonsense").await;
        assert!(matches!(probe(server, Some("/"), second).await, Err(Failure::Other(_))));
    }

    #[tokio::test]
    async fn refusal_and_silence_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = probe(address, Some("/"), Duration::from_millis(20)).await;
        assert_eq!(silent.unwrap_err().to_string(), "GET / took longer than 20ms");
        drop(listener);
        assert_eq!(
            probe(address, None, Duration::from_secs(5)).await,
            Err(Failure::Refused(address))
        );
    }
}
