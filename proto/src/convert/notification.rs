//! Notification policies both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_model::{
    CommandChannel, EventKind, EventSeverity, NotificationPolicy, Port, SmtpChannel, SmtpTls,
    WebhookChannel,
};

use super::check::{optional_file, optional_text};
use super::command;
use super::duration::duration_to_wire;
use super::fields::{DurationRule, Fields};
use crate::selector::Selector;
use crate::v1;

/// Most kinds that a policy names: more than there are.
const MAX_KINDS: usize = 64;
/// Most sites that a policy names.
const MAX_SITES: usize = 64;
/// Most who get a mail.
const MAX_TO: usize = 32;
/// Longest address of mail in bytes (RFC 5321 §4.5.3.1.3).
const MAX_MAIL_ADDRESS_BYTES: usize = 254;
/// Most headers beside those of a POST.
const MAX_HEADERS: usize = 16;
/// Port of mail (RFC 5321 §4.5.4.2).
const SMTP_PORT: u32 = 25;

const GROUP_WAIT: DurationRule = DurationRule {
    default: Some(Duration::from_secs(1)),
    min: Duration::ZERO,
    max: Duration::from_mins(10),
};
const GROUP_INTERVAL: DurationRule = DurationRule {
    default: Some(Duration::from_secs(30)),
    min: Duration::ZERO,
    max: Duration::from_hours(24),
};
const GIVE_UP_AFTER: DurationRule = DurationRule {
    default: Some(Duration::from_hours(24)),
    min: Duration::from_mins(1),
    max: Duration::from_hours(7 * 24),
};
const CONNECT_TIMEOUT: DurationRule = DurationRule {
    default: Some(Duration::from_secs(30)),
    min: Duration::from_secs(1),
    max: Duration::from_mins(5),
};
const TIMEOUT: DurationRule = DurationRule {
    default: Some(Duration::from_secs(10)),
    min: Duration::from_millis(100),
    max: Duration::from_mins(5),
};

pub(super) fn policy(
    fields: &mut Fields<'_>,
    wire: &v1::NotificationPolicy,
) -> Option<NotificationPolicy> {
    let kinds = kinds(fields, &wire.kinds);
    let least_severity = severity(fields, wire.least_severity);
    let sites = sites(fields, &wire.sites);
    let selector = wire.label_selector.parse::<Selector>().map_err(|error| {
        fields.refuse("label_selector", format_args!("{:?}", wire.label_selector), error);
    });
    let group_wait = fields.duration("group_wait", wire.group_wait.as_ref(), &GROUP_WAIT);
    let group_interval =
        fields.duration("group_interval", wire.group_interval.as_ref(), &GROUP_INTERVAL);
    let give_up_after =
        fields.duration("give_up_after", wire.give_up_after.as_ref(), &GIVE_UP_AFTER);
    if wire.smtp.is_none() && wire.webhook.is_none() && wire.command.is_none() {
        fields.refuse("smtp", "none", "give at least one of smtp, webhook and command");
        return None;
    }
    let smtp = channel(wire.smtp.as_ref(), |wire| smtp(&mut fields.within("smtp"), wire));
    let webhook =
        channel(wire.webhook.as_ref(), |wire| webhook(&mut fields.within("webhook"), wire));
    let command =
        channel(wire.command.as_ref(), |wire| command_channel(&mut fields.within("command"), wire));
    Some(NotificationPolicy {
        kinds: kinds?,
        least_severity: least_severity?,
        sites: sites?,
        label_selector: selector.ok().map(|_| wire.label_selector.clone())?,
        group_wait: group_wait?,
        group_interval: group_interval?,
        give_up_after: give_up_after?,
        smtp: smtp?,
        webhook: webhook?,
        command: command?,
    })
}

/// `Some(None)` when it is not given, `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn channel<W, C>(wire: Option<&W>, read: impl FnOnce(&W) -> Option<C>) -> Option<Option<C>> {
    match wire {
        None => Some(None),
        Some(wire) => read(wire).map(Some),
    }
}

