//! Checks and probes both ways.

mod http;
mod kinds;
mod path;

use std::num::NonZeroU32;
use std::time::Duration;

use fulcrum_model::{Check, Port, ServerProbe, StatusPage};

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
    let probe = kinds::probe(fields, wire.probe.as_ref());
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
    let jitter_rule = DurationRule {
        default: Some(Duration::ZERO),
        min: Duration::ZERO,
        max: interval.unwrap_or(Check::MAX_DURATION),
    };
    let jitter = fields.duration("jitter", wire.jitter.as_ref(), &jitter_rule);
    let source = match wire.source.as_str() {
        "" => Some(None),
        text => fields.address("source", text, "an address of the director").map(Some),
    };
    let through_vip = path::through_vip(fields, wire, probe.as_ref(), retries);
    Some(Check {
        probe: probe?,
        interval: interval?,
        timeout: timeout?,
        retries,
        retry_delay: retry_delay?,
        rise: wire.rise.max(1),
        port: port?,
        jitter: jitter?,
        source: source?,
        fwmark: NonZeroU32::new(wire.fwmark),
        through_vip: through_vip?,
    })
}

/// `Some(None)` when empty; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn optional_text(
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

/// An absolute path on the host that reads it; `Some(None)` when empty, `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn optional_file(
    fields: &mut Fields<'_>,
    field: &str,
    text: &str,
) -> Option<Option<String>> {
    let file = optional_text(fields, field, text, |c| !c.is_control())?;
    let is_well = file.as_ref().is_none_or(|file| file.starts_with('/'));
    fields.accept(field, is_well.then_some(file), format_args!("{text:?}"), "give an absolute path")
}

pub(super) fn check_to_wire(check: &Check) -> v1::Check {
    v1::Check {
        interval: Some(duration_to_wire(check.interval)),
        timeout: Some(duration_to_wire(check.timeout)),
        retries: Some(check.retries),
        retry_delay: Some(duration_to_wire(check.retry_delay)),
        rise: check.rise,
        port: check.port.map_or(0, |port| u32::from(port.get())),
        jitter: (!check.jitter.is_zero()).then(|| duration_to_wire(check.jitter)),
        source: check.source.map(|source| source.to_string()).unwrap_or_default(),
        fwmark: check.fwmark.map_or(0, NonZeroU32::get),
        through_vip: check.through_vip.map(path::through_vip_to_wire),
        probe: Some(kinds::probe_to_wire(&check.probe)),
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
        path => http::path(fields, "http_path", path).map(Some),
    };
    let interval = fields.duration("interval", wire.interval.as_ref(), &INTERVAL);
    let timeout = fields.duration("timeout", wire.timeout.as_ref(), &TIMEOUT);
    let status_page = status_page(fields, wire);
    let ops_url = own_url(fields, "ops_url", &wire.ops_url);
    if wire.jmx && wire.status_url.is_empty() {
        fields.refuse("jmx", true, "needs a status_url, whose host and user it shares; give one");
    }
    Some(ServerProbe {
        http_path: path?,
        interval: interval?,
        timeout: timeout?,
        status_page: status_page?,
        ops_url: ops_url?,
        jmx: wire.jmx,
    })
}

/// `Some(None)` when there is none; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn own_url(fields: &mut Fields<'_>, field: &str, text: &str) -> Option<Option<String>> {
    let url = optional_text(fields, field, text, |c| c.is_ascii_graphic())?;
    let Some(url) = url else { return Some(None) };
    let authority = url.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or(rest));
    if authority.is_none_or(str::is_empty) {
        let remedy = "plain HTTP on the real server's own host: http://127.0.0.1:8080/...";
        fields.refuse(field, format_args!("{url:?}"), remedy);
        return None;
    }
    Some(Some(url))
}

/// `Some(None)` when there is none; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn status_page(fields: &mut Fields<'_>, wire: &v1::ServerProbe) -> Option<Option<StatusPage>> {
    let graphic = |c: char| !c.is_control() && !c.is_whitespace();
    let url = own_url(fields, "status_url", &wire.status_url);
    // Basic authentication ends the user at the first colon (RFC 7617 section 2).
    let user = optional_text(fields, "status_user", &wire.status_user, |c| graphic(c) && c != ':');
    let file = optional_file(fields, "status_password_file", &wire.status_password_file);
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
        ops_url: probe.ops_url.clone().unwrap_or_default(),
        jmx: probe.jmx,
    }
}
