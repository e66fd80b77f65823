//! Tomcat's JMX proxy: reads and sets single attributes, where the intent allows it (`jmx`).
//!
//! The proxy has no read-only role, and its whole listing takes half a megabyte: so it is asked only by choice, and only for one
//! attribute of one bean by its whole name.

use std::fmt::Write as _;
use std::time::Duration;

use fulcrum_model::StatusPage;
use hyper::StatusCode;
use tokio::time::Instant;

use super::status_page::{Access, DENIED_PAUSE, StatusPageError};

/// Why an attribute was not read or set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JmxError {
    /// The page cannot be asked.
    #[error(transparent)]
    Access(#[from] StatusPageError),
    /// The user may not use the proxy. It is not asked again before long, lest the user be locked out.
    #[error("JMX proxy: {0}: give the user the role manager-jmx, and check its password")]
    Denied(StatusCode),
    /// It was denied a while ago, and is not asked again yet.
    #[error("JMX proxy: denied before; it is asked again in {}", humantime::format_duration(*.0))]
    BackedOff(Duration),
    /// There is no such bean or attribute, or the value does not fit.
    #[error("JMX proxy: {0}")]
    Failed(String),
    /// A pattern instead of a name: it might answer with everything.
    #[error("JMX bean {0:?}: name one bean, without * and ?")]
    Pattern(String),
}

/// The proxy of one Tomcat.
#[derive(Debug)]
pub struct Proxy {
    access: Access,
    base: String,
    timeout: Duration,
    denied_until: Option<Instant>,
}

impl Proxy {
    /// Beside a status page: same host, user and password.
    ///
    /// # Errors
    /// The status page's URL is not that of Tomcat's manager.
    pub fn beside(page: &StatusPage, timeout: Duration) -> Result<Self, JmxError> {
        let access = Access::of(page)?;
        let Some((manager, _)) = access.path().split_once("/status") else {
            let url = page.url.clone();
            let reason = "the JMX proxy is looked for beside …/manager/status";
            return Err(StatusPageError::Url { url, reason }.into());
        };
        let base = format!("{manager}/jmxproxy/");
        Ok(Self { access, base, timeout, denied_until: None })
    }

    /// Reads an attribute.
    ///
    /// # Errors
    /// [`JmxError`].
    pub async fn get(&mut self, bean: &str, attribute: &str) -> Result<String, JmxError> {
        let query = format!("?get={}&att={}", encoded(one(bean)?), encoded(attribute));
        let answer = self.ask(&query).await?;
        value(&answer, attribute).map(str::to_owned).ok_or_else(|| failed(&answer))
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`JmxError`].
    pub async fn set(&mut self, bean: &str, attribute: &str, to: &str) -> Result<(), JmxError> {
        let (bean, attribute) = (encoded(one(bean)?), encoded(attribute));
        let query = format!("?set={bean}&att={attribute}&val={}", encoded(to));
        let answer = self.ask(&query).await?;
        if answer.starts_with("OK") { Ok(()) } else { Err(failed(&answer)) }
    }

    async fn ask(&mut self, query: &str) -> Result<String, JmxError> {
        let now = Instant::now();
        if let Some(left) = self.denied_until.map(|until| until.saturating_duration_since(now))
            && !left.is_zero()
        {
            return Err(JmxError::BackedOff(Duration::from_secs(left.as_secs().max(1))));
        }
        let path = format!("{}{query}", self.base);
        let (status, body) = self.access.get(&path, self.timeout).await?;
        match status {
            StatusCode::OK => Ok(String::from_utf8_lossy(&body).into_owned()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.denied_until = Some(now + DENIED_PAUSE);
                Err(JmxError::Denied(status))
            }
            other => Err(JmxError::Failed(format!("answered {}", other.as_u16()))),
        }
    }
}

/// Name of the engine unless server.xml says otherwise.
pub const ENGINE: &str = "Catalina";

/// The bean of a connector's thread pool: `engine` as in server.xml (Catalina), `connector` as the status page names it.
pub fn thread_pool(engine: &str, connector: &str) -> String {
    format!("{engine}:type=ThreadPool,name=\"{}\"", connector.trim_matches('"'))
}