fn kinds(fields: &mut Fields<'_>, wire: &[i32]) -> Option<BTreeSet<EventKind>> {
    if wire.len() > MAX_KINDS {
        fields.refuse("kinds", wire.len(), format_args!("name at most {MAX_KINDS} kinds"));
        return None;
    }
    let mut kinds = BTreeSet::new();
    let mut are_well = true;
    for (index, kind) in wire.iter().enumerate() {
        // What a newer release named must be read by replicas of this one, so any number but none will do.
        if *kind == 0 {
            let remedy = "name a kind of event, such as became_active, or leave it out";
            fields.refuse(&format!("kinds[{index}]"), "0 or none", remedy);
            are_well = false;
        }
        kinds.insert(EventKind(*kind));
    }
    are_well.then_some(kinds)
}

fn severity(fields: &mut Fields<'_>, found: i32) -> Option<EventSeverity> {
    let severity = match v1::EventSeverity::try_from(found) {
        Ok(v1::EventSeverity::Unspecified | v1::EventSeverity::Warning) => {
            Some(EventSeverity::Warning)
        }
        Ok(v1::EventSeverity::Info) => Some(EventSeverity::Info),
        Ok(v1::EventSeverity::Error) => Some(EventSeverity::Error),
        Err(_) => None,
    };
    fields.accept("least_severity", severity, found, "use info, warning or error")
}

/// As on the wire.
pub fn event_severity_to_wire(severity: EventSeverity) -> v1::EventSeverity {
    match severity {
        EventSeverity::Info => v1::EventSeverity::Info,
        EventSeverity::Warning => v1::EventSeverity::Warning,
        EventSeverity::Error => v1::EventSeverity::Error,
    }
}

fn sites(fields: &mut Fields<'_>, wire: &[String]) -> Option<Vec<fulcrum_model::Name>> {
    if wire.len() > MAX_SITES {
        let remedy = format_args!("name at most {MAX_SITES} sites, or use a label selector");
        fields.refuse("sites", wire.len(), remedy);
        return None;
    }
    let sites: Vec<_> = wire
        .iter()
        .enumerate()
        .filter_map(|(index, site)| fields.name(&format!("sites[{index}]"), site, "name the site"))
        .collect();
    (sites.len() == wire.len()).then_some(sites)
}

fn smtp(fields: &mut Fields<'_>, wire: &v1::SmtpChannel) -> Option<SmtpChannel> {
    let server = host(fields, "server", &wire.server);
    let port = if wire.port == 0 { SMTP_PORT } else { wire.port };
    let port = fields.number("port", port, Port::new);
    let from = mail_address(fields, "from", &wire.from);
    let to = recipients(fields, &wire.to);
    let connect_timeout =
        fields.duration("connect_timeout", wire.connect_timeout.as_ref(), &CONNECT_TIMEOUT);
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let router_id = optional_text(fields, "router_id", &wire.router_id, is_of_a_name);
    let tls = match v1::SmtpTls::try_from(wire.tls) {
        Ok(v1::SmtpTls::Unspecified | v1::SmtpTls::None) => Some(SmtpTls::None),
        Ok(v1::SmtpTls::Starttls) => Some(SmtpTls::StartTls),
        Ok(v1::SmtpTls::Implicit) => Some(SmtpTls::Implicit),
        Err(_) => None,
    };
    let tls = fields.accept("tls", tls, wire.tls, "use none, starttls or implicit");
    let ca_file = optional_file(fields, "ca_file", &wire.ca_file);
    let login = login(fields, wire, tls);
    Some(SmtpChannel {
        server: server?,
        port: port?,
        from: from?,
        to: to?,
        connect_timeout: connect_timeout?,
        router_id: router_id?,
        tls: tls?,
        ca_file: ca_file?,
        login: login?,
    })
}

