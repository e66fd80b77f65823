//! Requests and answers as bytes: netlink header, generic header, attributes (Linux `include/uapi/linux/netlink.h`,
//! `genetlink.h`, `fou.h`). Numbers are in the host's byte order, ports in the network's.

use crate::loopback::tunnels::GuePort;

/// Bytes of both headers.
const HEADER_BYTES: usize = 16;
const GENERIC_BYTES: usize = 4;
/// Bytes of an attribute's header, and what everything is padded to.
const ATTRIBUTE_BYTES: usize = 4;
const PADDED_TO: usize = 4;

const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP: u16 = 0x300;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;

/// The family of families (`GENL_ID_CTRL`), its command and attributes.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

const ADD: u8 = 1;
const DELETE: u8 = 2;
const GET: u8 = 3;
const PORT: u16 = 1;
const AF: u16 = 2;
const TYPE: u16 = 4;
const TYPE_GUE: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// What is asked of the kernel.
pub(super) enum Command {
    /// The number of the family `fou`.
    Family,
    /// Every port.
    Ports,
    /// A port more, for GUE.
    Add(GuePort),
    /// A port less.
    Delete(GuePort),
}

/// A part of the kernel's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// The attributes of one message.
    Told(&'a [u8]),
    /// There is no more.
    Done,
    /// It will not, for this errno.
    Refused(i32),
}

/// A request.
pub(super) fn request(fou: u16, command: &Command, sequence: u32) -> Vec<u8> {
    let (family, generic, flags) = match command {
        Command::Family => (CONTROL, GET_FAMILY, ACK),
        Command::Ports => (fou, GET, DUMP),
        Command::Add(_) => (fou, ADD, ACK),
        Command::Delete(_) => (fou, DELETE, ACK),
    };
    // The length comes last.
    let mut bytes = vec![0; 4];
    bytes.extend(family.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // Our port, which the kernel fills in; then the command, version 1, and two bytes unused.
    bytes.extend([0; 4]);
    bytes.extend([generic, 1, 0, 0]);
    match command {
        Command::Family => put(&mut bytes, FAMILY_NAME, b"fou\0"),
        Command::Ports => {}
        Command::Add(port) => {
            put_port(&mut bytes, *port);
            put(&mut bytes, TYPE, &[TYPE_GUE]);
        }
        Command::Delete(port) => put_port(&mut bytes, *port),
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

fn put_port(bytes: &mut Vec<u8>, port: GuePort) {
    put(bytes, PORT, &port.port.to_be_bytes());
    put(bytes, AF, &[if port.is_ipv6 { AF_INET6 } else { AF_INET }]);
}

fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(PADDED_TO), 0);
}

/// The messages of one datagram, each with the sequence number that it answers. What is cut short ends it.
pub(super) fn answers(datagram: &[u8]) -> Vec<(u32, Answer<'_>)> {
    let mut answers = Vec::new();
    let mut rest = datagram;
    while let Some(length) = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = rest.get(..length).filter(|_| length >= HEADER_BYTES) else { break };
        let (Some(kind), Some(sequence)) = (u16_at(message, 4), u32_at(message, 8)) else { break };
        let body = &message[HEADER_BYTES..];
        let answer = match kind {
            TYPE_DONE => Some(Answer::Done),
            // An acknowledgement is an error of 0.
            TYPE_ERROR => u32_at(body, 0).map(|code| match code.cast_signed() {
                0 => Answer::Done,
                code => Answer::Refused(code.saturating_neg()),
            }),
            _ => body.get(GENERIC_BYTES..).map(Answer::Told),
        };
        answers.extend(answer.map(|answer| (sequence, answer)));
        rest = rest.get(length.next_multiple_of(PADDED_TO)..).unwrap_or_default();
    }
    answers
}

/// The number of a family among its attributes.
pub(super) fn family(attributes: &[u8]) -> Option<u16> {
    find(attributes, FAMILY_ID).and_then(|value| u16_at(value, 0))
}

/// A port among its attributes; whether it is for GUE.
pub(super) fn port(attributes: &[u8]) -> Option<(GuePort, bool)> {
    let port = find(attributes, PORT)?.first_chunk::<2>()?;
    let family = find(attributes, AF)?.first()?;
    let is_gue = find(attributes, TYPE).and_then(<[u8]>::first) == Some(&TYPE_GUE);
    let port = GuePort { port: u16::from_be_bytes(*port), is_ipv6: *family == AF_INET6 };
    Some((port, is_gue))
}

fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let kind = u16_at(attributes, 2)?;
        let value = attributes.get(ATTRIBUTE_BYTES..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(PADDED_TO)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a request says, as the kernel reads it.
    fn body(request: &[u8]) -> &[u8] {
        assert_eq!(u32_at(request, 0), u32::try_from(request.len()).ok());
        &request[HEADER_BYTES + GENERIC_BYTES..]
    }

    #[test]
    fn requests_say_what_they_are_for() {
        let port = GuePort { port: 6080, is_ipv6: true };
        let add = request(0x1d, &Command::Add(port), 7);
        assert_eq!((u16_at(&add, 4), u16_at(&add, 6), add[16]), (Some(0x1d), Some(5), ADD));
        assert_eq!(super::port(body(&add)), Some((port, true)));
        let delete = request(0x1d, &Command::Delete(port), 8);
        assert_eq!((u32_at(&delete, 8), delete[16]), (Some(8), DELETE));
        assert_eq!(super::port(body(&delete)), Some((port, false)), "without a type");
        let family = request(0, &Command::Family, 1);
        assert_eq!(find(body(&family), FAMILY_NAME), Some(b"fou\0".as_slice()));
        let dump = request(0x1d, &Command::Ports, 2);
        assert_eq!((u16_at(&dump, 6), body(&dump)), (Some(REQUEST | DUMP), [].as_slice()));
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn answers_are_read() {
        let refused = (-98i32).to_ne_bytes();
        let mut datagram = message(0x1d, 3, &[GET, 1, 0, 0, 9, 9, 9, 9]);
        datagram.extend(message(TYPE_ERROR, 4, &refused));
        datagram.extend(message(TYPE_ERROR, 5, &[0; 4]));
        datagram.extend(message(TYPE_DONE, 6, &[]));
        assert_eq!(
            answers(&datagram),
            [
                (3, Answer::Told(&[9; 4])),
                (4, Answer::Refused(98)),
                (5, Answer::Done),
                (6, Answer::Done)
            ]
        );
    }

    proptest! {
        /// Whatever comes, reading it ends.
        #[test]
        fn nonsense_is_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for (_, answer) in answers(&bytes) {
                if let Answer::Told(attributes) = answer {
                    let _ = (family(attributes), port(attributes));
                }
            }
            let _ = (family(&bytes), port(&bytes));
        }
    }
}
