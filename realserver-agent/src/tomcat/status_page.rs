//! Load from a status page: Tomcat's `/manager/status/all?JSON=true` (role manager-status).

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use fulcrum_model::{ServerLoad, StatusPage};
use hyper::{StatusCode, Uri};
use serde::Deserialize;

use super::probe;

/// Wait after a refused password before the manager is asked again: twice Tomcat's default lock-out of 300 s.
pub const DENIED_PAUSE: Duration = Duration::from_mins(10);

/// What a page tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Name of the connector, such as `http-nio-8080`.
    pub connector: String,
    /// The load as far as one reading tells it.
    pub load: ServerLoad,
    /// Milliseconds spent on requests since start.
    pub processing_ms: u64,
    /// Contexts that are stopped or failed to start.
    pub stopped: Vec<String>,
}

impl Page {
    /// Mean time of the requests since an earlier reading, in microseconds; 0 where there were none.
    pub fn mean_request_us(&self, before: &Self) -> u64 {
        let requests = self.load.request_count.checked_sub(before.load.request_count);
        let spent = self.processing_ms.checked_sub(before.processing_ms);
        match (spent, requests) {
            (Some(spent), Some(requests)) => {
                spent.saturating_mul(1000).checked_div(requests).unwrap_or(0)
            }
            // Another Tomcat: it counts from 0.
            (None, _) | (_, None) => 0,
        }
    }
}

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
    /// No answer in time.
    #[error("status page: no answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// Anything else.
    #[error("status page: {0}")]
    Unread(String),
}

/// How a page of the own host is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    server: SocketAddr,
    path: String,
    user: Option<String>,
    password_file: Option<String>,
}

impl Access {
    /// That of a status page.
    ///
    /// # Errors
    /// [`StatusPageError::Url`].
    pub fn of(page: &StatusPage) -> Result<Self, StatusPageError> {
        let (server, path) = locate(&page.url)?;
        let StatusPage { user, password_file, .. } = page.clone();
        Ok(Self { server, path, user, password_file })
    }

    /// The path and query that the URL names.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Asks for `path` on the same host, as the same user.
    ///
    /// # Errors
    /// [`StatusPageError`]; a refusal of the user is an answer here.
    pub async fn get(
        &self,
        path: &str,
        timeout: Duration,
    ) -> Result<(StatusCode, bytes::Bytes), StatusPageError> {
        let authorization = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => Some(basic(user, &password(file).await?)),
            (Some(user), None) => Some(basic(user, "")),
            (None, Some(_) | None) => None,
        };
        let exchange = async {
            let stream = probe::connect(self.server).await?;
            let host = self.server.to_string();
            probe::get(stream, &host, path, authorization.as_deref()).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(StatusPageError::Unread(failure.to_string())),
            Err(_) => Err(StatusPageError::Silent(timeout)),
        }
    }
}

/// Whether a page is served by the connector of `port` itself, so that requests may leave no thread for it.
pub fn is_on(url: &str, port: u16) -> bool {
    locate(url).is_ok_and(|(server, _)| server.port() == port)
}

/// Whether a page of the own host answers 2xx or 3xx in time.
pub async fn answers(url: &str, timeout: Duration) -> bool {
    let Ok((server, path)) = locate(url) else { return false };
    probe::probe(server, Some(&path), timeout).await.is_ok()
}

