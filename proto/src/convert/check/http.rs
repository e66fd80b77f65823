//! Pages of HTTP checks, and TLS, both ways.

use fulcrum_model::{BodyDigest, Check, HttpCheck, HttpPage, TlsCheck};
use regex::bytes::RegexBuilder;

use super::{MAX_TEXT_BYTES, optional_file, optional_text};
use crate::convert::duration::duration_to_wire;
use crate::convert::fields::Fields;
use crate::v1;

/// Most pages beside the first.
const MAX_MORE_PAGES: usize = 15;
/// Most memory in bytes that a compiled regular expression may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

pub(super) fn check(fields: &mut Fields<'_>, wire: &v1::HttpCheck) -> Option<HttpCheck> {
    let first = page(fields, &wire.path, &wire.statuses, (&wire.digest, &wire.body_regex));
    if wire.more_pages.len() > MAX_MORE_PAGES {
        let remedy = format_args!("use at most {MAX_MORE_PAGES} more pages");
        fields.refuse("more_pages", wire.more_pages.len(), remedy);
        return None;
    }
    let mut pages = Vec::with_capacity(1 + wire.more_pages.len());
    pages.extend(first);
    for (index, more) in wire.more_pages.iter().enumerate() {
        let mut fields = fields.within(&format!("more_pages[{index}]"));
        let body = (more.digest.as_str(), more.body_regex.as_str());
        pages.extend(page(&mut fields, &more.path, &more.statuses, body));
    }
    let host = optional_text(fields, "host", &wire.host, |c| c.is_ascii_graphic());
    let tls = tls(fields, wire.tls.as_ref());
    let are_all = pages.len() == 1 + wire.more_pages.len();
    Some(HttpCheck { pages: are_all.then_some(pages)?, host: host?, tls: tls? })
}

fn page(
    fields: &mut Fields<'_>,
    path_text: &str,
    wire: &[u32],
    (digest, body_regex): (&str, &str),
) -> Option<HttpPage> {
    let path = match path_text {
        "" => Some("/".to_owned()),
        text => path(fields, "path", text),
    };
    let mut statuses = Vec::with_capacity(wire.len());
    for (index, status) in wire.iter().enumerate() {
        let read = u16::try_from(*status).ok().filter(|status| (100..600).contains(status));
        let field = format!("statuses[{index}]");
        statuses.extend(fields.accept(&field, read, status, "an HTTP status is 100 to 599"));
    }
    let digest = match digest {
        "" => Some(None),
        text => {
            let remedy = "give 32 hexadecimal digits of MD5 or 64 of SHA-256";
            let read = BodyDigest::from_hex(text);
            fields.accept("digest", read, format_args!("{text:?}"), remedy).map(Some)
        }
    };
    let body_regex = regex(fields, body_regex);
    Some(HttpPage { path: path?, statuses, digest: digest?, body_regex: body_regex? })
}

/// `Some(None)` when empty; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn regex(fields: &mut Fields<'_>, text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    if text.len() > MAX_TEXT_BYTES {
        fields.refuse("body_regex", format_args!("{} bytes", text.len()), "use at most 1024 bytes");
        return None;
    }
    match RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).build() {
        Ok(_) => Some(Some(text.to_owned())),
        Err(error) => {
            // The library's own words span lines; the last says what is wrong.
            let words = error.to_string();
            let why = words.lines().last().unwrap_or_default().trim();
            fields.refuse(
                "body_regex",
                format_args!("{text:?}"),
                format_args!("{why}; see docs.rs/regex"),
            );
            None
        }
    }
}

pub(super) fn path(fields: &mut Fields<'_>, field: &str, path: &str) -> Option<String> {
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

/// `Some(None)` when there is none; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
pub(super) fn tls(
    fields: &mut Fields<'_>,
    wire: Option<&v1::TlsCheck>,
) -> Option<Option<TlsCheck>> {
    let Some(wire) = wire else { return Some(None) };
    let mut fields = fields.within("tls");
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    let server_name = optional_text(&mut fields, "server_name", &wire.server_name, is_of_a_name);
    let ca_file = optional_file(&mut fields, "ca_file", &wire.ca_file);
    let warning = fields.seconds_up_to(
        // A certificate of the longest kind lasts some years.
        365 * Check::MAX_DURATION,
        "expiry_warning",
        wire.expiry_warning.as_ref(),
        "give whole seconds up to 365 days, such as 1209600s for two weeks",
    );
    Some(Some(TlsCheck { server_name: server_name?, ca_file: ca_file?, expiry_warning: warning? }))
}

pub(super) fn check_to_wire(check: &HttpCheck) -> v1::HttpCheck {
    let mut pages = check.pages.iter().map(page_to_wire);
    let first = pages.next().unwrap_or_default();
    v1::HttpCheck {
        path: first.path,
        host: check.host.clone().unwrap_or_default(),
        statuses: first.statuses,
        digest: first.digest,
        body_regex: first.body_regex,
        more_pages: pages.collect(),
        tls: check.tls.as_ref().map(tls_to_wire),
    }
}

fn page_to_wire(page: &HttpPage) -> v1::HttpPage {
    v1::HttpPage {
        path: page.path.clone(),
        statuses: page.statuses.iter().copied().map(u32::from).collect(),
        digest: page.digest.map(|digest| digest.to_string()).unwrap_or_default(),
        body_regex: page.body_regex.clone().unwrap_or_default(),
    }
}

pub(super) fn tls_to_wire(tls: &TlsCheck) -> v1::TlsCheck {
    v1::TlsCheck {
        server_name: tls.server_name.clone().unwrap_or_default(),
        ca_file: tls.ca_file.clone().unwrap_or_default(),
        expiry_warning: tls.expiry_warning.map(duration_to_wire),
    }
}
