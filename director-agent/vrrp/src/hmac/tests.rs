//! Vectors, and every way in which an advert is refused.

use fulcrum_model::vrrp::HmacKey;

use super::*;

const START: Duration = Duration::from_secs(1000);
/// 2023-09-12, as in the vectors.
const WALL: WallClock = WallClock(Duration::from_millis(0x6500_0000 * 1000 + 500));
/// Seconds, half a second, counter 7.
const SEQUENCE: u64 = 0x6500_0000_8000_0007;

const V2: &str = "21336401000100000a0700960000000000000000";
const V3: &str = "31336401006400000a070096";
const V6: &str = "3133640100640000fe800000000000000000000000000096";

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(pair).collect()
}

fn key(id: u8) -> HmacKey {
    let secret = if id == 1 { (0..32).collect() } else { vec![b'k'; 64] };
    HmacKey::new(id, secret).expect("a key")
}

fn settings(active_key: u8, mode: HmacMode) -> AuthHmac {
    AuthHmac { keys: vec![key(1), key(2)], active_key, window: None, mode }
}

fn authenticator(active_key: u8, mode: HmacMode) -> Authenticator {
    Authenticator::new(settings(active_key, mode), Duration::from_secs(1))
}

fn bound(version: u8, source: &str) -> Bound {
    let vrid = Vrid::new(51).expect("a VRID");
    Bound { version, vrid, source: source.parse().expect("an address") }
}

/// A version 3 advert signed with key 1.
fn signed(sequence: u64) -> Vec<u8> {
    let mut message = bytes(V3);
    let ours = authenticator(1, HmacMode::Enforce);
    ours.append_trailer(&mut message, 0, bound(3, "10.7.0.1"), sequence);
    message
}

fn check(
    ours: &mut Authenticator,
    now: Duration,
    wall: WallClock,
    m: &[u8],
) -> Result<(), Discard> {
    ours.check(now, wall, bound(3, "10.7.0.1"), m, bytes(V3).len())
}

fn before(wall: WallClock, passed: Duration) -> WallClock {
    WallClock(wall.0.saturating_sub(passed))
}

fn after(wall: WallClock, passed: Duration) -> WallClock {
    WallClock(wall.0 + passed)
}

/// Computed by Python's `hmac` as keepalived 2.4 defines the input, for a key `k`, the trailer's
/// prefix `p = bytes([1, key_id, 0, 0]) + struct.pack('>Q', sequence)` and the message `m`, whose
/// checksum is zero: `hmac.new(k, bytes([family, version, 51, 0]) + source.ljust(16, b'\0') + m +
/// p + bytes(16), 'sha256').digest()[:16]`. Key 1 is `bytes(range(32))`, key 2 `b'k' * 64`.
#[test]
fn trailers_equal_those_that_are_computed_elsewhere() {
    for (message, version, source, key_id, expected) in [
        (V2, 2, "10.7.0.1", 1, "0101000065000000800000074cc5de98760acd671b38fa62ddab954e"),
        (V3, 3, "10.7.0.1", 2, "010200006500000080000007931a75b4729d7500b54c821682950d6e"),
        (V6, 3, "fe80::1", 1, "010100006500000080000007a451948eca19821af2cd00511dcdc9f2"),
    ] {
        let mut packet = bytes("4500");
        let start = packet.len();
        packet.extend_from_slice(&bytes(message));
        // A checksum that is there already changes nothing.
        packet[start + 6] = 0xab;
        let ours = authenticator(key_id, HmacMode::Enforce);
        ours.append_trailer(&mut packet, start, bound(version, source), SEQUENCE);
        let trailer = &packet[start + bytes(message).len()..];
        assert_eq!(trailer, bytes(expected), "{message}");
        let mut theirs = authenticator(1, HmacMode::Enforce);
        let length = bytes(message).len();
        let verified = theirs.check(START, WALL, bound(version, source), &packet[start..], length);
        assert_eq!(verified, Ok(()), "{message}");
    }
}

/// RFC 4231 §4.3, test case 2: the crate below is HMAC-SHA256.
#[test]
fn the_digest_is_hmac_sha256() {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").expect("any length");
    mac.update(b"what do ya want for nothing?");
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(mac.finalize().into_bytes()[..], bytes(expected)[..]);
}

