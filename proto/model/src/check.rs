//! Checks by directors and probes by real-server agents.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
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
    /// Longest random time that each try is late by, so that checks do not march in step.
    pub jitter: Duration,
    /// Address of the director to try from; the kernel's choice when none (keepalived: `bindto`).
    pub source: Option<IpAddr>,
    /// Firewall mark of its packets (keepalived: `fwmark`).
    pub fwmark: Option<NonZeroU32>,
    /// Each virtual server's VIP is tried at each of its real servers, too.
    pub through_vip: Option<ThroughVip>,
}

/// A check through the VIP: to the virtual server's VIP and port, and forwarded by IPVS to one real server. Its pace is that of the
/// check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThroughVip {
    /// Failed tries that are tolerated.
    pub retries: u32,
    /// A connection that is accepted is enough; otherwise it asks what the check asks.
    pub connect_only: bool,
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
            probe: ProbeKind::Tcp(None),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retries: 1,
            retry_delay: Duration::from_secs(1),
            rise: 1,
            port: None,
            jitter: Duration::ZERO,
            source: None,
            fwmark: None,
            through_vip: None,
        }
    }
}

/// What a try is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// A TCP connection that is accepted (keepalived: `TCP_CHECK`), with a TLS handshake where one is asked for.
    Tcp(Option<TlsCheck>),
    /// HTTP GETs (keepalived: `HTTP_GET`, `SSL_GET`).
    Http(HttpCheck),
    /// gRPC's own health check (`grpc.health.v1.Health/Check`).
    Grpc(GrpcCheck),
    /// A datagram, and its answer where one is asked for (keepalived: `UDP_CHECK`).
    Udp(UdpCheck),
    /// An echo of ICMP, or of `ICMPv6` (keepalived: `PING_CHECK`).
    Icmp,
    /// A question to a name server over UDP (keepalived: `DNS_CHECK`).
    Dns(DnsCheck),
    /// The greetings of a mail server (keepalived: `SMTP_CHECK`).
    Smtp(SmtpCheck),
    /// PING of Redis.
    Redis(RedisCheck),
    /// The handshake that a `MySQL` server opens a connection with.
    Mysql,
    /// A program of the director's host (keepalived: `MISC_CHECK`).
    Command(CommandCheck),
    /// A file of the director's host (keepalived: `FILE_CHECK`).
    File(FileCheck),
}

impl ProbeKind {
    /// Whether it opens a connection of TCP.
    pub fn connects(&self) -> bool {
        match self {
            Self::Tcp(_)
            | Self::Http(_)
            | Self::Grpc(_)
            | Self::Smtp(_)
            | Self::Redis(_)
            | Self::Mysql => true,
            Self::Udp(_) | Self::Icmp | Self::Dns(_) | Self::Command(_) | Self::File(_) => false,
        }
    }

    /// Its word, for labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp(None) => "tcp",
            Self::Tcp(Some(_)) => "tls",
            Self::Http(check) if check.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
            Self::Udp(_) => "udp",
            Self::Icmp => "icmp",
            Self::Dns(_) => "dns",
            Self::Smtp(_) => "smtp",
            Self::Redis(_) => "redis",
            Self::Mysql => "mysql",
            Self::Command(_) => "command",
            Self::File(_) => "file",
        }
    }
}

/// TLS of a check's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsCheck {
    /// Name that the server is asked for (SNI; keepalived: `enable_sni`, `virtualhost`), and that its certificate must bear where
    /// it is verified.
    pub server_name: Option<String>,
    /// PEM file on the director's host of those who may have issued the certificate. Without one any certificate will do, as with
    /// keepalived.
    pub ca_file: Option<String>,
    /// It is told when the certificate ends within so long. A certificate that has ended fails where it is verified.
    pub expiry_warning: Option<Duration>,
}

/// HTTP GETs, each on a connection of its own: all must succeed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpCheck {
    /// What is got, one at least (keepalived: `url`).
    pub pages: Vec<HttpPage>,
    /// Host header; the RIP when none (keepalived: `virtualhost`).
    pub host: Option<String>,
    /// HTTPS.
    pub tls: Option<TlsCheck>,
}

/// One GET.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpPage {
    /// Path with query, beginning with `/`.
    pub path: String,
    /// Status codes that count as success; 200 to 399 when empty.
    pub statuses: Vec<u16>,
    /// What the body must hash to (keepalived: `digest`).
    pub digest: Option<BodyDigest>,
    /// A regular expression that the body, its first [`Self::MATCHED_BODY`] bytes, must match (keepalived: `regex`).
    pub body_regex: Option<String>,
}

