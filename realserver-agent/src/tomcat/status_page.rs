//! Load from a status page: Tomcat's `/manager/status/all?JSON=true` (role manager-status).

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use fulcrum_model::{ServerLoad, StatusPage};
use hyper::{StatusCode, Uri};
use serde::Deserialize;

use super::probe;

/// Why there is no load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusPageError {
    /// The URL cannot be used.
    #[error("status_url {url:?}: {reason}")]
    Url {
        /// It.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// The password's file cannot be read.
    #[error("status_password_file {file}: {reason}")]
    Password {
        /// It.
        file: String,
        /// Why.
        reason: String,
    },
    /// The user or password is wrong. To ask again soon would lock the user out (Tomcat's `LockOutRealm`).
    #[error("status page: {0}: give the user the role manager-status, and check its password")]
    Denied(StatusCode),
    /// Anything else.
    #[error("status page: {0}")]
    Unread(String),
}

/// Reads the load of the connector on `port`, or of the only one.
///
/// # Errors
/// [`StatusPageError`], with the remedy where there is one.
pub async fn read(
    page: &StatusPage,
    port: u16,
    timeout: Duration,
) -> Result<ServerLoad, StatusPageError> {
    let (server, path) = locate(&page.url)?;
    let authorization = match (&page.user, &page.password_file) {
        (Some(user), Some(file)) => Some(basic(user, &password(file).await?)),
        (Some(user), None) => Some(basic(user, "")),
        (None, Some(_) | None) => None,
    };
    let exchange = async {
        let stream = probe::connect(server).await?;
        probe::get(stream, &server.to_string(), &path, authorization.as_deref()).await
    };
    let (status, body) = match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => return Err(StatusPageError::Unread(failure.to_string())),
        Err(_) => return Err(StatusPageError::Unread("no answer in time".to_owned())),
    };
    match status {
        StatusCode::OK => parse(&body, port),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(StatusPageError::Denied(status)),
        other => Err(StatusPageError::Unread(format!("GET {path} answered {}", other.as_u16()))),
    }
}

fn locate(url: &str) -> Result<(SocketAddr, String), StatusPageError> {
    let refuse = |reason| StatusPageError::Url { url: url.to_owned(), reason };
    let uri: Uri = url
        .parse()
        .map_err(|_| refuse("no URL; write http://127.0.0.1:8080/manager/status/all?JSON=true"))?;
    if uri.scheme_str() != Some("http") {
        return Err(refuse("only http:// on the agent's own host"));
    }
    let host = uri.host().unwrap_or_default();
    let address = match host {
        "localhost" => std::net::Ipv4Addr::LOCALHOST.into(),
        _ => host
            .trim_matches(['[', ']'])
            .parse()
            .map_err(|_| refuse("write the host as an address, or localhost"))?,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((SocketAddr::new(address, uri.port_u16().unwrap_or(80)), path.to_owned()))
}

async fn password(file: &str) -> Result<String, StatusPageError> {
    let text = tokio::fs::read_to_string(file).await.map_err(|error| {
        StatusPageError::Password { file: file.to_owned(), reason: error.to_string() }
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn basic(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

#[derive(Deserialize)]
struct Page {
    tomcat: Status,
}

#[derive(Deserialize)]
struct Status {
    connector: Vec<Connector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connector {
    name: String,
    thread_info: ThreadInfo,
    request_info: RequestInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThreadInfo {
    // -1 for an executor that does not tell.
    max_threads: i64,
    current_threads_busy: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestInfo {
    request_count: u64,
    error_count: u64,
}

fn parse(body: &[u8], port: u16) -> Result<ServerLoad, StatusPageError> {
    let page: Page = serde_json::from_slice(body).map_err(|error| {
        StatusPageError::Unread(format!("{error}; is the URL …/manager/status/all?JSON=true?"))
    })?;
    let connectors = &page.tomcat.connector;
    let suffix = format!("-{port}");
    let connector = connectors
        .iter()
        .find(|connector| connector.name.trim_matches('"').ends_with(&suffix))
        .or(match connectors.as_slice() {
            [only] => Some(only),
            _ => None,
        })
        .ok_or_else(|| StatusPageError::Unread(format!("it names no connector of port {port}")))?;
    let count = |value: i64| u32::try_from(value).unwrap_or(0);
    Ok(ServerLoad {
        busy_threads: count(connector.thread_info.current_threads_busy),
        max_threads: count(connector.thread_info.max_threads),
        request_count: connector.request_info.request_count,
        error_count: connector.request_info.error_count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // From Tomcat 10.1's /manager/status/all?JSON=true, memory pools and contexts cut out, a second connector added.
    const PAGE: &str = r#"{"tomcat":{
  "jvm":{"memory":{"free":107432728,"total":129761280,"max":129761280},"memorypool":[]},
  "connector":[
    {"name":"http-nio-18080",
      "threadInfo":{"maxThreads":200,"currentThreadCount":10,"currentThreadsBusy":1},
      "requestInfo":{"maxTime":22,"processingTime":22,"requestCount":1,"errorCount":0,"bytesReceived":0,"bytesSent":3}},
    {"name":"http-nio-127.0.0.1-8081",
      "threadInfo":{"maxThreads":-1,"currentThreadCount":10,"currentThreadsBusy":-1},
      "requestInfo":{"maxTime":22,"processingTime":22,"requestCount":7,"errorCount":2,"bytesReceived":0,"bytesSent":3}}],
  "context":[]}}"#;

    #[test]
    fn the_connector_of_the_port_is_read() {
        let load = |port| {
            parse(PAGE.as_bytes(), port)
                .map(|l| (l.busy_threads, l.max_threads, l.request_count, l.error_count))
        };
        assert_eq!(load(18080), Ok((1, 200, 1, 0)));
        assert_eq!(load(8081), Ok((0, 0, 7, 2)));
        assert_eq!(
            load(80),
            Err(StatusPageError::Unread("it names no connector of port 80".to_owned()))
        );
        assert!(parse(b"<html>", 80).is_err());
    }

    #[test]
    fn urls_are_of_the_own_host() {
        let located = |url| locate(url).map(|(server, path)| format!("{server} {path}"));
        assert_eq!(located("http://localhost:8080/a?b=c").as_deref(), Ok("127.0.0.1:8080 /a?b=c"));
        assert_eq!(located("http://[::1]/").as_deref(), Ok("[::1]:80 /"));
        for url in ["https://127.0.0.1/", "http://web.example/", "", "127.0.0.1:8080/x"] {
            assert!(locate(url).is_err(), "{url}");
        }
    }
}
