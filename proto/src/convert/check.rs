//! Checks and probes both ways.

use std::time::Duration;

use fulcrum_model::{Check, HttpCheck, Port, ProbeKind, ServerProbe, StatusPage};

use super::duration::duration_to_wire;
use super::fields::{DurationRule, Fields};
use crate::v1;

/// Longest text of a path, host, user or file name in bytes. A bound so that no request is larger than one packet.
const MAX_TEXT_BYTES: usize = 1024;

const INTERVAL: DurationRule = DurationRule {
    default: Some(Duration::from_secs(1)),
    min: Check::MIN_INTERVAL,
    max: Check::MAX_DURATION,
};
const TIMEOUT: DurationRule = DurationRule {
    default: Some(Duration::from_secs(1)),
    min: Check::MIN_TIMEOUT,
    max: Check::MAX_DURATION,
};

/// With every default filled in; the default check where none is given.
pub(super) fn check(fields: &mut Fields<'_>, wire: Option<&v1::Check>) -> Option<Check> {
    let Some(wire) = wire else { return Some(Check::default()) };
    let probe = match &wire.probe {
        None | Some(v1::check::Probe::Tcp(v1::TcpCheck {})) => Some(ProbeKind::Tcp),
        Some(v1::check::Probe::Http(http)) => {
            http_check(&mut fields.within("http"), http).map(ProbeKind::Http)
        }
    };
    let interval = fields.duration("interval", wire.interval.as_ref(), &INTERVAL);
    let timeout = fields.duration("timeout", wire.timeout.as_ref(), &TIMEOUT);
    let retries = wire.retries.unwrap_or(1);
    if retries > Check::MAX_COUNT {
        fields.refuse("retries", retries, format_args!("use 0 to {}", Check::MAX_COUNT));
    }
    let retry_delay_rule = DurationRule {
        // Where the interval is bad, its own note is enough.
        default: interval.or(INTERVAL.default),
        min: Check::MIN_TIMEOUT,
        max: Check::MAX_DURATION,
    };
    let retry_delay = fields.duration("retry_delay", wire.retry_delay.as_ref(), &retry_delay_rule);
    if wire.rise > Check::MAX_COUNT {
        fields.refuse("rise", wire.rise, format_args!("use 1 to {}", Check::MAX_COUNT));
    }
    let port = match wire.port {
        0 => Some(None),
        port => fields.number("port", port, Port::new).map(Some),
    };
    Some(Check {
        probe: probe?,
        interval: interval?,
        timeout: timeout?,
        retries,
        retry_delay: retry_delay?,
        rise: wire.rise.max(1),
        port: port?,
    })
}

fn http_check(fields: &mut Fields<'_>, wire: &v1::HttpCheck) -> Option<HttpCheck> {
    let path = match wire.path.as_str() {
        "" => Some("/".to_owned()),
        path => http_path(fields, "path", path),
    };
    let host = optional_text(fields, "host", &wire.host, |c| c.is_ascii_graphic());
    let mut statuses = Vec::with_capacity(wire.statuses.len());
    for (index, status) in wire.statuses.iter().enumerate() {
        let read = u16::try_from(*status).ok().filter(|status| (100..600).contains(status));
        let field = format!("statuses[{index}]");
        statuses.extend(fields.accept(&field, read, status, "an HTTP status is 100 to 599"));
    }
    Some(HttpCheck { path: path?, host: host?, statuses })
}

fn http_path(fields: &mut Fields<'_>, field: &str, path: &str) -> Option<String> {
    let remedy = if !path.starts_with('/') {
        "a path begins with '/'"
    } else if !path.chars().all(|c| c.is_ascii_graphic()) {
        "a path holds no space and nothing outside ASCII; percent-encode them"
    } else if path.len() > MAX_TEXT_BYTES {
        "a path has at most 1024 bytes"
    } else {
        return Some(path.to_owned());
    };
    fields.refuse(field, format_args!("{path:?}"), remedy);
    None
}