#[test]
fn a_change_of_any_byte_is_noticed() {
    let message = signed(SEQUENCE);
    let mut ours = authenticator(2, HmacMode::Enforce);
    for at in (0..message.len()).filter(|at| !CHECKSUM.contains(at)) {
        for bit in 0..8 {
            let mut changed = message.clone();
            changed[at] ^= 1 << bit;
            assert!(check(&mut ours, START, WALL, &changed).is_err(), "byte {at}, bit {bit}");
        }
    }
    for other in [bound(2, "10.7.0.1"), bound(3, "10.7.0.2"), bound(3, "::ffff:10.7.0.1")] {
        let result = ours.check(START, WALL, other, &message, bytes(V3).len());
        assert_eq!(result, Err(Discard::HmacInvalid), "{other:?}");
    }
    let vrid = Vrid::new(52).expect("a VRID");
    let other = Bound { vrid, ..bound(3, "10.7.0.1") };
    let result = ours.check(START, WALL, other, &message, bytes(V3).len());
    assert_eq!(result, Err(Discard::HmacInvalid));
    assert_eq!(check(&mut ours, START, WALL, &message), Ok(()), "the unchanged one counts");
}

#[test]
fn each_refusal_has_its_reason() {
    let edited = |at: usize, value: u8| {
        let mut message = signed(SEQUENCE);
        message[at] = value;
        message
    };
    for (what, message, expected) in [
        ("no trailer", bytes(V3), Discard::HmacMissing),
        ("a byte short", signed(SEQUENCE)[..39].to_vec(), Discard::HmacMissing),
        ("a byte more", [signed(SEQUENCE), vec![0]].concat(), Discard::HmacMissing),
        ("another scheme", edited(12, 2), Discard::HmacMalformed),
        ("reserved bits", edited(15, 1), Discard::HmacMalformed),
        ("another key", edited(13, 9), Discard::HmacUnknownKey),
        ("the other key", edited(13, 2), Discard::HmacInvalid),
        ("too old", signed(SEQUENCE - (6 << 32)), Discard::HmacStale),
        ("too new", signed(SEQUENCE + (6 << 32)), Discard::HmacStale),
    ] {
        let mut ours = authenticator(1, HmacMode::Enforce);
        assert_eq!(check(&mut ours, START, WALL, &message), Err(expected), "{what}");
    }
    for edge in [signed(SEQUENCE - (5 << 32)), signed(SEQUENCE + (5 << 32))] {
        let mut ours = authenticator(1, HmacMode::Enforce);
        assert_eq!(check(&mut ours, START, WALL, &edge), Ok(()));
    }
}

#[test]
fn what_was_heard_does_not_count_again() {
    let mut ours = authenticator(1, HmacMode::Enforce);
    assert_eq!(check(&mut ours, START, WALL, &signed(SEQUENCE)), Ok(()));
    for again in [SEQUENCE, SEQUENCE - 1] {
        let result = check(&mut ours, START, WALL, &signed(again));
        assert_eq!(result, Err(Discard::HmacReplay));
    }
    let forged = [signed(SEQUENCE + 9)[..39].to_vec(), vec![0]].concat();
    assert_eq!(check(&mut ours, START, WALL, &forged), Err(Discard::HmacInvalid));
    assert_eq!(
        check(&mut ours, START, WALL, &signed(SEQUENCE + 1)),
        Ok(()),
        "forgery moves nothing"
    );
}

#[test]
fn modes_are_steps_of_a_migration() {
    let wall = WALL;
    for (mode, sends, hears_without) in [
        (HmacMode::ReceiveOnly, false, Ok(())),
        (HmacMode::Permissive, true, Ok(())),
        (HmacMode::Enforce, true, Err(Discard::HmacMissing)),
    ] {
        let mut ours = authenticator(1, mode);
        assert_eq!(ours.next_sequence(START, wall).is_some(), sends, "{mode:?}");
        assert_eq!(check(&mut ours, START, wall, &bytes(V3)), hears_without, "{mode:?}");
        assert_eq!(check(&mut ours, START, wall, &signed(SEQUENCE)), Ok(()), "{mode:?}");
        let mut forged = signed(SEQUENCE + 1);
        forged[39] ^= 1;
        let result = check(&mut ours, START, wall, &forged);
        assert_eq!(result, Err(Discard::HmacInvalid), "a wrong one never counts: {mode:?}");
    }
}

