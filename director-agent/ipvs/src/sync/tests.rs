//! Messages of a real kernel (Linux 6.1, direct routing), and the laws of the comparison.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use fulcrum_model::vrrp::ConnectionSync;
use proptest::prelude::*;

use super::exchange::{Body, Frame, Scope};
use super::gate::{Gate, GateInput, Measured};
use super::record::{Message, Record};
use super::{Answerer, Answers, AskStep, Asker, Census, Connection, Digest, Phase};
use crate::{AddressFamily, Forwarding, Transport};

const SCOPE: Scope = Scope { sync_id: 51, vrid: 51, family: AddressFamily::V4 };

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(digits, 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(pair).collect()
}

fn end(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn connection(line: &str) -> Connection {
    Connection::from_line(line).expect("a connection")
}

/// The listing of the kernel that sent the captured messages, at about the same time.
const LISTING: &str = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A000009 99AA 0A000064 0050 0A00000B 0050 ESTABLISHED     900
TCP 0A000009 99BA 0A000064 0050 0A00000B 0050 FIN_WAIT        119
UDP 0A000009 0000 0A000064 0035 0A00000B 0035 NONE            292
UDP 0A000009 ECFD 0A000064 0035 0A00000B 0035 UDP             300
";

#[test]
fn messages_of_a_kernel_are_read_and_written_byte_for_byte() {
    let bytes = hex(include_str!("captures/established.hex"));
    let message = Message::decode(&bytes).expect("a message");
    assert_eq!((message.sync_id, message.records.len()), (51, 7));
    assert_eq!(Message::encode_all(51, &message.records, 1400), [bytes]);
    let told: Vec<_> = message.records.iter().map(|record| (record.flags, record.state)).collect();
    let (tcp, template, udp) = ((0x83, 1), (0x1183, 0), (0x183, 0));
    assert_eq!(told, [tcp, tcp, template, template, udp, template, template]);

    let bytes = hex(include_str!("captures/closing.hex"));
    let message = Message::decode(&bytes).expect("a message");
    let record = &message.records[0];
    assert_eq!((record.flags, record.state, record.timeout_s), (0x183, 4, 120));
    assert_eq!(record.client, end("10.0.0.9:39354"));
    assert_eq!(record.virtual_server, end("10.0.0.100:80"));
    assert_eq!(record.destination, end("10.0.0.11:80"));
    assert_eq!(Message::encode_all(51, &message.records, 1400), [bytes]);
}

#[test]
fn what_the_listing_tells_is_sent_as_the_kernel_sends_it() {
    let kernel = Message::decode(&hex(include_str!("captures/established.hex"))).expect("one");
    let ours: Vec<Record> = LISTING
        .lines()
        .filter_map(Connection::from_line)
        .filter_map(|connection| Record::of(&connection, Forwarding::Route, 300))
        .collect();
    assert_eq!(ours.len(), 3, "all but the heading and the one that closes");
    for record in &ours {
        assert!(kernel.records.contains(record), "{record:?}");
    }
}

#[test]
fn listings_are_read() {
    let established = |transport, client, virtual_server, destination| Connection {
        transport,
        client: end(client),
        virtual_server: end(virtual_server),
        destination: end(destination),
        phase: Phase::Established,
        expires_s: 899,
    };
    let v4 = established(Transport::Tcp, "10.0.0.9:39354", "10.0.0.100:80", "10.0.0.11:80");
    let v6 = established(
        Transport::Tcp,
        "[2001:db8::9]:4660",
        "[2001:db8::64]:443",
        "[2001:db8::b]:443",
    );
    let (heading, rest) = LISTING.split_once('\n').expect("lines");
    let template = rest.lines().nth(2).expect("a template");
    for (line, expected) in [
        (heading, None),
        ("", None),
        ("TCP", None),
        ("TCP 0A000009 99BA 0A000064 0050 0A00000B 0050", None),
        ("TCP 0A00009 99BA 0A000064 0050 0A00000B 0050 ESTABLISHED 899", None),
        ("TCP 0A000009 199BA 0A000064 0050 0A00000B 0050 ESTABLISHED 899", None),
        ("IP  0A000009 0000 00000001 0000 0A00000B 0000 NONE 899", None),
        ("TCP 0A000009 99BA 0A000064 0050 0A00000B 0050 ESTABLISHED     899", Some(v4)),
        (
            "TCP 2001:0db8:0000:0000:0000:0000:0000:0009 1234 \
             2001:0db8:0000:0000:0000:0000:0000:0064 01BB \
             2001:0db8:0000:0000:0000:0000:0000:000b 01BB ESTABLISHED     899",
            Some(v6),
        ),
    ] {
        assert_eq!(Connection::from_line(line), expected, "{line}");
    }
    assert_eq!(connection(template).phase, Phase::Template { assured: false });
    let assured = template.replace("NONE   ", "ASSURED");
    assert_eq!(connection(&assured).phase, Phase::Template { assured: true });
}

#[test]
fn malformed_messages_are_named() {
    let whole = hex(include_str!("captures/closing.hex"));
    let changed = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        bytes
    };
    for (bytes, what) in [
        (whole[..7].to_vec(), "the header is cut off"),
        (whole[..40].to_vec(), "its size is not the datagram's"),
        (changed(0, 1), "it is not of version 1"),
        (changed(5, 0), "it is not of version 1"),
        (changed(6, 1), "it is not of version 1"),
        (changed(4, 2), "a record is cut off"),
        (changed(8, 2), "a record has a type that is neither IPv4 nor IPv6"),
        (changed(10, 0x10), "a record is not of version 0"),
        (changed(11, 35), "a record is cut off"),
        (changed(11, 37), "a record is cut off"),
    ] {
        let error = Message::decode(&bytes).expect_err(what);
        assert_eq!(error.what, what);
    }
}

