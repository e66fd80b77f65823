//! Ends in, findings out.

use std::collections::BTreeSet;
use std::time::SystemTime;

use fulcrum_proto::finding::{Code, Look};
use fulcrum_proto::v1::{Finding, Unchecked};
use fulcrum_session::host::judge::ENDS_SOON;

use super::{Ends, Target};

/// What is wrong with the certificates of `wanted`, and which are not known.
pub fn judge(wanted: &BTreeSet<Target>, ends: &Ends, now: SystemTime) -> Look {
    if wanted.is_empty() {
        let why = "no connector of a Tomcat here is known to speak TLS, and [[certificates]] of realserver.toml \
                   names none";
        return Look {
            findings: Vec::new(),
            unchecked: vec![Code::ServerCertificate.unchecked(why)],
        };
    }
    let mut look = Look::default();
    for target in wanted {
        match ends.get(target) {
            Some(Ok(end)) => look.findings.extend(ending(target, *end, now)),
            Some(Err(why)) => look.unchecked.push(unseen(target, why)),
            None => look.unchecked.push(unseen(target, "it was not asked yet")),
        }
    }
    look
}

fn unseen(target: &Target, why: &str) -> Unchecked {
    Code::ServerCertificate.unchecked(format!("{}: {why}", subject(target)))
}

fn subject(target: &Target) -> String {
    match &target.host {
        Some(host) => format!("{host} at {}", target.address),
        None => target.address.to_string(),
    }
}

fn ending(target: &Target, end: SystemTime, now: SystemTime) -> Option<Finding> {
    let remedy = "renew it, then restart the server or let it read its certificate again";
    match end.duration_since(now) {
        Ok(left) if left > ENDS_SOON => None,
        Ok(left) if !left.is_zero() => {
            // Told by days, so that the report changes once a day.
            let days = left.as_secs() / 86_400;
            let found = format!("the certificate that it presents ends in {days} days");
            Some(Code::ServerCertificate.warning(subject(target), found, remedy))
        }
        Ok(_) | Err(_) => {
            let found = format!(
                "the certificate that it presents ended at {}: clients refuse it",
                humantime::format_rfc3339_seconds(end)
            );
            // Clients come to another port by the operator's own doing, or never.
            Some(if target.is_served {
                Code::ServerCertificate.error(subject(target), found, remedy)
            } else {
                Code::ServerCertificate.warning(subject(target), found, remedy)
            })
        }
    }
}