#[test]
fn keys_are_rotated_one_director_at_a_time() {
    let mut theirs = authenticator(1, HmacMode::Enforce);
    let mut ours = authenticator(1, HmacMode::Enforce);
    let mut send = |theirs: &mut Authenticator, passed| {
        let (now, wall) = (START + passed, after(WALL, passed));
        let sequence = theirs.next_sequence(now, wall).expect("it signs");
        let mut message = bytes(V3);
        theirs.append_trailer(&mut message, 0, bound(3, "10.7.0.1"), sequence);
        check(&mut ours, now, wall, &message)
    };
    assert_eq!(send(&mut theirs, Duration::ZERO), Ok(()));
    theirs.set(settings(2, HmacMode::Enforce), Duration::from_secs(1));
    assert_eq!(send(&mut theirs, Duration::ZERO), Ok(()), "the sequence goes on");
    let unknown = AuthHmac { keys: vec![key(1)], ..settings(1, HmacMode::Enforce) };
    ours.set(unknown, Duration::from_secs(1));
    let mut message = bytes(V3);
    theirs.append_trailer(&mut message, 0, bound(3, "10.7.0.1"), SEQUENCE + 99);
    assert_eq!(check(&mut ours, START, WALL, &message), Err(Discard::HmacUnknownKey));
}

#[test]
fn a_step_of_a_clock_deafens_nobody() {
    let hour = Duration::from_hours(1);
    let steps = [
        ("none", WALL, WALL),
        ("the sender's, back", before(WALL, 2 * hour), WALL),
        ("the sender's, on", WallClock(WALL.0 + hour), WALL),
        ("the receiver's, back", WALL, before(WALL, 2 * hour)),
        ("the receiver's, on", WALL, WallClock(WALL.0 + hour)),
    ];
    for (what, senders, receivers) in steps {
        let mut theirs = authenticator(1, HmacMode::Enforce);
        let mut ours = authenticator(1, HmacMode::Enforce);
        let mut last = 0;
        for second in 0..60 {
            let passed = Duration::from_secs(second);
            let now = START + passed;
            let has_stepped = second >= 10;
            let clock = |stepped| after(if has_stepped { stepped } else { WALL }, passed);
            let sequence = theirs.next_sequence(now, clock(senders)).expect("it signs");
            assert!(sequence > last, "{what}: never back");
            last = sequence;
            let mut message = bytes(V3);
            theirs.append_trailer(&mut message, 0, bound(3, "10.7.0.1"), sequence);
            let result = check(&mut ours, now, clock(receivers), &message);
            assert_eq!(result, Ok(()), "{what}, second {second}");
        }
    }
}

#[test]
fn a_sender_whose_clock_was_wrong_follows_it_when_it_is_set() {
    let wrong = before(WALL, Duration::from_hours(2));
    let mut ours = authenticator(1, HmacMode::Enforce);
    let before = ours.next_sequence(START, wrong).expect("it signs");
    assert_eq!(check(&mut ours, START, WALL, &signed(SEQUENCE)), Ok(()));
    let sequence = ours.next_sequence(START, WALL).expect("it signs");
    assert!(sequence > before);
    assert!(is_within(Duration::from_secs(1), sequence, WALL.sequence()));
}

#[test]
fn senders_are_remembered_up_to_a_bound() {
    let mut ours = authenticator(1, HmacMode::Enforce);
    for last in 0..100_u8 {
        let bound = bound(3, &format!("10.7.0.{last}"));
        let mut message = bytes(V3);
        ours.append_trailer(&mut message, 0, bound, SEQUENCE);
        let now = START + Duration::from_millis(u64::from(last));
        assert_eq!(ours.check(now, WALL, bound, &message, bytes(V3).len()), Ok(()));
    }
    assert_eq!(ours.senders.len(), SENDERS);
    assert!(ours.senders.iter().all(|known| known.at > START + Duration::from_millis(83)));
}

#[test]
fn windows_follow_from_the_interval() {
    for (interval_ms, window) in [(100, 5), (1000, 5), (2000, 6), (40_000, 120), (255_000, 300)] {
        let interval = Duration::from_millis(interval_ms);
        let ours = Authenticator::new(settings(1, HmacMode::Enforce), interval);
        assert_eq!(ours.window(), Duration::from_secs(window));
    }
    let mut given = settings(1, HmacMode::Enforce);
    given.window = Some(Duration::from_secs(30));
    let ours = Authenticator::new(given, Duration::from_secs(1));
    assert_eq!(ours.window(), Duration::from_secs(30));
}
