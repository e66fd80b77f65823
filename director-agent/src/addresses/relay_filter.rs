//! Marks packets of connections that another director may know, while it hands over to this one.
//!
//! A filter on the interface's ingress gives the mark to TCP packets for the VIP that begin no
//! connection; IPVS sends those that it does not know itself to where the mark says. The filter
//! lets classification go on, so that other programs' filters see the packets as well.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionOption, TcAttribute, TcFilterFlowerOption, TcHandle,
    TcMessage, TcOption,
};

use super::netlink::RouteSocket;

/// Firewall mark of relayed packets: "LVS" and the number of the only relay.
pub(crate) const MARK: u32 = 0x4c56_5301;

/// Our filters' priority, an unlikely one for other programs: 0x4c56 is "LV".
const PRIORITY: u32 = 0x4c56;
/// The ingress hook of `clsact`, and of the older `ingress` as well.
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };
/// Its egress hook.
const EGRESS: TcHandle = TcHandle { major: 0xffff, minor: TcHandle::MIN_EGRESS };
const ETHERTYPE_IPV4: u16 = 0x0800;
const PROTOCOL_TCP: u8 = 6;
/// TCP's flag that begins a connection.
const SYN: u16 = 0x02;
/// `TCA_CLS_FLAGS_SKIP_HW`: a network card cannot set marks.
const SKIP_HARDWARE: u32 = 1;
/// `TCA_SKBEDIT_PARMS` and `TCA_SKBEDIT_MARK` (`linux/tc_act/tc_skbedit.h`).
const SKBEDIT_PARMS: u16 = 2;
const SKBEDIT_MARK: u16 = 5;
/// `TC_ACT_UNSPEC`: go on with the next filter.
const GO_ON: i32 = -1;

/// Makes the interface's hook; false when it is there already.
///
/// # Errors
/// The kernel's errno.
pub(super) fn add_hook(socket: &mut RouteSocket, index: u32) -> io::Result<bool> {
    let message = RouteNetlinkMessage::NewQueueDiscipline(hook(index));
    match socket.change(message, NLM_F_CREATE | NLM_F_EXCL) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the interface's hook, unless another program has put a filter there meanwhile.
///
/// # Errors
/// The kernel's errno.
pub(super) fn remove_hook(socket: &mut RouteSocket, index: u32) -> io::Result<()> {
    for parent in [INGRESS, EGRESS] {
        let mut wanted = TcMessage::default();
        wanted.header.index = index.cast_signed();
        wanted.header.parent = parent;
        if !socket.dump(RouteNetlinkMessage::GetTrafficFilter(wanted))?.is_empty() {
            return Ok(());
        }
    }
    gone_is_fine(socket.change(RouteNetlinkMessage::DelQueueDiscipline(hook(index)), 0))
}

/// Adds the filter of a VIP.
///
/// # Errors
/// The kernel's errno: `ENOENT` where a kernel module is missing; `Unsupported` for IPv6.
pub(super) fn add(socket: &mut RouteSocket, index: u32, vip: IpAddr) -> io::Result<()> {
    let IpAddr::V4(vip) = vip else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut message = filter(index, vip);
    let flower = [
        TcFilterFlowerOption::EthType(ETHERTYPE_IPV4),
        TcFilterFlowerOption::IpProto(PROTOCOL_TCP),
        TcFilterFlowerOption::Ipv4Dst(vip),
        TcFilterFlowerOption::Ipv4DstMask(Ipv4Addr::BROADCAST),
        TcFilterFlowerOption::TcpFlags(0),
        TcFilterFlowerOption::TcpFlagsMask(SYN),
        TcFilterFlowerOption::Flags(SKIP_HARDWARE),
        TcFilterFlowerOption::Actions(vec![mark()]),
    ];
    let options = flower.into_iter().map(TcOption::Flower).collect();
    message.attributes.push(TcAttribute::Options(options));
    socket.change(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE)
}

/// Removes the filter of a VIP; one that is gone is no error.
///
/// # Errors
/// The kernel's errno.
pub(super) fn remove(socket: &mut RouteSocket, index: u32, vip: IpAddr) -> io::Result<()> {
    let IpAddr::V4(vip) = vip else { return Ok(()) };
    gone_is_fine(socket.change(RouteNetlinkMessage::DelTrafficFilter(filter(index, vip)), 0))
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(nix::libc::ENOENT | nix::libc::EINVAL | nix::libc::ENODEV)
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

fn hook(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.handle = TcHandle { major: 0xffff, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    message
}

fn filter(index: u32, vip: Ipv4Addr) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = INGRESS;
    // Handles have 31 bits; VIPs that differ in the first bit alone do not share an interface.
    message.header.handle = TcHandle::from(u32::from(vip) & 0x7fff_ffff);
    message.header.info = PRIORITY << 16 | u32::from(ETHERTYPE_IPV4.to_be());
    message.attributes.push(TcAttribute::Kind("flower".to_owned()));
    message
}

/// The action that sets the mark: `struct tc_skbedit` is index, capabilities, verdict, two
/// counters.
fn mark() -> TcAction {
    let parameters: Vec<u8> = [0, 0, GO_ON, 0, 0].into_iter().flat_map(i32::to_ne_bytes).collect();
    let options = vec![
        TcActionOption::Other(DefaultNla::new(SKBEDIT_PARMS, parameters)),
        TcActionOption::Other(DefaultNla::new(SKBEDIT_MARK, MARK.to_ne_bytes().to_vec())),
    ];
    let mut action = TcAction::default();
    action.tab = 1;
    action.attributes =
        vec![TcActionAttribute::Kind("skbedit".to_owned()), TcActionAttribute::Options(options)];
    action
}
