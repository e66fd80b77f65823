//! What the kernel must allow this program.

use caps::{CapSet, Capability};

/// Capabilities that are missing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "missing {missing}: under systemd, put AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW into the unit; otherwise \
     run `setcap cap_net_admin,cap_net_raw+ep {program}`, or start it as root"
)]
pub struct Missing {
    /// Each with its use.
    pub missing: String,
    /// The program to give them to.
    pub program: String,
}

const NEEDED: [(Capability, &str); 2] = [
    (Capability::CAP_NET_ADMIN, "to program IPVS and to hold VIPs"),
    (Capability::CAP_NET_RAW, "for VRRP and gratuitous ARP"),
];

/// Looks for each capability that the director needs.
///
/// # Errors
/// [`Missing`] names those that this process does not have, and how to grant them.
pub fn check() -> Result<(), Missing> {
    explain(|capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false))
}

fn explain(has: impl Fn(Capability) -> bool) -> Result<(), Missing> {
    let missing: Vec<String> = NEEDED
        .into_iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(capability, needed_for)| format!("{capability} ({needed_for})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let program = std::env::current_exe().map_or_else(
        |_| "fulcrum-director".to_owned(),
        |program| program.to_string_lossy().into_owned(),
    );
    Err(Missing { missing: missing.join(" and "), program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_are_named_with_their_use() {
        assert_eq!(explain(|_| true), Ok(()));
        let error = explain(|capability| capability == Capability::CAP_NET_ADMIN)
            .expect_err("one is missing");
        assert_eq!(error.missing, "CAP_NET_RAW (for VRRP and gratuitous ARP)");
        let text = explain(|_| false).expect_err("both are missing").to_string();
        assert!(text.contains("CAP_NET_ADMIN (to program IPVS and to hold VIPs) and CAP_NET_RAW"));
        assert!(text.contains("AmbientCapabilities=") && text.contains("setcap "));
    }
}