/// The hashes are part of the exchange: they must not change.
#[test]
fn hashes_are_for_ever() {
    let first = connection(LISTING.lines().nth(1).expect("a line"));
    assert_eq!(first.hash(), 0xcf87_493c_91b4_f4dc, "{:#x}", first.hash());
}

#[test]
fn the_gate_takes_every_input() {
    let at = Duration::from_secs;
    let options = ConnectionSync { max_missing: 2, ..ConnectionSync::default() };
    let measured = |began: u64, missing| {
        let (began, at) = (at(began), at(began));
        Some(Measured { began, at, missing, sent: missing, compared: 100 })
    };
    let (few, many, old) = (measured(99, 2), measured(99, 3), measured(84, 0));
    let held = |since| Gate::Held { since: at(since) };
    for (before, is_backup_of_living, is_new_wish, measured, after) in [
        (Gate::Apart, false, false, few, Gate::Apart),
        (Gate::Apart, false, true, few, Gate::Apart),
        (Gate::Apart, true, false, few, held(100)),
        (Gate::Apart, true, true, None, held(100)),
        (held(95), false, false, few, Gate::Apart),
        (held(95), true, false, few, Gate::Open),
        (held(95), true, true, few, Gate::Open),
        (held(95), true, false, many, held(95)),
        (held(95), true, false, None, held(95)),
        (held(95), true, false, old, held(95)),
        (held(90), true, false, many, Gate::Overdue),
        (held(90), true, true, None, Gate::Overdue),
        (Gate::Open, false, false, few, Gate::Apart),
        (Gate::Open, true, false, few, Gate::Open),
        (Gate::Open, true, false, many, held(100)),
        (Gate::Open, true, false, old, held(100)),
        (Gate::Open, true, true, few, held(100)),
        (Gate::Overdue, false, false, None, Gate::Apart),
        (Gate::Overdue, true, false, None, Gate::Overdue),
        (Gate::Overdue, true, false, many, Gate::Overdue),
        (Gate::Overdue, true, false, few, Gate::Open),
        (Gate::Overdue, true, true, few, held(100)),
    ] {
        let input = GateInput { is_backup_of_living, is_new_wish, measured };
        assert_eq!(before.step(at(100), input, &options), after, "{before:?} {input:?}");
    }
}

fn any_end(v6: bool) -> BoxedStrategy<SocketAddr> {
    if v6 {
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from).boxed()
    } else {
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from).boxed()
    }
}

prop_compose! {
    fn any_record()(v6 in any::<bool>())(
        ends in (any_end(v6), any_end(v6), any_end(v6)),
        numbers in (any::<u8>(), any::<u32>(), any::<u16>(), any::<u32>(), any::<u32>()),
        options in proptest::collection::vec(any::<u8>(), 0..40),
    ) -> Record {
        let (client, virtual_server, destination) = ends;
        let (protocol, flags, state, fwmark, timeout_s) = numbers;
        Record {
            protocol, flags, state, fwmark, timeout_s, client, virtual_server, destination, options,
        }
    }
}

