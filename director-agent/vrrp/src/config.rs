//! What an instance is told, and which packets count for it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::resource::{AuthPass, VrrpChecksum, VrrpVersion};
use fulcrum_model::{Priority, Vrid};

use crate::datagram::{GROUP, TTL};
use crate::{AddressList, Advert, Authentication, Body, Datagram, Discard};

/// Version 2's advert interval: 1 to 255 s (RFC 3768 §5.3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(u8);

impl Seconds {
    /// `None` for 0.
    pub fn new(seconds: u8) -> Option<Self> {
        (seconds > 0).then_some(Self(seconds))
    }

    /// As on the wire.
    pub fn get(self) -> u8 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

/// Version 3's advert interval: 1 to 4095 hundredths of a second (RFC 9568 §5.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Centiseconds(u16);

impl Centiseconds {
    /// Greatest value of the 12 bits.
    pub const MAX: u16 = 4095;

    /// `None` outside 1 to 4095.
    pub fn new(centiseconds: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&centiseconds).then_some(Self(centiseconds))
    }

    /// As on the wire.
    pub fn get(self) -> u16 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 10)
    }
}

/// Version and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// RFC 3768.
    V2 {
        /// Time between adverts.
        interval: Seconds,
        /// PASS authentication; type 0 when none.
        pass: Option<AuthPass>,
    },
    /// RFC 9568.
    V3 {
        /// Time between adverts.
        interval: Centiseconds,
        /// Checksum that is sent; both are understood.
        checksum: VrrpChecksum,
    },
}

/// What an instance is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Virtual router.
    pub vrid: Vrid,
    /// Ours.
    pub priority: Priority,
    /// Whether we take over from an Active of lower priority.
    pub preempt: bool,
    /// Our primary address: source of our adverts.
    pub source: Ipv4Addr,
    /// The VIPs.
    pub addresses: AddressList,
    /// Unicast peers; multicast when empty.
    pub peers: Vec<Ipv4Addr>,
    /// Version and what belongs to it.
    pub wire: Wire,
}

/// Why a plan cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// IPv6 is not there yet.
    #[error(
        "{field} {found} is no IPv4 address: give IPv4 addresses, VRRP over IPv6 is not supported"
    )]
    Ipv6 {
        /// The plan's field.
        field: &'static str,
        /// The address.
        found: IpAddr,
    },
    /// The version cannot express the interval.
    #[error("advert_interval {found:?} does not fit {version}: give {allowed}")]
    Interval {
        /// The interval.
        found: Duration,
        /// The version.
        version: &'static str,
        /// What fits.
        allowed: &'static str,
    },
    /// Version 3 has no authentication.
    #[error("auth_pass is not for VRRP version 3: remove it, or use version 2")]
    PassInV3,
    /// Too few or too many VIPs.
    #[error("vips: a virtual router has 1 to 255 addresses, not {found}")]
    Addresses {
        /// How many.
        found: usize,
    },
}

/// An advert that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its sender.
    pub source: Ipv4Addr,
    /// The advert.
    pub advert: Advert,
    /// It lists other addresses than ours: a configuration that differs, or a VRID used twice. It
    /// counts all the same.
    pub lists_other_addresses: bool,
}

impl Config {
    /// # Errors
    /// [`ConfigError`] names the first field that cannot be run, and what to give instead.
    pub fn from_plan(plan: &VrrpInstancePlan) -> Result<Self, ConfigError> {
        let vips = plan.vips.iter().map(|vip| ipv4("vips", vip.address()));
        let addresses = AddressList::new(vips.collect::<Result<_, _>>()?)
            .map_err(|error| ConfigError::Addresses { found: error.found })?;
        let peers = plan.unicast_peers.iter().map(|peer| ipv4("unicast_peers", *peer));
        Ok(Self {
            vrid: plan.vrid,
            priority: plan.priority,
            preempt: plan.preempt,
            source: ipv4("source", plan.source)?,
            addresses,
            peers: peers.collect::<Result<_, _>>()?,
            wire: Wire::from_plan(plan)?,
        })
    }

    /// Our advert interval.
    pub fn interval(&self) -> Duration {
        match &self.wire {
            Wire::V2 { interval, .. } => interval.duration(),
            Wire::V3 { interval, .. } => interval.duration(),
        }
    }

    /// Whether `other` is the same virtual router on the wire, so that one can be edited into the
    /// other in place.
    pub fn is_same_router(&self, other: &Self) -> bool {
        let is_v2 = |config: &Self| match config.wire {
            Wire::V2 { .. } => true,
            Wire::V3 { .. } => false,
        };
        self.vrid == other.vrid && is_v2(self) == is_v2(other)
    }