/// Reads the page for the connector on `port`, or for the only one.
///
/// # Errors
/// [`StatusPageError`], with the remedy where there is one.
pub async fn read(
    page: &StatusPage,
    port: u16,
    timeout: Duration,
) -> Result<Page, StatusPageError> {
    let access = Access::of(page)?;
    let (status, body) = access.get(&access.path, timeout).await?;
    match status {
        StatusCode::OK => parse(&body, port),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(StatusPageError::Denied(status)),
        other => {
            let (path, status) = (&access.path, other.as_u16());
            Err(StatusPageError::Unread(format!("GET {path} answered {status}")))
        }
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
struct Document {
    tomcat: Status,
}

#[derive(Deserialize)]
struct Status {
    connector: Vec<Connector>,
    // Not told by …/manager/status without /all.
    #[serde(default)]
    context: Vec<Context>,
}

#[derive(Deserialize)]
struct Context {
    name: String,
    // Not told by older versions.
    state: Option<String>,
    manager: Option<Manager>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manager {
    #[serde(default)]
    active_sessions: i64,
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
    #[serde(default)]
    processing_time: u64,
}

fn parse(body: &[u8], port: u16) -> Result<Page, StatusPageError> {
    let page: Document = serde_json::from_slice(body).map_err(|error| {
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
    let contexts = &page.tomcat.context;
    let sessions = contexts.iter().filter_map(|context| context.manager.as_ref());
    let sessions = sessions.map(|manager| count(manager.active_sessions));
    let mut stopped: Vec<String> =
        contexts.iter().filter(|context| context.is_stopped()).map(|c| c.name.clone()).collect();
    stopped.sort_unstable();
    Ok(Page {
        connector: connector.name.trim_matches('"').to_owned(),
        load: ServerLoad {
            busy_threads: count(connector.thread_info.current_threads_busy),
            max_threads: count(connector.thread_info.max_threads),
            request_count: connector.request_info.request_count,
            error_count: connector.request_info.error_count,
            sessions: sessions.fold(0, u32::saturating_add),
            contexts_stopped: u32::try_from(stopped.len()).unwrap_or(u32::MAX),
            ..ServerLoad::default()
        },
        processing_ms: connector.request_info.processing_time,
        stopped,
    })
}

impl Context {
    /// By `LifecycleState`: one that is starting or stopping is on its way.
    fn is_stopped(&self) -> bool {
        self.state.as_deref().is_some_and(|state| matches!(state, "STOPPED" | "FAILED"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From Tomcat 10.1's /manager/status/all?JSON=true, memory pools and servlets cut out, a second connector added.
    const PAGE: &str = r#"{"tomcat":{
  "jvm":{"memory":{"free":107432728,"total":129761280,"max":129761280},"memorypool":[]},
  "connector":[
    {"name":"http-nio-18080",
      "threadInfo":{"maxThreads":200,"currentThreadCount":10,"currentThreadsBusy":1},
      "requestInfo":{"maxTime":22,"processingTime":22,"requestCount":1,"errorCount":0,"bytesReceived":0,"bytesSent":3}},
    {"name":"http-nio-127.0.0.1-8081",
      "threadInfo":{"maxThreads":-1,"currentThreadCount":10,"currentThreadsBusy":-1},
      "requestInfo":{"maxTime":22,"processingTime":22,"requestCount":7,"errorCount":2,"bytesReceived":0,"bytesSent":3}}],
  "context":[
    {"name":"localhost/shop","state":"STOPPED","startTime":"Thu Jan 01 00:00:00 UTC 1970","startupTime":0,"tldScanTime":0,
      "manager":{"activeSessions":0,"sessionCounter":1,"maxActive":1,"rejectedSessions":0,"expiredSessions":1,
        "sessionMaxAliveTime":0,"sessionAverageAliveTime":0,"processingTime":0},
      "jsp":{"jspCount":0,"jspReloadCount":0},"wrapper":[]},
    {"name":"localhost/","state":"STARTED","startTime":"Sat Nov 28 00:58:07 UTC 2026","startupTime":4,"tldScanTime":0,
      "manager":{"activeSessions":40,"sessionCounter":41,"maxActive":40,"rejectedSessions":0,"expiredSessions":1,
        "sessionMaxAliveTime":0,"sessionAverageAliveTime":0,"processingTime":0},
      "jsp":{"jspCount":0,"jspReloadCount":0},"wrapper":[]},
    {"name":"localhost/old","manager":{"activeSessions":2}},
    {"name":"localhost/bad","state":"FAILED"}]}}"#;

    #[test]
    fn the_connector_of_the_port_is_read() {
        let load = |port| {
            parse(PAGE.as_bytes(), port).map(|page| {
                let ServerLoad { busy_threads, max_threads, request_count, error_count, .. } =
                    page.load;
                (busy_threads, max_threads, request_count, error_count)
            })
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
    fn contexts_are_summed() {
        let page = parse(PAGE.as_bytes(), 18080).unwrap();
        assert_eq!((page.load.sessions, page.load.contexts_stopped), (42, 2));
        assert_eq!(page.stopped, ["localhost/bad", "localhost/shop"]);
        assert_eq!((page.connector.as_str(), page.processing_ms), ("http-nio-18080", 22));
        let short = PAGE.replace("\"context\":[", "\"other\":[");
        assert_eq!(parse(short.as_bytes(), 18080).unwrap().load.sessions, 0);
    }

    #[test]
    fn mean_times_are_of_the_requests_between_readings() {
        let page = |processing_ms, request_count| Page {
            connector: String::new(),
            load: ServerLoad { request_count, ..ServerLoad::default() },
            processing_ms,
            stopped: Vec::new(),
        };
        let mean = |before, now: Page| now.mean_request_us(&before);
        assert_eq!(mean(page(100, 10), page(130, 14)), 7_500);
        assert_eq!(mean(page(100, 10), page(100, 10)), 0, "no request");
        assert_eq!(mean(page(100, 10), page(3, 1)), 0, "started anew");
        assert_eq!(mean(page(0, 0), page(u64::MAX, 1)), u64::MAX, "bounded");
    }

    #[test]
    fn urls_are_of_the_own_host() {
        let located = |url| locate(url).map(|(server, path)| format!("{server} {path}"));
        assert_eq!(located("http://localhost:8080/a?b=c").as_deref(), Ok("127.0.0.1:8080 /a?b=c"));
        assert_eq!(located("http://[::1]/").as_deref(), Ok("[::1]:80 /"));
        for url in ["https://127.0.0.1/", "http://web.example/", "", "127.0.0.1:8080/x"] {
            assert!(locate(url).is_err(), "{url}");
        }
        assert!(is_on("http://127.0.0.1:8080/x", 8080) && !is_on("http://127.0.0.1:8081/", 8080));
    }
}