prop_compose! {
    fn any_connection()(client in any::<u16>(), host in 0..4_u8, port in 0..3_u16) -> Connection {
        Connection {
            transport: Transport::Tcp,
            client: SocketAddr::from(([10, 0, 0, host], client)),
            virtual_server: SocketAddr::from(([10, 0, 0, 100], 80 + port)),
            destination: SocketAddr::from(([10, 0, 1, host], 80)),
            phase: Phase::Established,
            expires_s: 900,
        }
    }
}

fn any_table() -> impl Strategy<Value = Vec<Connection>> {
    proptest::collection::vec(any_connection(), 0..400)
}

/// One round between two tables over a network that loses, repeats and reorders what `fate` says.
/// Returns what was sent to the Backup's kernel, and the measurement.
fn round(
    theirs: &Census,
    ours: &Census,
    fate: &mut dyn FnMut(Vec<Frame>) -> Vec<Frame>,
) -> (Vec<Connection>, Option<Measured>) {
    let now = Duration::from_secs(100);
    let (mut asker, mut answerer) = (Asker::new(SCOPE, 7), Answerer::default());
    let mut sent = Vec::new();
    let mut on_wire = fate(asker.start(now, theirs.hashes().collect()));
    // A round has two exchanges; what is repeated makes none anew.
    for _ in 0..8 {
        let mut next = Vec::new();
        for frame in std::mem::take(&mut on_wire) {
            let frame = Frame::decode(&frame.encode()).expect("what we sent");
            match asker.hear(now, &frame) {
                AskStep::Over(measured) => return (sent, Some(measured)),
                AskStep::Send(frames) => next.extend(frames),
                AskStep::Ignore => {}
            }
            match answerer.hear(&frame) {
                Answers::Nothing => {}
                Answers::Compare(key, digest) => {
                    let differ = ours.digest().difference(&digest);
                    next.push(answerer.ask(key, differ));
                }
                Answers::Find(key, asked, hashes) => {
                    let lack = ours.lack(&asked, &hashes);
                    let count = u32::try_from(lack.connections.len()).expect("a few");
                    sent = lack.connections;
                    let (missing, compared) = (lack.counted, 0);
                    next.push(key.frame(Body::Report { missing, sent: count, compared }));
                }
            }
        }
        on_wire = fate(next);
    }
    (sent, None)
}