fn one(bean: &str) -> Result<&str, JmxError> {
    if bean.contains(['*', '?']) { Err(JmxError::Pattern(bean.to_owned())) } else { Ok(bean) }
}

/// `OK - Attribute get 'BEAN' - ATTRIBUTE = VALUE`. The bean's name may hold anything, so it is read from the end of it.
fn value<'a>(answer: &'a str, attribute: &str) -> Option<&'a str> {
    let rest = answer.strip_prefix("OK - Attribute get '")?;
    let (_, value) = rest.split_once(&format!("' - {attribute} = "))?;
    Some(value.trim_end_matches(['\r', '\n']))
}

/// The first line alone: the proxy sends a stack trace.
fn failed(answer: &str) -> JmxError {
    let line = answer.lines().next().unwrap_or_default();
    JmxError::Failed(line.chars().take(200).collect())
}

/// Percent-encoding of all but the unreserved characters (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers requests in turn, and tells their first lines.
    async fn serve(
        answers: &'static [(u16, &'static str)],
    ) -> (Proxy, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/manager/status/all?JSON=true", listener.local_addr().unwrap());
        let page = StatusPage { url, user: Some("fulcrum".to_owned()), password_file: None };
        let served = tokio::spawn(async move {
            let mut asked = Vec::new();
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                asked.push(text.lines().next().unwrap_or_default().to_owned());
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
            }
            asked
        });
        (Proxy::beside(&page, Duration::from_secs(5)).unwrap(), served)
    }

    // As Tomcat 10.1 answers.
    const GET: &str = "OK - Attribute get 'Catalina:type=ThreadPool,name=\"http-nio-127.0.0.1-8080\"' - paused = false\r\n";
    const NONE: &str =
        "Error - javax.management.InstanceNotFoundException: Catalina:type=Nope\r\n\tat java…\r\n";

    #[tokio::test]
    async fn attributes_are_read_and_set() {
        let (mut proxy, served) =
            serve(&[(200, GET), (200, "OK - Attribute set\r\n"), (200, NONE), (200, NONE)]).await;
        let pool = thread_pool("Catalina", "\"http-nio-127.0.0.1-8080\"");
        assert_eq!(proxy.get(&pool, "paused").await.as_deref(), Ok("false"));
        assert_eq!(proxy.set(&pool, "maxKeepAliveRequests", "1").await, Ok(()));
        let missing = "Error - javax.management.InstanceNotFoundException: Catalina:type=Nope";
        let missing = JmxError::Failed(missing.to_owned());
        assert_eq!(proxy.get("Catalina:type=Nope", "paused").await, Err(missing.clone()));
        assert_eq!(proxy.set("Catalina:type=Nope", "a", "b").await, Err(missing));
        let bean = "Catalina%3Atype%3DThreadPool%2Cname%3D%22http-nio-127.0.0.1-8080%22";
        let asked = served.await.unwrap();
        assert_eq!(asked[0], format!("GET /manager/jmxproxy/?get={bean}&att=paused HTTP/1.1"));
        assert_eq!(
            asked[1],
            format!("GET /manager/jmxproxy/?set={bean}&att=maxKeepAliveRequests&val=1 HTTP/1.1")
        );
    }

    #[tokio::test]
    async fn a_denial_is_not_provoked_twice() {
        let (mut proxy, served) = serve(&[(401, "")]).await;
        assert_eq!(proxy.get("a:b=c", "d").await, Err(JmxError::Denied(StatusCode::UNAUTHORIZED)));
        served.await.unwrap();
        let second = proxy.set("a:b=c", "d", "e").await;
        assert!(matches!(second, Err(JmxError::BackedOff(left)) if left > DENIED_PAUSE / 2));
    }

    #[tokio::test]
    async fn patterns_and_other_pages_are_refused() {
        let (mut proxy, _) = serve(&[]).await;
        assert!(matches!(proxy.get("*:type=ThreadPool", "x").await, Err(JmxError::Pattern(_))));
        let page =
            StatusPage { url: "http://127.0.0.1/load".to_owned(), user: None, password_file: None };
        assert!(matches!(Proxy::beside(&page, Duration::ZERO), Err(JmxError::Access(_))));
    }
}