/// `Some(None)` when empty; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn optional_text(
    fields: &mut Fields<'_>,
    field: &str,
    text: &str,
    accepts: impl Fn(char) -> bool,
) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    if text.len() <= MAX_TEXT_BYTES && text.chars().all(accepts) {
        return Some(Some(text.to_owned()));
    }
    let remedy = "use at most 1024 bytes, without spaces and control characters";
    fields.refuse(field, format_args!("{text:?}"), remedy);
    None
}

pub(super) fn check_to_wire(check: &Check) -> v1::Check {
    let probe = match &check.probe {
        ProbeKind::Tcp => v1::check::Probe::Tcp(v1::TcpCheck {}),
        ProbeKind::Http(http) => v1::check::Probe::Http(v1::HttpCheck {
            path: http.path.clone(),
            host: http.host.clone().unwrap_or_default(),
            statuses: http.statuses.iter().copied().map(u32::from).collect(),
        }),
    };
    v1::Check {
        interval: Some(duration_to_wire(check.interval)),
        timeout: Some(duration_to_wire(check.timeout)),
        retries: Some(check.retries),
        retry_delay: Some(duration_to_wire(check.retry_delay)),
        rise: check.rise,
        port: check.port.map_or(0, |port| u32::from(port.get())),
        probe: Some(probe),
    }
}

/// With every default filled in; the default probe where none is given.
pub(super) fn server_probe(
    fields: &mut Fields<'_>,
    wire: Option<&v1::ServerProbe>,
) -> Option<ServerProbe> {
    let Some(wire) = wire else { return Some(ServerProbe::default()) };
    let path = match wire.http_path.as_str() {
        "" => Some(None),
        path => http_path(fields, "http_path", path).map(Some),
    };
    let interval = fields.duration("interval", wire.interval.as_ref(), &INTERVAL);
    let timeout = fields.duration("timeout", wire.timeout.as_ref(), &TIMEOUT);
    let status_page = status_page(fields, wire);
    Some(ServerProbe {
        http_path: path?,
        interval: interval?,
        timeout: timeout?,
        status_page: status_page?,
    })
}

/// `Some(None)` when there is none; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn status_page(fields: &mut Fields<'_>, wire: &v1::ServerProbe) -> Option<Option<StatusPage>> {
    let graphic = |c: char| !c.is_control() && !c.is_whitespace();
    let url = optional_text(fields, "status_url", &wire.status_url, |c| c.is_ascii_graphic());
    // Basic authentication ends the user at the first colon (RFC 7617 section 2).
    let user = optional_text(fields, "status_user", &wire.status_user, |c| graphic(c) && c != ':');
    let file = optional_text(fields, "status_password_file", &wire.status_password_file, |c| {
        !c.is_control()
    });
    let (url, user, password_file) = (url?, user?, file?);
    let Some(url) = url else {
        for (field, given) in [("status_user", &user), ("status_password_file", &password_file)] {
            if let Some(text) = given {
                fields.refuse(
                    field,
                    format_args!("{text:?}"),
                    "needs a status_url; give one or leave this out",
                );
            }
        }
        return (user.is_none() && password_file.is_none()).then_some(None);
    };
    let authority = url.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or(rest));
    if authority.is_none_or(str::is_empty) {
        let remedy = "plain HTTP on the real server's own host: http://127.0.0.1:8080/...";
        fields.refuse("status_url", format_args!("{url:?}"), remedy);
        return None;
    }
    if password_file.as_ref().is_some_and(|file| !file.starts_with('/')) {
        let found = format!("{:?}", wire.status_password_file);
        fields.refuse("status_password_file", found, "give an absolute path");
        return None;
    }
    Some(Some(StatusPage { url, user, password_file }))
}

pub(super) fn server_probe_to_wire(probe: &ServerProbe) -> v1::ServerProbe {
    let page = probe.status_page.as_ref();
    v1::ServerProbe {
        http_path: probe.http_path.clone().unwrap_or_default(),
        interval: Some(duration_to_wire(probe.interval)),
        timeout: Some(duration_to_wire(probe.timeout)),
        status_url: page.map(|page| page.url.clone()).unwrap_or_default(),
        status_user: page.and_then(|page| page.user.clone()).unwrap_or_default(),
        status_password_file: page.and_then(|page| page.password_file.clone()).unwrap_or_default(),
    }
}
