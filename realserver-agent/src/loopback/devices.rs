//! Devices that take packets out of tunnels, as route netlink and `/proc/sys` tell and take them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use netlink_packet_route::link::{
    GreIOFlags, InfoData, InfoGre, InfoGre6, InfoIpTunnel, InfoKind, LinkAttribute, LinkInfo,
    LinkMessage,
};

use super::tunnels::{Device, Kind};

/// The address of IPv4 that our devices have, which is nobody's (RFC 7600 §6, "IPv4 dummy address").
pub(super) const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// Sources need to be reachable at all, by whatever interface (RFC 3704 §2.4). Where `all` is strict it is the most that
/// one device can have: the greater of both counts.
const LOOSE: u32 = 2;

/// A device that takes any protocol of its kind.
const ANY: i32 = 0;
/// What our devices do not do, for they take packets of anybody who reaches the RIP: forward what comes out, and heed
/// redirects and router advertisements. The kernel makes new devices as `default` says.
const GUARDED: [&str; 6] = [
    "ipv4/conf/DEVICE/forwarding",
    "ipv4/conf/DEVICE/accept_redirects",
    "ipv6/conf/DEVICE/forwarding",
    "ipv6/conf/DEVICE/accept_ra",
    "ipv6/conf/DEVICE/accept_redirects",
    "ipv6/conf/DEVICE/autoconf",
];

/// Where the kernel has settings of the IP protocols.
const SYSCTLS: &str = "/proc/sys/net";

/// What a link takes out, and whether from any sender and without a key; none where it is no such device.
pub(super) fn read(link: &LinkMessage) -> Option<(Device, bool)> {
    let info = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    })?;
    let kind = info.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => kind_of(kind),
        _ => None,
    })?;
    let mut ends = Ends::default();
    for info in info {
        match info {
            LinkInfo::Data(InfoData::IpTunnel(data)) => data.iter().for_each(|it| ends.ip(it)),
            LinkInfo::Data(InfoData::GreTun(data)) => data.iter().for_each(|it| ends.gre(it)),
            LinkInfo::Data(InfoData::GreTun6(data)) => data.iter().for_each(|it| ends.gre6(it)),
            _ => {}
        }
    }
    let unspecified: IpAddr = match kind {
        Kind::Ipip | Kind::Sit | Kind::Gre => Ipv4Addr::UNSPECIFIED.into(),
        Kind::Ip6tnl | Kind::Ip6gre => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let device = Device {
        kind,
        local: ends.local.unwrap_or(unspecified),
        checksum: ends.flags.contains(GreIOFlags::Checksum),
    };
    let is_open = ends.remote.is_none_or(|remote| remote.is_unspecified())
        && !ends.flags.contains(GreIOFlags::Key)
        && !ends.is_by_flow
        && ends.mode.is_none_or(|mode| takes(kind, mode));
    Some((device, is_open))
}

/// What a link's attributes say.
#[derive(Default)]
struct Ends {
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    flags: GreIOFlags,
    /// Its tunnels are given packet by packet, as programs of traffic control do.
    is_by_flow: bool,
    /// The protocol inside that it is for; 0 is any.
    mode: Option<i32>,
}

/// Whether a device of a kind takes what ours do where it is for one protocol inside. One of ip6tnl is for both families.
fn takes(kind: Kind, mode: i32) -> bool {
    mode == ANY
        || match kind {
            Kind::Ipip => mode == nix::libc::IPPROTO_IPIP,
            Kind::Sit => mode == nix::libc::IPPROTO_IPV6,
            Kind::Ip6tnl | Kind::Gre | Kind::Ip6gre => false,
        }
}

impl Ends {
    fn ip(&mut self, info: &InfoIpTunnel) {
        match info {
            InfoIpTunnel::Local(address) => self.local = Some(*address),
            InfoIpTunnel::Remote(address) => self.remote = Some(*address),
            InfoIpTunnel::CollectMetadata => self.is_by_flow = true,
            InfoIpTunnel::Protocol(mode) => self.mode = Some((*mode).into()),
            _ => {}
        }
    }

