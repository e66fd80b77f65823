//! An instance at rest allocates nothing: neither as Active, which sends adverts, nor as Backup,
//! which takes them in. A thread that asks for memory may wait for other threads, or for the kernel.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use fulcrum_model::resource::{AuthPass, VrrpChecksum};
use fulcrum_model::vrrp::{Announce, AuthHmac, HmacKey, HmacMode};
use fulcrum_model::{Priority, Vrid};
use fulcrum_vrrp::{
    AddressList, Centiseconds, Config, Datagram, Family, Input, Instance, Output, Role, Seconds,
    WallClock, Wire,
};

/// Adverts before it counts: the first ones take the room that is kept, and announcements end.
const WARM: u32 = 10;
const ADVERTS: u32 = 1000;
/// Most bytes of a packet here: header, 255 addresses of IPv6, trailer.
const PACKET_BYTES: usize = 20 + 8 + 255 * 16 + 28;

/// A segment without delay: what the Active sends is what the Backup receives.
struct Segment {
    active: Instance,
    backup: Instance,
    now: Duration,
    packet: [u8; PACKET_BYTES],
}

impl Segment {
    fn new(active: Config, backup: Config) -> Self {
        let (mut active, mut backup) = (Instance::new(active), Instance::new(backup));
        for instance in [&mut active, &mut backup] {
            instance.step(Duration::ZERO, Input::Up);
        }
        Self { active, backup, now: Duration::ZERO, packet: [0; PACKET_BYTES] }
    }

    /// Until one more advert was sent and has counted.
    fn exchange(&mut self) {
        let mut has_counted = false;
        while !has_counted {
            self.now = self.active.deadline().expect("a timer runs");
            for output in self.active.step(self.now, Input::Tick) {
                if let Output::Advertise { priority } = output {
                    has_counted = self.send(priority);
                }
            }
        }
    }

    fn send(&mut self, priority: u8) -> bool {
        let (now, wall) = (self.now, WallClock(self.now));
        let (source, backup, packet) = (self.active.source(), &mut self.backup, &mut self.packet);
        let mut has_counted = false;
        self.active.advertise(now, wall, priority, |destination, sent| {
            let packet = &mut packet[..sent.len()];
            packet.copy_from_slice(sent);
            let datagram = match (source, destination) {
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    Datagram::of_ipv6(source, destination, 255, packet)
                }
                _ => Datagram::parse(packet).expect("a whole packet"),
            };
            // Of two versions one counts.
            let Ok(received) = backup.receive(now, wall, &datagram) else { return };
            assert!(!received.lists_other_addresses);
            let input = Input::Advert { source: received.source, advert: &received.advert };
            assert!(backup.step(now, input).is_empty(), "the Backup stays Backup");
            assert!(backup.step(now, Input::Tick).is_empty(), "its timer has begun anew");
            has_counted = true;
        });
        has_counted
    }
}

fn config(family: Family, last: u8, priority: u64, wire: Wire, hmac: Option<AuthHmac>) -> Config {
    let address = |last: u8| match family {
        Family::V4 => IpAddr::from([10, 0, 0, last]),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into(),
    };
    let mut vips: Vec<IpAddr> = (50..250).map(address).collect();
    if last == 1 {
        vips.reverse();
    }
    Config {
        vrid: Vrid::new(51).expect("a VRID"),
        priority: Priority::new(priority).expect("a priority"),
        preempt: true,
        preempt_delay: Duration::ZERO,
        startup_delay: Duration::ZERO,
        take_over: false,
        source: address(last),
        addresses: AddressList::new(vips).expect("1 to 255"),
        peers: Vec::new(),
        unicast_min_ttl: 255,
        auth_hmac: hmac,
        announce: Announce::default(),
        wire,
    }
}

fn hmac() -> AuthHmac {
    let key = HmacKey::new(7, vec![0x42; HmacKey::MIN_BYTES]).expect("a key");
    AuthHmac { keys: vec![key], active_key: 7, window: None, mode: HmacMode::Enforce }
}

#[test]
fn adverts_at_rest_allocate_nothing() {
    let one = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1_u8))));
    assert_eq!(one.count_total, 1, "it is counted at all");
    let seconds = Seconds::new(1).expect("1 s");
    let centiseconds = Centiseconds::new(100).expect("1 s");
    let checksum = VrrpChecksum::Deployed;
    let v2 =
        |pass: Option<&str>| Wire::V2 { interval: seconds, pass: pass.and_then(AuthPass::new) };
    let v3 = || Wire::V3 { interval: centiseconds, checksum };
    let both = Wire::V2AndV3 { interval: seconds, interval_v3: centiseconds, checksum };
    for (what, family, wire, hmac) in [
        ("version 2", Family::V4, v2(None), None),
        ("version 2 with a password", Family::V4, v2(Some("1111")), None),
        ("version 2 with HMAC", Family::V4, v2(None), Some(hmac())),
        ("version 3", Family::V4, v3(), None),
        ("version 3 with HMAC", Family::V4, v3(), Some(hmac())),
        ("both versions", Family::V4, both, None),
        ("IPv6", Family::V6, v3(), None),
        ("IPv6 with HMAC", Family::V6, v3(), Some(hmac())),
    ] {
        let active = config(family, 1, 200, wire.clone(), hmac.clone());
        let mut segment = Segment::new(active, config(family, 2, 100, wire, hmac));
        for _ in 0..WARM {
            segment.exchange();
        }
        let counted = allocation_counter::measure(|| {
            for _ in 0..ADVERTS {
                segment.exchange();
            }
        });
        assert_eq!(counted.count_total, 0, "{what}: {counted:?}");
        assert_eq!(segment.active.role(), Role::Active, "{what}");
        assert_eq!(segment.backup.role(), Role::Backup, "{what}");
    }
}
