//! Checks by directors and probes by real-server agents.

use std::time::Duration;

use crate::Port;

/// What a director tries, and how often, with keepalived's semantics: one try every `interval`; a failed try is
/// repeated up to `retries` times, `retry_delay` apart; then the real server is down until `rise` tries in a row succeed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// What a try is.
    pub probe: ProbeKind,
    /// Time between the starts of tries (keepalived: `delay_loop`).
    pub interval: Duration,
    /// Longest time that a try may take (keepalived: `connect_timeout`).
    pub timeout: Duration,
    /// Failed tries that are tolerated (keepalived: `retry`).
    pub retries: u32,
    /// Time between a failed try and its repetition (keepalived: `delay_before_retry`).
    pub retry_delay: Duration,
    /// Successful tries in a row before a down real server is up again.
    pub rise: u32,
    /// Port to connect to; the real server's when none (keepalived: `connect_port`).
    pub port: Option<Port>,
}

impl Check {
    /// Shortest interval.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(50);
    /// Shortest timeout.
    pub const MIN_TIMEOUT: Duration = Duration::from_millis(10);
    /// Longest interval, timeout or retry delay: a day.
    pub const MAX_DURATION: Duration = Duration::from_hours(24);
    /// Most retries, and most successes in a row.
    pub const MAX_COUNT: u32 = 100;
}

impl Default for Check {
    fn default() -> Self {
        Self {
            probe: ProbeKind::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retries: 1,
            retry_delay: Duration::from_secs(1),
            rise: 1,
            port: None,
        }
    }
}

/// What a try is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// A TCP connection that is accepted (keepalived: `TCP_CHECK`).
    Tcp,
    /// An HTTP GET (keepalived: `HTTP_GET`).
    Http(HttpCheck),
}

/// An HTTP GET.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpCheck {
    /// Path with query, beginning with `/`.
    pub path: String,
    /// Host header; the RIP when none.
    pub host: Option<String>,
    /// Status codes that count as success; 200 to 399 when empty.
    pub statuses: Vec<u16>,
}

impl HttpCheck {
    /// Whether an answer with this status counts as success.
    pub fn accepts(&self, status: u16) -> bool {
        if self.statuses.is_empty() {
            (200..400).contains(&status)
        } else {
            self.statuses.contains(&status)
        }
    }
}

/// What a real-server agent looks at on its own host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerProbe {
    /// Path of an HTTP GET that must answer 2xx or 3xx.
    pub http_path: Option<String>,
    /// Time between probes.
    pub interval: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Status page to read load from.
    pub status_page: Option<StatusPage>,
}

impl Default for ServerProbe {
    fn default() -> Self {
        Self {
            http_path: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            status_page: None,
        }
    }
}

/// A page that tells a server's load, such as Tomcat's `/manager/status/all?JSON=true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// Its URL: plain HTTP on the agent's own host.
    pub url: String,
    /// User for basic authentication.
    pub user: Option<String>,
    /// File on the agent's host that holds the password.
    pub password_file: Option<String>,
}
