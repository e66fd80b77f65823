//! The adverts of an instance as packets, in and out.

use std::net::IpAddr;
use std::time::Duration;

use super::Instance;
use crate::datagram::append_header;
use crate::hmac::{Bound, TRAILER_BYTES, WallClock};
use crate::{Body, Config, Datagram, Discard, Received, Wire, advert};

/// Routers that are known to speak version 3. More than a virtual router has; the next one that is
/// heard takes the place of the first to be forgotten.
const SPEAKERS: usize = 16;

/// Routers that speak version 3, each until when that counts (RFC 9568 §8.4.2).
#[derive(Clone, Debug, Default)]
pub(super) struct Speakers(Vec<(IpAddr, Duration)>);

impl Speakers {
    fn note(&mut self, now: Duration, source: IpAddr, until: Duration) {
        self.0.retain(|(other, until)| *other != source && now < *until);
        if self.0.len() < SPEAKERS {
            self.0.push((source, until));
        } else if let Some(first) = self.0.iter_mut().min_by_key(|(_, until)| *until) {
            *first = (source, until);
        }
    }

    fn contains(&self, now: Duration, source: IpAddr) -> bool {
        self.0.iter().any(|(other, until)| *other == source && now < *until)
    }
}

impl Instance {
    /// The advert of a packet, when it counts for us: to be given to [`Self::step`]. `wall` matters
    /// to the HMAC trailer alone.
    ///
    /// # Errors
    /// The reason to discard it.
    pub fn receive<'a>(
        &mut self,
        now: Duration,
        wall: WallClock,
        datagram: &Datagram<'a>,
    ) -> Result<Received<'a>, Discard> {
        let received = self.terms.config.receive(datagram, self.terms.source)?;
        let (source, version) = (received.source, received.advert.body.version());
        if let Some(authenticator) = &mut self.authenticator {
            let bound = Bound { version, vrid: self.terms.config.vrid, source };
            let length = received.advert.length();
            authenticator.check(now, wall, bound, datagram.message, length)?;
        }
        match (&self.terms.config.wire, &received.advert.body) {
            (Wire::V2AndV3 { .. }, Body::V3 { .. }) => {
                // As long as an Active may be silent.
                self.speakers.note(now, source, now + 4 * received.advert.interval());
            }
            (Wire::V2AndV3 { .. }, Body::V2 { .. }) if self.speakers.contains(now, source) => {
                return Err(Discard::SpeaksV3);
            }
            (Wire::V2 { .. } | Wire::V3 { .. } | Wire::V2AndV3 { .. }, _) => {}
        }
        Ok(received)
    }

    /// Gives `send` every packet of an advert with its destination. Over IPv4 a packet begins with
    /// its IP header, for a socket with `IP_HDRINCL`; over IPv6 it is the message alone, to be sent
    /// from [`Self::source`] with hop limit 255. Allocates only the first time.
    pub fn advertise(
        &mut self,
        now: Duration,
        wall: WallClock,
        priority: u8,
        mut send: impl FnMut(IpAddr, &[u8]),
    ) {
        let mut packet = std::mem::take(&mut self.packet);
        let source = self.terms.source;
        for (body, form) in self.terms.config.wire.bodies() {
            let hmac = self.authenticator.as_mut();
            let sequence = hmac.and_then(|hmac| hmac.next_sequence(now, wall));
            let trailer_bytes = sequence.map_or(0, |_| TRAILER_BYTES);
            let Config { vrid, addresses, .. } = &self.terms.config;
            let length = advert::length(addresses, &body);
            // The same sequence number for all peers: the HMAC does not cover the destination.
            for destination in self.terms.config.destinations() {
                packet.clear();
                if let (IpAddr::V4(from), IpAddr::V4(to)) = (source, destination) {
                    append_header(&mut packet, from, to, length + trailer_bytes);
                }
                let start = packet.len();
                advert::append(&mut packet, *vrid, priority, addresses, &body);
                if let Some((hmac, sequence)) = self.authenticator.as_ref().zip(sequence) {
                    let bound = Bound { version: body.version(), vrid: *vrid, source };
                    hmac.append_trailer(&mut packet, start, bound, sequence);
                }
                if let Some(message) = packet.get_mut(start..) {
                    advert::seal(message, length, source, destination, form);
                }
                send(destination, &packet);
            }
        }
        self.packet = packet;
    }
}
