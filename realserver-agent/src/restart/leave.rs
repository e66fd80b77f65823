//! Keep-alive clients of a drained Tomcat are asked to leave: with `maxKeepAliveRequests` 1 each next answer says
//! `Connection: close`, and the client opens its next connection to another real server. Told by Tomcat's JMX proxy, beside
//! its status page (role manager-jmx). What it was before is kept on disk and set again when the drain ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulcrum_model::plan::WatchedServer;
use fulcrum_model::{Name, StatusPage};
use fulcrum_runtime::durable;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::tomcat::jmx::{self, JmxError, Proxy};
use crate::tomcat::status_page::{self, StatusPageError};

/// Wait after an answer that was no success. Twice Tomcat's default lock-out where it refused the password.
const PAUSE: Duration = Duration::from_secs(10);
const DENIED_PAUSE: Duration = Duration::from_mins(10);
/// Answers under way: one for each server at most, and they wait when it is full.
const ANSWERS: usize = 16;
/// Tomcat's own default, where the value that stood before is not known.
const DEFAULT: i64 = 100;
/// A client that has had its answer is told to leave.
const LEAVE: i64 = 1;
/// Of a connector's thread pool.
const ATTRIBUTE: &str = "maxKeepAliveRequests";

/// What a server was asked, and what came of it.
#[derive(Debug)]
pub struct Answered {
    server: Name,
    is_drained: bool,
    outcome: Result<i64, JmxError>,
}

/// The servers whose clients are asked to leave.
#[derive(Debug)]
pub struct Leaving {
    path: PathBuf,
    /// The value that each server had before, of those that were changed.
    before: BTreeMap<Name, i64>,
    asking: BTreeMap<Name, JoinHandle<()>>,
    /// Whether it was told that it is drained.
    told: BTreeMap<Name, bool>,
    /// Not asked again before then, and why.
    failed: BTreeMap<Name, (Instant, String)>,
    answers_in: mpsc::Sender<Answered>,
}

impl Leaving {
    /// Reads what an earlier run changed, from `state_dir`.
    pub fn new(state_dir: &Path) -> (Self, mpsc::Receiver<Answered>) {
        let path = state_dir.join("keep-alive.json");
        let read = std::fs::read(&path).ok();
        let stored: Option<BTreeMap<String, i64>> =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let stored = stored.unwrap_or_default().into_iter();
        let before: BTreeMap<Name, i64> =
            stored.filter_map(|(name, value)| Some((name.parse().ok()?, value))).collect();
        let (answers_in, answers) = mpsc::channel(ANSWERS);
        let leaving = Self {
            path,
            before,
            asking: BTreeMap::new(),
            told: BTreeMap::new(),
            failed: BTreeMap::new(),
            answers_in,
        };
        (leaving, answers)
    }

    /// Asks where a drain began, and lets stay where one ended.
    pub fn follow(&mut self, servers: &[WatchedServer]) {
        let now = Instant::now();
        self.told.retain(|name, _| servers.iter().any(|server| server.real_server == *name));
        for server in servers {
            let name = &server.real_server;
            // Only where the intent allows it.
            let Some(page) = server.probe.status_page.as_ref().filter(|_| server.probe.jmx) else {
                continue;
            };
            // A server that nobody changed needs no word.
            let stands = self.told.get(name).copied().unwrap_or(self.before.contains_key(name));
            let is_due = stands != server.drained
                && !self.asking.contains_key(name)
                && self.failed.get(name).is_none_or(|(until, _)| *until <= now);
            if is_due {
                let before = self.before.get(name).copied();
                let value = if server.drained { LEAVE } else { before.unwrap_or(DEFAULT) };
                let task = ask(server.clone(), page.clone(), value, self.answers_in.clone());
                self.asking.insert(name.clone(), tokio::spawn(task));
            }
        }
    }

    /// A server has answered.
    pub fn answered(&mut self, answer: Answered) {
        let Answered { server, is_drained, outcome } = answer;
        self.asking.remove(&server);
        match outcome {
            Ok(before) => {
                tracing::info!(real_server = %server, is_drained, "keep-alive clients are told");
                self.failed.remove(&server);
                if is_drained {
                    self.before.entry(server.clone()).or_insert(before);
                } else {
                    self.before.remove(&server);
                }
                self.told.insert(server, is_drained);
                self.save();
            }
            Err(error) => {
                let pause = match &error {
                    JmxError::Denied(_)
                    | JmxError::BackedOff(_)
                    | JmxError::Access(StatusPageError::Denied(_)) => DENIED_PAUSE,
                    JmxError::Access(_) | JmxError::Failed(_) | JmxError::Pattern(_) => PAUSE,
                };
                let why = format!("keep-alive clients cannot be asked to leave: {error}");
                self.failed.insert(server, (Instant::now() + pause, why));
            }
        }
    }