proptest! {
    #[test]
    fn records_survive_the_wire(
        records in proptest::collection::vec(any_record(), 0..300),
        max_bytes in 128..2000_usize,
    ) {
        let messages = Message::encode_all(9, &records, max_bytes);
        let mut read = Vec::new();
        for message in &messages {
            prop_assert!(message.len() <= max_bytes);
            read.extend(Message::decode(message).expect("what we wrote").records);
        }
        prop_assert_eq!(read, records);
    }

    #[test]
    fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let _ = Message::decode(&bytes);
        let _ = Frame::decode(&bytes);
        let _ = Connection::from_line(&String::from_utf8_lossy(&bytes));
        // Past the header, too.
        let mut begun = Asker::new(SCOPE, 1).start(Duration::ZERO, vec![])[0].encode();
        begun.truncate(20);
        begun[5] = bytes.first().map_or(1, |byte| byte % 5);
        begun.extend_from_slice(&bytes);
        if let Ok(frame) = Frame::decode(&begun) {
            prop_assert_eq!(frame.encode(), begun);
            Answerer::default().hear(&frame);
        }
        let mut begun = vec![0, 1, 0, 0, 255, 1, 0, 0];
        begun.extend_from_slice(&bytes);
        let size = u16::try_from(begun.len()).expect("short");
        begun[2..4].copy_from_slice(&size.to_be_bytes());
        let _ = Message::decode(&begun);
    }

    /// A table does not differ from itself; one connection makes exactly its bucket differ.
    #[test]
    fn digests_differ_where_tables_do(table in any_table(), more in any_connection()) {
        let census = Census::take(Duration::ZERO, table.clone(), None);
        prop_assert!(census.digest().difference(&census.digest()).is_empty());
        let longer = Census::take(Duration::ZERO, table.iter().copied().chain([more]), None);
        let differ = longer.digest().difference(&census.digest());
        let is_new = longer.len() > census.len();
        let bucket = super::digest::bucket_of(more.hash());
        for index in 0..super::BUCKETS {
            prop_assert_eq!(differ.contains(index), is_new && index == bucket);
        }
    }

    /// What the Backup lacks is sent, all of it and nothing else; then nothing is missing.
    #[test]
    fn a_round_finds_what_is_missing(theirs in any_table(), ours in any_table()) {
        let theirs = Census::take(Duration::ZERO, theirs, None);
        let ours = Census::take(Duration::ZERO, ours, None);
        let known: BTreeSet<u64> = theirs.hashes().collect();
        let expected: BTreeSet<u64> = ours.hashes().filter(|hash| !known.contains(hash)).collect();
        let (sent, measured) = round(&theirs, &ours, &mut |frames| frames);
        let found: BTreeSet<u64> = sent.iter().map(Connection::hash).collect();
        prop_assert_eq!(&found, &expected);
        let measured = measured.expect("answered");
        prop_assert_eq!(measured.sent as usize, expected.len());
        let union = Census::take(Duration::ZERO, sent.into_iter().chain(
            theirs.connections().copied()), None);
        let (sent, measured) = round(&union, &ours, &mut |frames| frames);
        prop_assert_eq!((sent.len(), measured.expect("answered").missing), (0, 0));
    }

    /// Order and repetition change nothing; loss may end a round without an answer, never with a
    /// wrong one.
    #[test]
    fn a_bad_network_makes_no_round_wrong(
        theirs in any_table(),
        ours in any_table(),
        seeds in proptest::collection::vec(any::<u32>(), 64),
        loses in any::<bool>(),
    ) {
        let theirs = Census::take(Duration::ZERO, theirs, None);
        let ours = Census::take(Duration::ZERO, ours, None);
        let known: BTreeSet<u64> = theirs.hashes().collect();
        let expected: BTreeSet<u64> = ours.hashes().filter(|hash| !known.contains(hash)).collect();
        let mut seeds = seeds.iter().cycle();
        let mut fate = |frames: Vec<Frame>| {
            let mut arrived = Vec::new();
            for frame in frames {
                let seed = seeds.next().expect("a cycle");
                let copies = if loses && seed % 10 == 0 { 0 } else { 1 + seed % 2 };
                for _ in 0..copies {
                    arrived.push((seed.rotate_left(seed % 31 + copies), frame.clone()));
                }
            }
            arrived.sort_by_key(|(order, _)| *order);
            arrived.into_iter().map(|(_, frame)| frame).collect()
        };
        let (sent, measured) = round(&theirs, &ours, &mut fate);
        prop_assert!(loses || measured.is_some());
        if let Some(measured) = measured {
            let found: BTreeSet<u64> = sent.iter().map(Connection::hash).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(measured.sent as usize, expected.len());
        }
    }
}

/// A take-over waits for what was there a second ago, not for what has just come.
#[test]
fn young_connections_are_sent_and_not_counted() {
    let connections: Vec<Connection> = LISTING.lines().filter_map(Connection::from_line).collect();
    let at = Duration::from_millis;
    let all: Digest = connections.iter().map(Connection::hash).collect();
    let all = all.difference(&Digest::default());
    let counted = |census: &Census| {
        let lack = census.lack(&all, &BTreeSet::new());
        (lack.connections.len(), lack.counted)
    };
    let first = Census::take(at(0), connections[..1].iter().copied(), None);
    assert_eq!(counted(&first), (1, 1), "nobody knows how old it is");
    let second = Census::take(at(1000), connections.iter().copied(), Some(&first));
    assert_eq!(counted(&second), (4, 1), "three have just come");
    let third = Census::take(at(2000), connections.iter().copied(), Some(&second));
    assert_eq!(counted(&third), (4, 4));
    let late = Census::take(at(4500), connections.iter().copied(), Some(&first));
    assert_eq!(counted(&late), (4, 4), "too long ago to tell");
}

#[test]
fn rounds_of_strangers_push_out_the_oldest() {
    let mut answerer = Answerer::default();
    let mut last = None;
    for nonce in 0..40 {
        let frames = Asker::new(SCOPE, nonce).start(Duration::ZERO, vec![u64::from(nonce)]);
        let (end, begun) = frames.split_last().expect("several");
        for frame in begun {
            assert_eq!(answerer.hear(frame), Answers::Nothing);
        }
        last = Some(end.clone());
    }
    assert!(matches!(answerer.hear(&last.expect("a frame")), Answers::Compare(..)));
}