#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn login(
    fields: &mut Fields<'_>,
    wire: &v1::SmtpChannel,
    tls: Option<SmtpTls>,
) -> Option<Option<(String, String)>> {
    let username = optional_text(fields, "username", &wire.username, |c| !c.is_control())?;
    let file = secret_file(fields, "password_file", &wire.password_file)?;
    match (username, file) {
        (None, None) => Some(None),
        (Some(username), Some(file)) if tls != Some(SmtpTls::None) => Some(Some((username, file))),
        (Some(_), Some(_)) => {
            let remedy = "a password is not sent in plain text: set tls to starttls or implicit";
            fields.refuse("username", format_args!("{:?}", wire.username), remedy);
            None
        }
        (Some(_), None) => {
            fields.refuse("password_file", "none", "name the file with the user's password");
            None
        }
        (None, Some(_)) => {
            fields.refuse("username", "none", "name the user whose password the file holds");
            None
        }
    }
}

fn recipients(fields: &mut Fields<'_>, wire: &[String]) -> Option<Vec<String>> {
    if wire.is_empty() || wire.len() > MAX_TO {
        fields.refuse("to", wire.len(), format_args!("name 1 to {MAX_TO} addresses"));
        return None;
    }
    let to: Vec<String> = wire
        .iter()
        .enumerate()
        .filter_map(|(index, text)| mail_address(fields, &format!("to[{index}]"), text))
        .collect();
    (to.len() == wire.len()).then_some(to)
}

/// `local@domain`: what a header and an envelope hold without quoting.
fn mail_address(fields: &mut Fields<'_>, field: &str, text: &str) -> Option<String> {
    let is_of_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let is_of_domain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let has_parts = |part: &str| !part.is_empty() && part.split('.').all(|atom| !atom.is_empty());
    let is_one = text.len() <= MAX_MAIL_ADDRESS_BYTES
        && text.split_once('@').is_some_and(|(local, domain)| {
            has_parts(local)
                && has_parts(domain)
                && local.chars().all(is_of_local)
                && domain.chars().all(is_of_domain)
        });
    let remedy = "give an address such as ops@example.com";
    let found = if text.is_empty() { "none".to_owned() } else { format!("{text:?}") };
    fields.accept(field, is_one.then(|| text.to_owned()), found, remedy)
}

fn host(fields: &mut Fields<'_>, field: &str, text: &str) -> Option<String> {
    let is_of_a_host = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    let is_one = !text.is_empty() && text.len() <= 253 && text.chars().all(is_of_a_host);
    let found = if text.is_empty() { "none".to_owned() } else { format!("{text:?}") };
    fields.accept(field, is_one.then(|| text.to_owned()), found, "give a host's name or address")
}

/// A plain file name in the controllers' directory of secrets.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn secret_file(fields: &mut Fields<'_>, field: &str, text: &str) -> Option<Option<String>> {
    let is_plain = text.len() <= 255
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let read = match text {
        "" => Some(None),
        text => is_plain.then(|| Some(text.to_owned())),
    };
    let remedy = "write a plain file name, which is looked for in each controller's notifications.secret_dir";
    fields.accept(field, read, format_args!("{text:?}"), remedy)
}

fn webhook(fields: &mut Fields<'_>, wire: &v1::WebhookChannel) -> Option<WebhookChannel> {
    let url = url(fields, &wire.url);
    let timeout = fields.duration("timeout", wire.timeout.as_ref(), &TIMEOUT);
    let headers = headers(fields, &wire.headers);
    let ca_file = optional_file(fields, "ca_file", &wire.ca_file);
    let bearer_token_file = secret_file(fields, "bearer_token_file", &wire.bearer_token_file);
    Some(WebhookChannel {
        url: url?,
        timeout: timeout?,
        headers: headers?,
        ca_file: ca_file?,
        bearer_token_file: bearer_token_file?,
    })
}

