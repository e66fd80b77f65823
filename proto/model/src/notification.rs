//! Who is told of what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Name, Port};

/// A kind of event, by its number in the API's own enumeration, which is the one list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKind(pub i32);

/// How much an event matters, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventSeverity {
    /// It is as it should be.
    Info,
    /// It works, and somebody should look.
    Warning,
    /// Clients may be affected, or will be.
    Error,
}

/// Who is told of which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationPolicy {
    /// These kinds; every kind when empty.
    pub kinds: BTreeSet<EventKind>,
    /// At least this severity.
    pub least_severity: EventSeverity,
    /// Of these sites; of any, and of none, when empty.
    pub sites: Vec<Name>,
    /// Labels of the resource that an event is about, as the API's selectors; all are taken when empty.
    pub label_selector: String,
    /// Events that follow the first one within this time go with it.
    pub group_wait: Duration,
    /// Time between a message and the next one at least.
    pub group_interval: Duration,
    /// How long a message is tried.
    pub give_up_after: Duration,
    /// Mail.
    pub smtp: Option<SmtpChannel>,
    /// HTTP.
    pub webhook: Option<WebhookChannel>,
    /// A program of the controllers' hosts.
    pub command: Option<CommandChannel>,
}

/// How mail is protected on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SmtpTls {
    /// Not at all.
    #[default]
    None,
    /// By STARTTLS (RFC 3207).
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
}

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpChannel {
    /// The mail server.
    pub server: String,
    /// Its port.
    pub port: Port,
    /// The sender.
    pub from: String,
    /// Who gets it, at least one.
    pub to: Vec<String>,
    /// Longest wait for the connection and for each answer.
    pub connect_timeout: Duration,
    /// Name that the controller gives itself; its own when none.
    pub router_id: Option<String>,
    /// How it is protected.
    pub tls: SmtpTls,
    /// Path of a PEM file of those who may have issued the server's certificate.
    pub ca_file: Option<String>,
    /// User, and the name of the file with the password.
    pub login: Option<(String, String)>,
}

/// Where a POST goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookChannel {
    /// http or https.
    pub url: String,
    /// Longest time that a try may take.
    pub timeout: Duration,
    /// Headers to send beside.
    pub headers: BTreeMap<String, String>,
    /// Path of a PEM file of those who may have issued the server's certificate.
    pub ca_file: Option<String>,
    /// Name of the file with the token.
    pub bearer_token_file: Option<String>,
}

/// Which program is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandChannel {
    /// Its name among those that the controllers' hosts offer.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Longest time that it may run.
    pub timeout: Duration,
}
