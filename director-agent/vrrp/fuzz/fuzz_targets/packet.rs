//! Reads any bytes as a packet: the parsers never panic, and what is understood can be said again.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};

use fulcrum_model::resource::VrrpChecksum;
use fulcrum_vrrp::{Advert, Datagram};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    if let Ok(datagram) = Datagram::parse(packet) {
        read(datagram.message, datagram.source, datagram.destination);
    }
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
    read(packet, source.into(), group.into());
});

fn read(message: &[u8], source: IpAddr, destination: IpAddr) {
    if let Ok(advert) = Advert::decode(message, source, destination) {
        let again = advert.encode(source, destination, VrrpChecksum::Deployed);
        assert_eq!(Advert::decode(&again, source, destination), Ok(advert));
    }
}
