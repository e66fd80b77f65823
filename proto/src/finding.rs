//! Findings of a host: which kinds there are, who looks for each, and how several sources' become one list.
//!
//! The catalogue is in one place, so that agents report only what lvsctl knows to name, and lvsctl can tell what was
//! looked at and found well.

use crate::v1;

/// Most findings that a host tells. A host with more has trouble enough with the first of them.
pub const MOST: usize = 256;

/// What a host is, for what is looked at there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRole {
    /// It runs a director's agent.
    Director,
    /// It runs a real server's agent.
    RealServer,
}

/// A kind of finding. Its text is part of the API: it never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// IPVS or a scheduler of the plan is missing.
    IpvsModules,
    /// VIPs are not on loopback, or ARP is not quiet for them.
    VipLoopback,
    /// A VIP is on another interface than loopback too.
    VipElsewhere,
    /// A server listens on its own address alone.
    ListenAddress,
    /// A packet filter drops what connection tracking has seen half of.
    ConntrackInvalid,
    /// Reverse-path filtering drops clients' packets.
    RpFilter,
    /// nat without forwarding.
    IpForward,
    /// Redirects lead real servers around the director.
    SendRedirects,
    /// Another router uses the VRID with other settings.
    VridCollision,
    /// Another host answers for a VIP.
    VipOwner,
    /// Another program speaks VRRP on the host.
    OtherRouter,
    /// A bridge forgets who wants adverts.
    MulticastQuerier,
    /// A hypervisor may drop frames of virtual MACs.
    HypervisorMac,
    /// Packets have no room for a tunnel's header.
    TunnelMtu,
    /// Another program manages the addresses of a VIP's interface.
    ManagedInterface,
    /// The disk of the state directory is full, or nearly.
    DiskSpace,
    /// A certificate has ended, or will soon.
    Certificate,
}

impl Code {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 17] = [
        Self::IpvsModules,
        Self::VipLoopback,
        Self::VipElsewhere,
        Self::ListenAddress,
        Self::ConntrackInvalid,
        Self::RpFilter,
        Self::IpForward,
        Self::SendRedirects,
        Self::VridCollision,
        Self::VipOwner,
        Self::OtherRouter,
        Self::MulticastQuerier,
        Self::HypervisorMac,
        Self::TunnelMtu,
        Self::ManagedInterface,
        Self::DiskSpace,
        Self::Certificate,
    ];

    /// As it is on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IpvsModules => "ipvs-modules",
            Self::VipLoopback => "vip-loopback",
            Self::VipElsewhere => "vip-elsewhere",
            Self::ListenAddress => "listen-address",
            Self::ConntrackInvalid => "conntrack-invalid",
            Self::RpFilter => "rp-filter",
            Self::IpForward => "ip-forward",
            Self::SendRedirects => "send-redirects",
            Self::VridCollision => "vrid-collision",
            Self::VipOwner => "vip-owner",
            Self::OtherRouter => "other-router",
            Self::MulticastQuerier => "multicast-querier",
            Self::HypervisorMac => "hypervisor-mac",
            Self::TunnelMtu => "tunnel-mtu",
            Self::ManagedInterface => "managed-interface",
            Self::DiskSpace => "disk-space",
            Self::Certificate => "certificate",
        }
    }

    /// What holds where nothing was found.
    pub fn title(self) -> &'static str {
        match self {
            Self::IpvsModules => "IPVS and the plan's schedulers are available",
            Self::VipLoopback => "VIPs are on loopback, and ARP is quiet for them",
            Self::VipElsewhere => "VIPs are on no other interface",
            Self::ListenAddress => "servers listen on the VIP's address",
            Self::ConntrackInvalid => "no packet filter drops half-seen connections as invalid",
            Self::RpFilter => "reverse-path filtering lets clients' packets in",
            Self::IpForward => "the host forwards where nat needs it",
            Self::SendRedirects => "no redirects lead real servers around the director",
            Self::VridCollision => "nobody else uses the VRIDs with other settings",
            Self::VipOwner => "nobody else answers for the VIPs",
            Self::OtherRouter => "no other program speaks VRRP on the host",
            Self::MulticastQuerier => "bridges pass multicast adverts on",
            Self::HypervisorMac => "no hypervisor stands between virtual MACs and the segment",
            Self::TunnelMtu => "packets have room for the tunnel's header",
            Self::ManagedInterface => "no network manager takes VIPs away",
            Self::DiskSpace => "the state directory has room",
            Self::Certificate => "certificates last",
        }
    }

    /// Whether agents of this role look for it.
    pub fn is_of(self, role: HostRole) -> bool {
        let (director, real_server) = match self {
            Self::IpvsModules
            | Self::IpForward
            | Self::SendRedirects
            | Self::VridCollision
            | Self::VipOwner
            | Self::OtherRouter
            | Self::MulticastQuerier
            | Self::HypervisorMac
            | Self::TunnelMtu => (true, false),
            Self::VipLoopback | Self::VipElsewhere | Self::ListenAddress => (false, true),
            Self::ConntrackInvalid
            | Self::RpFilter
            | Self::ManagedInterface
            | Self::DiskSpace
            | Self::Certificate => (true, true),
        };
        match role {
            HostRole::Director => director,
            HostRole::RealServer => real_server,
        }
    }

    /// It works, and may surprise.
    pub fn warning(
        self,
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> v1::Finding {
        self.finding(v1::Severity::Warning, subject.into(), found.into(), remedy.into())
    }

    /// Clients lose connections, or will.
    pub fn error(
        self,
        subject: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> v1::Finding {
        self.finding(v1::Severity::Error, subject.into(), found.into(), remedy.into())
    }

    fn finding(
        self,
        severity: v1::Severity,
        subject: String,
        found: String,
        remedy: String,
    ) -> v1::Finding {
        let code = self.as_str().to_owned();
        v1::Finding { code, severity: severity.into(), subject, found, remedy }
    }
}

/// One list of several sources': ordered by code and subject, without repetitions. Where there are more than [`MOST`],
/// errors stay before warnings.
pub fn merge(sources: impl IntoIterator<Item = Vec<v1::Finding>>) -> Vec<v1::Finding> {
    let mut all: Vec<v1::Finding> = sources.into_iter().flatten().collect();
    if all.len() > MOST {
        // Sorting is stable: of equal severity the first sources' stay.
        all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        all.truncate(MOST);
    }
    all.sort_by(|a, b| {
        let key = |finding: &v1::Finding| {
            (finding.code.clone(), finding.subject.clone(), finding.found.clone())
        };
        key(a).cmp(&key(b))
    });
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_words_and_unique() {
        let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            let text = code.as_str();
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{text}");
            let roles = [HostRole::Director, HostRole::RealServer];
            assert!(roles.iter().any(|role| code.is_of(*role)), "somebody looks for {text}");
        }
    }

    #[test]
    fn a_merged_list_is_ordered_and_bounded() {
        let a = Code::RpFilter.error("tunl0", "x", "y");
        let b = Code::DiskSpace.warning("/var", "x", "y");
        let c = Code::RpFilter.error("gre0", "x", "y");
        let merged = merge([vec![a.clone(), b.clone()], vec![c.clone(), a.clone()]]);
        assert_eq!(merged, [b, c, a.clone()]);
        let many = (0..1_000).map(|n| Code::DiskSpace.warning(format!("{n}"), "x", "y")).collect();
        let merged = merge([many, vec![a.clone()]]);
        assert_eq!(merged.len(), MOST);
        assert!(merged.contains(&a), "an error is not left out for warnings");
    }
}