    fn gre(&mut self, info: &InfoGre) {
        match info {
            InfoGre::Local(address) => self.local = Some((*address).into()),
            InfoGre::Remote(address) => self.remote = Some((*address).into()),
            InfoGre::IFlags(flags) => self.flags = *flags,
            InfoGre::CollectMetadata => self.is_by_flow = true,
            _ => {}
        }
    }

    fn gre6(&mut self, info: &InfoGre6) {
        match info {
            InfoGre6::Local(address) => self.local = Some((*address).into()),
            InfoGre6::Remote(address) => self.remote = Some((*address).into()),
            InfoGre6::IFlags(flags) => self.flags = *flags,
            InfoGre6::CollectMetadata => self.is_by_flow = true,
            _ => {}
        }
    }
}

fn kind_of(kind: &InfoKind) -> Option<Kind> {
    match kind {
        InfoKind::IpIp => Some(Kind::Ipip),
        InfoKind::SitTun => Some(Kind::Sit),
        InfoKind::Ip6Tnl => Some(Kind::Ip6tnl),
        InfoKind::GreTun => Some(Kind::Gre),
        InfoKind::GreTun6 => Some(Kind::Ip6gre),
        _ => None,
    }
}

/// The link to be made.
pub(super) fn message(name: &str, device: &Device) -> LinkMessage {
    let flags = if device.checksum { GreIOFlags::Checksum } else { GreIOFlags::empty() };
    let (kind, data) = match (device.kind, device.local) {
        (Kind::Ipip, local) => (InfoKind::IpIp, ip(local)),
        (Kind::Sit, local) => (InfoKind::SitTun, ip(local)),
        (Kind::Ip6tnl, local) => (InfoKind::Ip6Tnl, ip(local)),
        (Kind::Gre | Kind::Ip6gre, IpAddr::V4(local)) => (
            InfoKind::GreTun,
            InfoData::GreTun(vec![InfoGre::IFlags(flags), InfoGre::Local(local)]),
        ),
        (Kind::Gre | Kind::Ip6gre, IpAddr::V6(local)) => (
            InfoKind::GreTun6,
            InfoData::GreTun6(vec![InfoGre6::IFlags(flags), InfoGre6::Local(local)]),
        ),
    };
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
    ];
    message
}

fn ip(local: IpAddr) -> InfoData {
    InfoData::IpTunnel(vec![InfoIpTunnel::Local(local)])
}

fn rp_filter(interface: &str) -> PathBuf {
    Path::new(SYSCTLS).join("ipv4/conf").join(interface).join("rp_filter")
}

fn disable_ipv6(interface: &str) -> PathBuf {
    Path::new(SYSCTLS).join("ipv6/conf").join(interface).join("disable_ipv6")
}

/// `rp_filter` in force at a device; 0 where it has gone meanwhile.
pub(super) fn rp_filter_in_force(interface: &str) -> u32 {
    number(&rp_filter(interface)).max(number(&rp_filter("all")))
}

/// Whether IPv6 is disabled at a device; no where the kernel has none.
pub(super) fn is_ipv6_disabled(interface: &str) -> bool {
    number(&disable_ipv6(interface)) != 0
}

/// Whether an interface answers neighbour solicitations for its proxy entries (`ndisc_recv_ns`, net/ipv6/ndisc.c).
pub(super) fn answers_by_proxy(interface: &str) -> bool {
    let set = |whose: &str, key: &str| {
        number(&Path::new(SYSCTLS).join("ipv6/conf").join(whose).join(key)) != 0
    };
    set(interface, "forwarding") && (set("all", "proxy_ndp") || set(interface, "proxy_ndp"))
}

