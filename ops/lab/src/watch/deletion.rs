//! What a netlink message to IPVS deletes (`linux/genetlink.h`, `linux/ip_vs.h`).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::table::{Table, key_of_address, key_of_mark};

/// `NLM_F_REQUEST` of `linux/netlink.h`.
const NLM_F_REQUEST: u16 = 1;
/// Sizes of `nlmsghdr`, `genlmsghdr` and `nlattr`.
pub(super) const NLMSGHDR: usize = 16;
pub(super) const GENLMSGHDR: usize = 4;
pub(super) const NLATTR: usize = 4;
/// The bits of an attribute's type that name it; the others flag nesting and byte order.
const NLA_TYPE_MASK: u16 = 0x3fff;
/// `IPVS_CMD_DEL_SERVICE`, `IPVS_CMD_DEL_DEST` and `IPVS_CMD_FLUSH`.
const DEL_SERVICE: u8 = 3;
const DEL_DEST: u8 = 7;
const FLUSH: u8 = 17;
/// `IPVS_CMD_ATTR_SERVICE` and `IPVS_CMD_ATTR_DEST`.
pub(super) const ATTR_SERVICE: u16 = 1;
pub(super) const ATTR_DEST: u16 = 2;
/// `IPVS_SVC_ATTR_PROTOCOL`, `_ADDR`, `_PORT`, `_FWMARK`.
pub(super) const SVC_PROTOCOL: u16 = 2;
pub(super) const SVC_ADDR: u16 = 3;
pub(super) const SVC_PORT: u16 = 4;
const SVC_FWMARK: u16 = 5;
/// `IPVS_DEST_ATTR_ADDR`, `_PORT`.
const DEST_ADDR: u16 = 1;
const DEST_PORT: u16 = 2;
/// `IPPROTO_TCP`.
pub(super) const TCP: u16 = 6;

/// What a request takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// A virtual server with its real servers, by its key in a [`Table`].
    VirtualServer(String),
    /// A real server of a virtual server.
    RealServer(String, SocketAddrV4),
    /// The whole table; also what could not be read, so that nothing is overlooked.
    Everything,
}

impl Deletion {
    /// How many of the table's entries it takes away.
    pub(crate) fn entries_of(&self, table: &Table) -> usize {
        let whole = |key: &String| {
            table.virtual_servers.get(key).map_or(0, |server| 1 + server.destinations.len())
        };
        match self {
            Self::VirtualServer(key) => whole(key),
            Self::RealServer(key, address) => table
                .virtual_servers
                .get(key)
                .map_or(0, |server| usize::from(server.destinations.contains_key(address))),
            Self::Everything => table.virtual_servers.keys().map(whole).sum(),
        }
    }
}

/// The deletions that a buffer of netlink messages asks of the family.
pub(crate) fn deletions(mut buffer: &[u8], family: u16) -> Vec<Deletion> {
    let mut found = Vec::new();
    while let Some((length, kind, flags)) = header(buffer) {
        let body = buffer.get(NLMSGHDR..length.min(buffer.len())).unwrap_or_default();
        if kind == family && flags & NLM_F_REQUEST != 0 {
            found.extend(deletion(body));
        }
        let Some(rest) = buffer.get(length.next_multiple_of(4)..) else { break };
        buffer = rest;
    }
    found
}

/// What one message to IPVS deletes, if anything.
fn deletion(body: &[u8]) -> Option<Deletion> {
    let command = *body.first()?;
    let attributes = body.get(GENLMSGHDR..).unwrap_or_default();
    match command {
        FLUSH => Some(Deletion::Everything),
        DEL_SERVICE => {
            Some(virtual_server(attributes).map_or(Deletion::Everything, Deletion::VirtualServer))
        }
        DEL_DEST => Some(
            virtual_server(attributes)
                .zip(real_server(attributes))
                .map_or(Deletion::Everything, |(key, to)| Deletion::RealServer(key, to)),
        ),
        _ => None,
    }
}

fn virtual_server(attributes: &[u8]) -> Option<String> {
    let service = attribute(attributes, ATTR_SERVICE)?;
    if let Some(mark) = attribute(service, SVC_FWMARK) {
        let mark = u32::from_ne_bytes(mark.get(..4)?.try_into().ok()?);
        if mark != 0 {
            return Some(key_of_mark(mark));
        }
    }
    let protocol = attribute(service, SVC_PROTOCOL)?;
    let protocol = u16::from_ne_bytes(protocol.get(..2)?.try_into().ok()?);
    let protocol = if protocol == TCP { "TCP" } else { "UDP" };
    let address = address(attribute(service, SVC_ADDR)?, attribute(service, SVC_PORT)?)?;
    Some(key_of_address(protocol, address))
}

