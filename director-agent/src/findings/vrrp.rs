//! What VRRP hears of others.

use fulcrum_proto::finding::Code;
use fulcrum_proto::v1::Finding;

use crate::vrrp::{Rival, VrrpSnapshot, mac_text};

/// Adverts that clash with ours, and other holders of our VIPs. Both go some time after they were heard last.
pub fn vrrp(seen: &VrrpSnapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, status) in &seen.instances {
        findings.extend(status.rejected.iter().map(|text| {
            Code::VridCollision.error(
                name.as_str(),
                text,
                "make both sides equal, or give one of them another VRID; on the segment, \
                 `tcpdump -ni any proto 112` shows who sends",
            )
        }));
        findings.extend(status.rivals.iter().map(|rival| {
            let Rival { address, mac, interface, .. } = rival;
            Code::VipOwner.error(
                address.to_string(),
                format!(
                    "{} answers for it on {interface}, too: clients reach the one or the other",
                    mac_text(*mac)
                ),
                "find it by its MAC, and take the address from it; on a real server run the agent, \
                 or set arp_ignore=1",
            )
        }));
    }
    findings
}