fn url(fields: &mut Fields<'_>, text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_one = rest.is_some_and(|rest| {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        !authority.is_empty()
            && !authority.contains('@')
            && text.len() <= 2048
            && text.chars().all(|c| c.is_ascii_graphic() && c != '#' && !"\"<>\\^`{|}".contains(c))
    });
    let remedy = "give http://HOST[:PORT]/PATH or https://..., without user, fragment and spaces";
    let found = if text.is_empty() { "none".to_owned() } else { format!("{text:?}") };
    fields.accept("url", is_one.then(|| text.to_owned()), found, remedy)
}

fn headers(
    fields: &mut Fields<'_>,
    wire: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    /// What the controller itself sets.
    const OWN: [&str; 6] = [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "authorization",
    ];
    if wire.len() > MAX_HEADERS {
        fields.refuse("headers", wire.len(), format_args!("use at most {MAX_HEADERS} headers"));
        return None;
    }
    let mut are_well = true;
    for (name, value) in wire {
        let is_token = !name.is_empty()
            && name.len() <= 255
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let is_value =
            value.len() <= 1024 && value.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        let field = format!("headers.{name}");
        if OWN.contains(&name.to_ascii_lowercase().as_str()) {
            let remedy = "the controller sets it itself; a token goes into bearer_token_file";
            fields.refuse(&field, format_args!("{value:?}"), remedy);
            are_well = false;
        } else if !is_token || !is_value {
            fields.refuse(&field, format_args!("{value:?}"), "use printable ASCII in one line");
            are_well = false;
        }
    }
    are_well.then(|| wire.clone())
}

fn command_channel(fields: &mut Fields<'_>, wire: &v1::CommandChannel) -> Option<CommandChannel> {
    let program = command::program(fields, &wire.program);
    let arguments = command::arguments(fields, &wire.arguments);
    let timeout = fields.duration("timeout", wire.timeout.as_ref(), &TIMEOUT);
    Some(CommandChannel { program: program?, arguments: arguments?, timeout: timeout? })
}

pub(super) fn policy_to_wire(policy: &NotificationPolicy) -> v1::NotificationPolicy {
    v1::NotificationPolicy {
        kinds: policy.kinds.iter().map(|kind| kind.0).collect(),
        least_severity: event_severity_to_wire(policy.least_severity).into(),
        sites: policy.sites.iter().map(ToString::to_string).collect(),
        label_selector: policy.label_selector.clone(),
        group_wait: Some(duration_to_wire(policy.group_wait)),
        group_interval: Some(duration_to_wire(policy.group_interval)),
        give_up_after: Some(duration_to_wire(policy.give_up_after)),
        smtp: policy.smtp.as_ref().map(smtp_to_wire),
        webhook: policy.webhook.as_ref().map(|webhook| v1::WebhookChannel {
            url: webhook.url.clone(),
            timeout: Some(duration_to_wire(webhook.timeout)),
            headers: webhook.headers.clone(),
            ca_file: webhook.ca_file.clone().unwrap_or_default(),
            bearer_token_file: webhook.bearer_token_file.clone().unwrap_or_default(),
        }),
        command: policy.command.as_ref().map(|command| v1::CommandChannel {
            program: command.program.clone(),
            arguments: command.arguments.clone(),
            timeout: Some(duration_to_wire(command.timeout)),
        }),
    }
}

fn smtp_to_wire(smtp: &SmtpChannel) -> v1::SmtpChannel {
    let tls = match smtp.tls {
        SmtpTls::None => v1::SmtpTls::None,
        SmtpTls::StartTls => v1::SmtpTls::Starttls,
        SmtpTls::Implicit => v1::SmtpTls::Implicit,
    };
    let (username, password_file) = smtp.login.clone().unwrap_or_default();
    v1::SmtpChannel {
        server: smtp.server.clone(),
        port: u32::from(smtp.port.get()),
        from: smtp.from.clone(),
        to: smtp.to.clone(),
        connect_timeout: Some(duration_to_wire(smtp.connect_timeout)),
        router_id: smtp.router_id.clone().unwrap_or_default(),
        tls: tls.into(),
        ca_file: smtp.ca_file.clone().unwrap_or_default(),
        username,
        password_file,
    }
}