fn number(path: &Path) -> u32 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Filters reverse paths loosely at a device.
///
/// # Errors
/// The kernel refuses.
pub(super) fn loosen(interface: &str) -> io::Result<()> {
    std::fs::write(rp_filter(interface), LOOSE.to_string())
}

fn guards(interface: &str) -> impl Iterator<Item = PathBuf> {
    GUARDED.iter().map(move |setting| Path::new(SYSCTLS).join(setting.replace("DEVICE", interface)))
}

/// Whether a device forwards nothing and heeds nobody's redirects or advertisements.
pub(super) fn is_guarded(interface: &str) -> bool {
    guards(interface).all(|path| number(&path) == 0)
}

/// Makes it so. A setting that the kernel does not have (IPv6 built out or disabled) needs none.
///
/// # Errors
/// The kernel refuses.
pub(super) fn guard(interface: &str) -> io::Result<()> {
    for path in guards(interface) {
        match std::fs::write(path, "0") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Lets IPv6 in at a device, where the kernel has it.
///
/// # Errors
/// The kernel refuses.
pub(super) fn enable_ipv6(interface: &str) -> io::Result<()> {
    match std::fs::write(disable_ipv6(interface), "0") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read() {
        let devices = [
            (Kind::Ipip, "10.0.0.8", false),
            (Kind::Sit, "10.0.0.8", false),
            (Kind::Ip6tnl, "2001:db8::8", false),
            (Kind::Gre, "10.0.0.8", false),
            (Kind::Gre, "10.0.0.8", true),
            (Kind::Ip6gre, "2001:db8::8", true),
        ];
        for (kind, local, checksum) in devices {
            let device = Device { kind, local: local.parse().unwrap(), checksum };
            assert_eq!(read(&message("fulcrum-x-0", &device)), Some((device, true)));
        }
    }

    #[test]
    fn who_takes_another_protocol_is_not_open() {
        use netlink_packet_route::IpProtocol::{Hopopts, Ipip, Ipv6};
        let cases = [
            (Kind::Ipip, "10.0.0.8", Ipip, true),
            (Kind::Ipip, "10.0.0.8", Hopopts, true),
            (Kind::Ipip, "10.0.0.8", netlink_packet_route::IpProtocol::Mpls, false),
            (Kind::Sit, "10.0.0.8", Ipv6, true),
            (Kind::Sit, "10.0.0.8", Ipip, false),
            (Kind::Ip6tnl, "2001:db8::8", Hopopts, true),
            (Kind::Ip6tnl, "2001:db8::8", Ipv6, false),
        ];
        for (kind, local, protocol, is_open) in cases {
            let device = Device { kind, local: local.parse().unwrap(), checksum: false };
            let mut link = message("t", &device);
            let LinkAttribute::LinkInfo(info) = &mut link.attributes[1] else { panic!("its info") };
            let data = vec![InfoIpTunnel::Local(device.local), InfoIpTunnel::Protocol(protocol)];
            info[1] = LinkInfo::Data(InfoData::IpTunnel(data));
            assert_eq!(read(&link), Some((device, is_open)), "{kind:?} {protocol:?}");
        }
    }

    #[test]
    fn who_wants_one_sender_is_not_open() {
        let device =
            Device { kind: Kind::Gre, local: "10.0.0.8".parse().unwrap(), checksum: false };
        let remote = Ipv4Addr::new(10, 0, 0, 9);
        let closing =
            [InfoGre::Remote(remote), InfoGre::IFlags(GreIOFlags::Key), InfoGre::CollectMetadata];
        for info in closing {
            let mut link = message("gre1", &device);
            let data = InfoData::GreTun(vec![InfoGre::Local(Ipv4Addr::new(10, 0, 0, 8)), info]);
            link.attributes[1] = LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::GreTun),
                LinkInfo::Data(data),
            ]);
            assert_eq!(read(&link), Some((device, false)));
        }
        assert_eq!(read(&LinkMessage::default()), None);
    }
}