fn real_server(attributes: &[u8]) -> Option<SocketAddrV4> {
    let destination = attribute(attributes, ATTR_DEST)?;
    address(attribute(destination, DEST_ADDR)?, attribute(destination, DEST_PORT)?)
}

/// An address of 16 bytes, of which IPv4 uses the first 4, and a port, both big-endian.
fn address(address: &[u8], port: &[u8]) -> Option<SocketAddrV4> {
    let address: [u8; 4] = address.get(..4)?.try_into().ok()?;
    let port = u16::from_be_bytes(port.get(..2)?.try_into().ok()?);
    Some(SocketAddrV4::new(Ipv4Addr::from(address), port))
}

/// The content of the first attribute of that type.
pub(super) fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while attributes.len() >= NLATTR {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]) & NLA_TYPE_MASK;
        if length < NLATTR {
            return None;
        }
        if kind == wanted {
            return attributes.get(NLATTR..length);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Length, type and flags of the first message.
pub(super) fn header(buffer: &[u8]) -> Option<(usize, u16, u16)> {
    let length = u32::from_ne_bytes(buffer.get(0..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(buffer.get(4..6)?.try_into().ok()?);
    let flags = u16::from_ne_bytes(buffer.get(6..8)?.try_into().ok()?);
    (length >= NLMSGHDR).then_some((length, kind, flags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::table::VirtualServer;

    /// The family's number in these tests.
    const OURS: u16 = 30;

    fn attr(kind: u16, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(NLATTR + content.len()).expect("a short attribute");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, flags: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(NLMSGHDR + GENLMSGHDR + attributes.len()).expect("short");
        let mut bytes = Vec::new();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([command, 1, 0, 0]);
        bytes.extend(attributes);
        bytes
    }

    fn padded(address: [u8; 4]) -> Vec<u8> {
        let mut bytes = address.to_vec();
        bytes.resize(16, 0);
        bytes
    }

    fn web() -> Vec<u8> {
        let parts = [
            attr(1, &2_u16.to_ne_bytes()),
            attr(SVC_PROTOCOL, &TCP.to_ne_bytes()),
            attr(SVC_ADDR, &padded([192, 168, 1, 150])),
            attr(SVC_PORT, &80_u16.to_be_bytes()),
        ];
        attr(ATTR_SERVICE | 0x8000, &parts.concat())
    }

    fn web1() -> Vec<u8> {
        let parts =
            [attr(DEST_ADDR, &padded([192, 168, 1, 138])), attr(DEST_PORT, &80_u16.to_be_bytes())];
        attr(ATTR_DEST | 0x8000, &parts.concat())
    }

    #[test]
    fn reads_what_is_deleted() {
        let key = "TCP 192.168.1.150:80".to_owned();
        let rip = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 138), 80);
        let mark = attr(ATTR_SERVICE, &attr(SVC_FWMARK, &7_u32.to_ne_bytes()));
        let batch = [
            message(OURS, 1, DEL_SERVICE, &web()),
            message(OURS, 5, DEL_DEST, &[web(), web1()].concat()),
            message(OURS, 5, 6, &[web(), web1()].concat()), // an edit
            message(OURS, 0, DEL_SERVICE, &web()),          // an answer, no request
            message(31, 1, DEL_SERVICE, &web()),            // another family
            message(OURS, 1, DEL_SERVICE, &mark),
            message(OURS, 1, FLUSH, &[]),
            message(OURS, 1, DEL_DEST, &web()), // names no real server
        ]
        .concat();
        assert_eq!(
            deletions(&batch, OURS),
            [
                Deletion::VirtualServer(key.clone()),
                Deletion::RealServer(key, rip),
                Deletion::VirtualServer("FWM 7".to_owned()),
                Deletion::Everything,
                Deletion::Everything,
            ]
        );
        for cut in 0..batch.len() {
            deletions(&batch[..cut], OURS);
        }
    }

    #[test]
    fn counts_entries_that_the_table_had() {
        let rip = |last| SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, last), 80);
        let mut server = VirtualServer::default();
        server.destinations.insert(rip(138), ("Route".to_owned(), 1));
        server.destinations.insert(rip(139), ("Route".to_owned(), 1));
        let mut table = Table::default();
        let key = "TCP 192.168.1.150:80".to_owned();
        table.virtual_servers.insert(key.clone(), server);
        for (deletion, expected) in [
            (Deletion::VirtualServer(key.clone()), 3),
            (Deletion::VirtualServer("FWM 7".to_owned()), 0),
            (Deletion::RealServer(key.clone(), rip(138)), 1),
            (Deletion::RealServer(key, rip(140)), 0),
            (Deletion::Everything, 3),
        ] {
            assert_eq!(deletion.entries_of(&table), expected, "{deletion:?}");
        }
    }
}
