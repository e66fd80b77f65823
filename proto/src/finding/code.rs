//! The catalogue: each kind of finding, its text, and who looks for it.

use super::HostRole;
use crate::v1;

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
    /// Others answer ARP for a VIP, or nobody does.
    ArpProof,
    /// The host's clock is far from that of others.
    ClockSkew,
    /// A Tomcat's connector listens on an address that no VIP's packets reach.
    TomcatAddress,
    /// A Tomcat has another port than the plan.
    TomcatPort,
    /// A Tomcat that stops loses requests.
    TomcatStopLosesRequests,
    /// A Tomcat's manager keeps nobody out.
    TomcatManagerOpen,
    /// A certificate that a server presents to clients has ended, or will soon.
    ServerCertificate,
}

impl Code {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 24] = [
        Self::IpvsModules,
        Self::VipLoopback,
        Self::VipElsewhere,
        Self::ListenAddress,
        Self::TomcatAddress,
        Self::TomcatPort,
        Self::TomcatStopLosesRequests,
        Self::TomcatManagerOpen,
        Self::ServerCertificate,
        Self::ConntrackInvalid,
        Self::RpFilter,
        Self::IpForward,
        Self::SendRedirects,
        Self::VridCollision,
        Self::VipOwner,
        Self::ArpProof,
        Self::OtherRouter,
        Self::MulticastQuerier,
        Self::HypervisorMac,
        Self::TunnelMtu,
        Self::ManagedInterface,
        Self::DiskSpace,
        Self::Certificate,
        Self::ClockSkew,
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
            Self::ArpProof => "arp-proof",
            Self::ClockSkew => "clock-skew",
            Self::TomcatAddress => "tomcat-address",
            Self::TomcatPort => "tomcat-port",
            Self::TomcatStopLosesRequests => "tomcat-stop-loses-requests",
            Self::TomcatManagerOpen => "tomcat-manager-open",
            Self::ServerCertificate => "server-certificate",
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
            Self::DiskSpace => "the disk of the program's state has room",
            Self::Certificate => "certificates last",
            Self::ArpProof => "the Active alone answers ARP for the VIPs",
            Self::ClockSkew => "the clock agrees with that of the controllers",
            Self::TomcatAddress => "Tomcat's connectors listen where VIPs' packets come",
            Self::TomcatPort => "Tomcat has the port of the plan",
            Self::TomcatStopLosesRequests => "a Tomcat that stops loses no requests",
            Self::TomcatManagerOpen => "Tomcat's manager is not open to everyone",
            Self::ServerCertificate => "certificates of the servers last",
        }
    }

    /// Whether programs of this role look for it.
    pub fn is_of(self, role: HostRole) -> bool {
        let roles: &[HostRole] = match self {
            Self::IpvsModules
            | Self::IpForward
            | Self::SendRedirects
            | Self::VridCollision
            | Self::VipOwner
            | Self::ArpProof
            | Self::OtherRouter
            | Self::MulticastQuerier
            | Self::HypervisorMac
            | Self::TunnelMtu => &[HostRole::Director],
            Self::VipLoopback
            | Self::VipElsewhere
            | Self::ListenAddress
            | Self::TomcatAddress
            | Self::TomcatPort
            | Self::TomcatStopLosesRequests
            | Self::TomcatManagerOpen
            | Self::ServerCertificate => &[HostRole::RealServer],
            Self::ConntrackInvalid | Self::RpFilter | Self::ManagedInterface => {
                &[HostRole::Director, HostRole::RealServer]
            }
            Self::DiskSpace | Self::Certificate | Self::ClockSkew => {
                &[HostRole::Controller, HostRole::Director, HostRole::RealServer]
            }
        };
        roles.contains(&role)
    }

    /// Whether it is found in the look at the host that is taken again and again; the others are told by what runs beside.
    pub fn is_of_the_look(self) -> bool {
        match self {
            Self::IpvsModules
            | Self::VipLoopback
            | Self::VipElsewhere
            | Self::ListenAddress
            | Self::ConntrackInvalid
            | Self::RpFilter
            | Self::IpForward
            | Self::SendRedirects
            | Self::OtherRouter
            | Self::MulticastQuerier
            | Self::HypervisorMac
            | Self::TunnelMtu
            | Self::ManagedInterface
            | Self::DiskSpace
            | Self::Certificate => true,
            Self::VridCollision
            | Self::VipOwner
            | Self::ArpProof
            | Self::ClockSkew
            | Self::TomcatAddress
            | Self::TomcatPort
            | Self::TomcatStopLosesRequests
            | Self::TomcatManagerOpen
            | Self::ServerCertificate => false,
        }
    }

    /// It could not be looked at, for this reason.
    pub fn unchecked(self, why: impl Into<String>) -> v1::Unchecked {
        v1::Unchecked { code: self.as_str().to_owned(), why: why.into() }
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
