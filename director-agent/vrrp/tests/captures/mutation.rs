//! Captures with changed bytes: nothing panics, and what counts is what was written.

use fulcrum_model::resource::VrrpChecksum;
use fulcrum_vrrp::Advert;

use crate::{capture, datagram};

/// Changes of each capture. Some seconds; `fuzz` goes on for as long as one likes.
const ROUNDS: u32 = 100_000;

const CAPTURES: [&str; 5] = [
    "keepalived-v2-none",
    "keepalived-v2-pass",
    "keepalived-v3-ipv4",
    "keepalived-v3-ipv6",
    "keepalived-v3-unicast",
];

/// xorshift64.
fn draw(random: &mut u64) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    usize::try_from(*random & 0xffff_ffff).unwrap_or_default()
}

fn change(packet: &mut Vec<u8>, random: &mut u64) {
    for _ in 0..=draw(random) % 4 {
        let at = draw(random) % packet.len().max(1);
        match draw(random) % 4 {
            0 => packet.truncate(at),
            1 => packet.insert(at.min(packet.len()), draw(random).to_le_bytes()[0]),
            _ => {
                let bit = 1 << (draw(random) % 8);
                if let Some(byte) = packet.get_mut(at) {
                    *byte ^= bit;
                }
            }
        }
    }
}

#[test]
fn changed_captures_never_panic_and_never_lie() {
    let mut random = 0x5eed;
    for original in CAPTURES.map(capture) {
        for _ in 0..ROUNDS {
            let mut packet = original.clone();
            change(&mut packet, &mut random);
            let Ok(found) = datagram(&packet) else { continue };
            let (source, destination) = (found.source, found.destination);
            let Ok(advert) = Advert::decode(found.message, source, destination) else { continue };
            // What was understood can be said again, and is understood the same.
            let again = advert.encode(source, destination, VrrpChecksum::Deployed);
            assert_eq!(Advert::decode(&again, source, destination), Ok(advert));
        }
    }
}
