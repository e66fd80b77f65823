//! Hears when another program deletes our table of rules, as a reload of a firewall does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockFlag, SockProtocol, recv};

use super::netlink;

/// The group of changes of nftables, `NFNLGRP_NFTABLES` (`linux/netfilter/nfnetlink.h`), as a mask.
const GROUPS: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_DELTABLE` (`linux/netfilter/nf_tables.h`).
const DELETED_TABLE: u16 = 10 << 8 | 2;
/// Bytes of a netlink message's header.
const HEADER_BYTES: usize = 16;
/// The kernel packs notifications into datagrams of a page or two.
const BUFFER_BYTES: usize = 64 * 1024;

/// A socket for notifications of nftables. It never waits.
#[derive(Debug)]
pub(super) struct TableEar {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What has become of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    Deleted,
    /// Notifications were lost.
    Unsure,
}

impl TableEar {
    /// # Errors
    /// The kernel's errno.
    pub(super) fn open() -> io::Result<Self> {
        let socket =
            netlink::open(SockProtocol::NetlinkNetFilter, GROUPS, SockFlag::SOCK_NONBLOCK)?;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES] })
    }

    /// What has become of the table since the last call.
    pub(super) fn hear(&mut self, table: &str) -> Heard {
        let mut heard = Heard::Nothing;
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) if deletes(&self.buffer[..length], table) => heard = Heard::Deleted,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return heard,
                Err(_) if heard == Heard::Deleted => return heard,
                Err(_) => return Heard::Unsure,
            }
        }
    }
}

impl AsFd for TableEar {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a message of the datagram tells that the table was deleted.
fn deletes(datagram: &[u8], table: &str) -> bool {
    let name: Vec<u8> = table.bytes().chain([0]).collect();
    let mut rest = datagram;
    // Length, type: each message is aligned to 4 bytes.
    while let Some(&[a, b, c, d, e, f]) = rest.first_chunk::<6>() {
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some(body) = rest.get(HEADER_BYTES..length) else { return false };
        let is_named = body.windows(name.len()).any(|window| window == name);
        if u16::from_ne_bytes([e, f]) == DELETED_TABLE && is_named {
            return true;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel has it: header, `nfgenmsg`, `NFTA_TABLE_NAME`.
    fn message(kind: u16, name: &str) -> Vec<u8> {
        let mut body = vec![1, 0, 0, 7];
        let length = u16::try_from(4 + name.len() + 1).expect("short");
        body.extend([length.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
        body.extend(name.bytes().chain([0]));
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("short");
        let mut message = [&length.to_ne_bytes()[..], &kind.to_ne_bytes()].concat();
        message.resize(HEADER_BYTES, 0);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn a_deletion_of_the_table_is_heard_among_others() {
        let new = DELETED_TABLE & 0xff00;
        for (messages, expected) in [
            (vec![(DELETED_TABLE, "ours")], true),
            (vec![(new, "ours"), (DELETED_TABLE, "another"), (DELETED_TABLE, "ours")], true),
            (vec![(new, "ours"), (DELETED_TABLE, "another")], false),
            (vec![], false),
        ] {
            let datagram: Vec<u8> =
                messages.iter().flat_map(|(kind, name)| message(*kind, name)).collect();
            assert_eq!(deletes(&datagram, "ours"), expected, "{messages:?}");
        }
    }

    #[test]
    fn malformed_datagrams_tell_nothing() {
        let whole = message(DELETED_TABLE, "ours");
        for length in 0..whole.len() - 4 {
            assert!(!deletes(&whole[..length], "ours"), "{length} bytes");
        }
        assert!(!deletes(&[0; 32], "ours"), "a length of zero");
    }
}