    /// What does not work, by server.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.failed.iter().map(|(name, (_, why))| format!("{name}: {why}"))
    }

    fn save(&self) {
        let stored: BTreeMap<&str, i64> =
            self.before.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let saved = serde_json::to_vec(&stored)
            .map_err(Into::into)
            .and_then(|bytes| durable::write_atomic(&self.path, &bytes));
        if let Err(error) = saved {
            tracing::error!(%error, "what keep-alive was before cannot be saved; make state_dir writable");
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        for task in self.asking.values() {
            task.abort();
        }
    }
}

async fn ask(server: WatchedServer, page: StatusPage, value: i64, answers: mpsc::Sender<Answered>) {
    let outcome = set_keep_alive(&page, server.port.get(), server.probe.timeout, value).await;
    let (server, is_drained) = (server.real_server, server.drained);
    // Without a receiver the agent is ending.
    let _ = answers.send(Answered { server, is_drained, outcome }).await;
}

/// Sets how many requests the connector of `port` serves on a connection; what it was before. Of 1 nobody can tell who set
/// it, so Tomcat's default counts as what was.
///
/// # Errors
/// [`JmxError`], with the remedy where there is one.
pub async fn set_keep_alive(
    page: &StatusPage,
    port: u16,
    timeout: Duration,
    value: i64,
) -> Result<i64, JmxError> {
    let connector = status_page::read(page, port, timeout).await?.connector;
    let pool = jmx::thread_pool(jmx::ENGINE, &connector);
    let mut proxy = Proxy::beside(page, timeout)?;
    let before = proxy.get(&pool, ATTRIBUTE).await?.trim().parse().unwrap_or(DEFAULT);
    proxy.set(&pool, ATTRIBUTE, &value.to_string()).await?;
    Ok(if before == LEAVE { DEFAULT } else { before })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// As Tomcat 10.1 answers, most of it cut out.
    const PAGE: &str = r#"{"tomcat":{"connector":[{"name":"\"http-nio-80\"","threadInfo":{"maxThreads":50,
        "currentThreadCount":10,"currentThreadsBusy":1},"requestInfo":{"maxTime":1,"processingTime":1,
        "requestCount":1,"errorCount":0,"bytesReceived":0,"bytesSent":0}}]}}"#;
    const BEFORE: &str = "OK - Attribute get 'Catalina:type=ThreadPool,name=\"http-nio-80\"' - maxKeepAliveRequests = 7\r\n";

    /// Answers one request after the other; gives what was asked.
    async fn serve(listener: TcpListener, answers: &[&str]) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            asked.push(text.lines().next().unwrap_or_default().to_owned());
            let head = format!("HTTP/1.1 200 \r\nContent-Length: {}\r\n\r\n", answer.len());
            stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
        }
        asked
    }

    async fn asked(answers: &[&str]) -> (Vec<String>, Result<i64, JmxError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/manager/status/all?JSON=true", listener.local_addr().unwrap());
        let page = StatusPage { url, user: None, password_file: None };
        let set = set_keep_alive(&page, 80, Duration::from_secs(5), 1);
        tokio::join!(serve(listener, answers), set)
    }

    #[tokio::test]
    async fn the_connector_of_the_port_is_set() {
        let (requests, before) = asked(&[PAGE, BEFORE, "OK - Attribute set"]).await;
        assert_eq!(before, Ok(7));
        let bean =
            "Catalina%3Atype%3DThreadPool%2Cname%3D%22http-nio-80%22&att=maxKeepAliveRequests";
        assert_eq!(requests[1], format!("GET /manager/jmxproxy/?get={bean} HTTP/1.1"));
        assert_eq!(requests[2], format!("GET /manager/jmxproxy/?set={bean}&val=1 HTTP/1.1"));
    }

    #[tokio::test]
    async fn one_is_not_taken_for_what_was_before() {
        let ours = BEFORE.replace('7', "1");
        let (_, before) = asked(&[PAGE, &ours, "OK - Attribute set"]).await;
        assert_eq!(before, Ok(DEFAULT));
    }

    #[tokio::test]
    async fn what_is_no_success_is_told() {
        let (_, before) = asked(&[PAGE, BEFORE, "Error - No such attribute"]).await;
        assert_eq!(before, Err(JmxError::Failed("Error - No such attribute".to_owned())));
    }
}