    /// Where our adverts go: the group, or each unicast peer.
    pub fn destinations(&self) -> Vec<Ipv4Addr> {
        if self.peers.is_empty() { vec![GROUP] } else { self.peers.clone() }
    }

    /// The whole IPv4 packet of our advert.
    pub fn packet(&self, priority: u8, destination: Ipv4Addr) -> Vec<u8> {
        let (body, checksum) = match &self.wire {
            Wire::V2 { interval, pass } => {
                let authentication = authentication(pass.as_ref());
                (Body::V2 { interval: *interval, authentication }, VrrpChecksum::Deployed)
            }
            Wire::V3 { interval, checksum } => (Body::V3 { interval: *interval }, *checksum),
        };
        let addresses = self.addresses.clone();
        let message = Advert { vrid: self.vrid, priority, addresses, body };
        let message = message.encode(self.source, destination, checksum);
        Datagram { source: self.source, destination, ttl: TTL, message: &message }.to_bytes()
    }

    /// The advert of a packet, when it counts for us.
    ///
    /// # Errors
    /// The reason to discard it: RFC 9568 §7.1, RFC 3768 §7.1, and the peers.
    pub fn receive(&self, datagram: &Datagram<'_>) -> Result<Received, Discard> {
        if datagram.ttl != TTL {
            return Err(Discard::Ttl);
        }
        let source = datagram.source;
        let advert = Advert::decode(datagram.message, source, datagram.destination)?;
        if advert.vrid != self.vrid {
            return Err(Discard::Vrid);
        }
        if source == self.source {
            return Err(Discard::OwnSource);
        }
        if !self.peers.is_empty() && !self.peers.contains(&source) {
            return Err(Discard::NotAPeer);
        }
        let lists_other_addresses = !advert.addresses.has_same_members(&self.addresses);
        match (&self.wire, &advert.body) {
            (Wire::V2 { interval, pass }, Body::V2 { interval: theirs, authentication }) => {
                authenticate(pass.as_ref(), authentication)?;
                if lists_other_addresses && advert.priority != Priority::OWNER.get() {
                    return Err(Discard::AddressList);
                }
                if interval != theirs {
                    return Err(Discard::Interval);
                }
            }
            (Wire::V3 { .. }, Body::V3 { .. }) => {}
            (Wire::V2 { .. }, Body::V3 { .. }) | (Wire::V3 { .. }, Body::V2 { .. }) => {
                return Err(Discard::Version);
            }
        }
        Ok(Received { source, advert, lists_other_addresses })
    }
}

impl Wire {
    fn from_plan(plan: &VrrpInstancePlan) -> Result<Self, ConfigError> {
        let found = plan.advert_interval;
        match plan.version {
            VrrpVersion::V2 => {
                let seconds = u8::try_from(found.as_secs()).ok();
                let interval = seconds.filter(|_| found.subsec_nanos() == 0).and_then(Seconds::new);
                let interval = interval.ok_or(ConfigError::Interval {
                    found,
                    version: "VRRP version 2",
                    allowed: "whole seconds from 1s to 255s, or use version 3",
                })?;
                Ok(Self::V2 { interval, pass: plan.auth_pass.clone() })
            }
            VrrpVersion::V3 | VrrpVersion::V2AndV3 => {
                if plan.auth_pass.is_some() {
                    return Err(ConfigError::PassInV3);
                }
                let is_whole = found.subsec_nanos().is_multiple_of(10_000_000);
                let centiseconds = u16::try_from(found.as_millis() / 10).ok();
                let interval = centiseconds.filter(|_| is_whole).and_then(Centiseconds::new);
                let interval = interval.ok_or(ConfigError::Interval {
                    found,
                    version: "VRRP version 3",
                    allowed: "a multiple of 10ms from 10ms to 40.95s",
                })?;
                Ok(Self::V3 { interval, checksum: plan.checksum })
            }
        }
    }
}

fn ipv4(field: &'static str, address: IpAddr) -> Result<Ipv4Addr, ConfigError> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(ConfigError::Ipv6 { field, found: address }),
    }
}

fn authentication(pass: Option<&AuthPass>) -> Authentication {
    pass.map_or(Authentication::None, |pass| Authentication::Pass(pass.to_bytes()))
}

fn authenticate(pass: Option<&AuthPass>, theirs: &Authentication) -> Result<(), Discard> {
    match (pass.map(AuthPass::to_bytes), theirs) {
        (None, Authentication::None) => Ok(()),
        (Some(ours), Authentication::Pass(theirs)) if ours == *theirs => Ok(()),
        (Some(_), Authentication::Pass(_)) => Err(Discard::AuthenticationData),
        (None, Authentication::Pass(_))
        | (Some(_), Authentication::None)
        | (None | Some(_), Authentication::Other { .. }) => Err(Discard::AuthenticationType),
    }
}

#[cfg(test)]
mod tests;