impl HttpPage {
    /// Longest body in bytes that is read for a digest.
    pub const MAX_BODY: usize = 1 << 20;
    /// As many of its first bytes are looked at by a regular expression: thousands of checks may be under way at once.
    pub const MATCHED_BODY: usize = 64 << 10;

    /// Whether an answer with this status counts as success.
    pub fn accepts(&self, status: u16) -> bool {
        if self.statuses.is_empty() {
            (200..400).contains(&status)
        } else {
            self.statuses.contains(&status)
        }
    }

    /// Whether the body is looked at.
    pub fn wants_body(&self) -> bool {
        self.digest.is_some() || self.body_regex.is_some()
    }
}

/// What a body hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyDigest {
    /// MD5, as `genhash` prints it. It tells a changed page, and withstands no attacker.
    Md5([u8; 16]),
    /// SHA-256.
    Sha256([u8; 32]),
}

impl BodyDigest {
    /// Reads hexadecimal digits: 32 are MD5, 64 are SHA-256.
    pub fn from_hex(text: &str) -> Option<Self> {
        fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
            let mut bytes = [0; N];
            for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
                *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            }
            Some(bytes)
        }
        match text.len() {
            32 => bytes(text).map(Self::Md5),
            64 => bytes(text).map(Self::Sha256),
            _ => None,
        }
    }
}

impl fmt::Display for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Md5(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// gRPC's own health check.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcCheck {
    /// The service that is asked about; the server as a whole when empty.
    pub service: String,
    /// TLS of the connection.
    pub tls: Option<TlsCheck>,
}

/// A datagram. An answer of ICMP that nobody listens fails in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpCheck {
    /// What is sent (keepalived: `payload`).
    pub payload: Vec<u8>,
    /// How many bytes an answer has at least; when none, no answer is good too (keepalived: `require_reply`,
    /// `min_reply_length`).
    pub min_reply: Option<u16>,
}

impl UdpCheck {
    /// Most bytes of a payload: what fits into a packet of any network (RFC 8200 section 5, less headers).
    pub const MAX_PAYLOAD: usize = 1232;
}

/// A question to a name server: any answer but a failure of the server is good, as with keepalived.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsCheck {
    /// The name that is asked for (keepalived: `name`).
    pub name: String,
    /// Which record (keepalived: `type`).
    pub record: DnsRecord,
}

/// A kind of record (RFC 1035 section 3.2.2, RFC 3596).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is named as the RFC names it")]
pub enum DnsRecord {
    A = 1,
    Ns = 2,
    Cname = 5,
    Soa = 6,
    Mx = 15,
    Txt = 16,
    Aaaa = 28,
}

impl DnsRecord {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::A, Self::Ns, Self::Cname, Self::Soa, Self::Mx, Self::Txt, Self::Aaaa];

    /// Its number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Ns => "NS",
            Self::Cname => "CNAME",
            Self::Soa => "SOA",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Aaaa => "AAAA",
        }
    }
}

/// The greetings of a mail server: its own, and its answer to EHLO or HELO.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SmtpCheck {
    /// The name that the director gives itself (keepalived: `helo_name`).
    pub helo: String,
}

/// PING of Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedisCheck {
    /// File on the director's host that holds the password. Without one, a server that asks for a password is up.
    pub password_file: Option<String>,
}

/// A program among those that the director's host offers. Exit status 0 passes, 1 fails.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandCheck {
    /// Its name in the directory of commands.
    pub program: String,
    /// Its arguments, of which `{rip}` and `{port}` stand for the real server's.
    pub arguments: Vec<String>,
    /// Exit status 2 to 255 passes, and gives the real server the weight 0 to 253 (keepalived: `misc_dynamic`). Else it fails.
    pub sets_weight: bool,
}

/// A file of the director's host: a number that is not 0 at its beginning fails, 0 or no file passes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileCheck {
    /// Its absolute path.
    pub path: String,
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
    /// Page of a second connector with threads of its own: while it answers, a server that is too slow is saturated, not down.
    pub ops_url: Option<String>,
    /// Tomcat's JMX proxy beside the status page may be used.
    pub jmx: bool,
}

impl Default for ServerProbe {
    fn default() -> Self {
        Self {
            http_path: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            status_page: None,
            ops_url: None,
            jmx: false,
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
