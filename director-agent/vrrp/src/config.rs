//! What an instance is told, and which packets count for it.

use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::plan::VrrpInstancePlan;
use fulcrum_model::resource::{AuthPass, VrrpChecksum, VrrpVersion};
use fulcrum_model::vrrp::{Announce, AuthHmac};
use fulcrum_model::{Cidr, Priority, Vrid};

use crate::datagram::TTL;
use crate::family::is_link_local;
use crate::{
    AddressList, AddressListError, Advert, Authentication, Body, Datagram, Discard, Family,
};

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
        /// Checksum that is sent over IPv4; both are understood.
        checksum: VrrpChecksum,
    },
    /// Both, while routers move from one to the other (RFC 9568 §8.4): both are sent, and version
    /// 2 of a router that speaks version 3 counts for nothing.
    V2AndV3 {
        /// Time between adverts, at most [`Self::MOST_SECONDS`].
        interval: Seconds,
        /// The same for version 3.
        interval_v3: Centiseconds,
        /// Checksum of version 3 that is sent; both are understood.
        checksum: VrrpChecksum,
    },
}

/// What an instance is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Virtual router.
    pub vrid: Vrid,
    /// Ours, before anything that is tracked.
    pub priority: Priority,
    /// Whether we take over from an Active of lower priority.
    pub preempt: bool,
    /// How long we wait before that.
    pub preempt_delay: Duration,
    /// How long we only listen after the agent's start.
    pub startup_delay: Duration,
    /// A hand-over by order: we become Active at once, whoever is.
    pub take_over: bool,
    /// Our primary address: source of our adverts. The unspecified IPv6 address stands for the
    /// interface's link-local one ([`crate::Instance::set_source`]).
    pub source: IpAddr,
    /// The VIPs that are advertised.
    pub addresses: AddressList<'static>,
    /// Unicast peers; multicast when empty.
    pub peers: Vec<IpAddr>,
    /// Least TTL or hop limit of a peer's adverts, above 0.
    pub unicast_min_ttl: u8,
    /// Version and what belongs to it.
    pub wire: Wire,
    /// HMAC trailer.
    pub auth_hmac: Option<AuthHmac>,
    /// How neighbours are told.
    pub announce: Announce,
}

/// Why a plan cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An address of another family than the VIPs'.
    #[error(
        "{field} {found} is not of the VIPs' family: give one of that family, or give each family \
         a VRRP instance of its own"
    )]
    Family {
        /// The plan's field.
        field: &'static str,
        /// The address.
        found: IpAddr,
    },
    /// An IPv6 virtual router's first address is its link-local one.
    #[error(
        "vips begin with {found}: over IPv6 begin them with a link-local address, for example \
         fe80::{vrid:x}/64 (RFC 9568 §5.2.9)"
    )]
    FirstAddress {
        /// The first one.
        found: IpAddr,
        /// The VRID, for the example.
        vrid: u8,
    },
    /// Multicast adverts over IPv6 come from a link-local address.
    #[error(
        "source {found} is not link-local: leave the director's dip_ipv6 out, or give a link-local \
         one (RFC 9568 §5.1.2.1)"
    )]
    Source {
        /// The address.
        found: IpAddr,
    },
    /// Version 2 is for IPv4.
    #[error("version 2 is for IPv4: use version 3 for VIPs of IPv6")]
    V2OverIpv6,
    /// The trailer supersedes the password.
    #[error("auth_pass and auth_hmac: give one of them")]
    PassAndHmac,
    /// The key that signs is not there.
    #[error("auth_hmac.active_key {found} is none of its keys: give the identifier of one")]
    ActiveKey {
        /// The identifier.
        found: u8,
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
    /// Too few or too many VIPs, or of both families.
    #[error("vips: {0}")]
    Addresses(#[from] AddressListError),
}

/// An advert that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Its sender.
    pub source: IpAddr,
    /// The advert.
    pub advert: Advert<'a>,
    /// It lists other addresses than ours: a configuration that differs, or a VRID used twice. It
    /// counts all the same.
    pub lists_other_addresses: bool,
}

impl Config {
    /// # Errors
    /// [`ConfigError`] names the first field that cannot be run, and what to give instead.
    pub fn from_plan(plan: &VrrpInstancePlan) -> Result<Self, ConfigError> {
        let addresses = AddressList::new(plan.vips.iter().map(Cidr::address).collect())?;
        let family = addresses.family();
        let peers = plan.unicast_peers.iter().map(|peer| of_family(family, "unicast_peers", *peer));
        let options = &plan.options;
        let config = Self {
            vrid: plan.vrid,
            priority: plan.priority,
            preempt: plan.preempt,
            preempt_delay: options.preempt_delay,
            startup_delay: options.startup_delay,
            take_over: plan.take_over,
            source: of_family(family, "source", plan.source)?,
            addresses,
            peers: peers.collect::<Result<_, _>>()?,
            unicast_min_ttl: options.unicast_min_ttl,
            wire: Wire::from_plan(plan, family)?,
            auth_hmac: options.auth_hmac.clone(),
            announce: options.announce,
        };
        config.validated()
    }

    /// What the types leave open.
    fn validated(self) -> Result<Self, ConfigError> {
        if !self.addresses.begins_as_it_must() {
            let found = self.addresses.iter().next().unwrap_or(self.source);
            return Err(ConfigError::FirstAddress { found, vrid: self.vrid.get() });
        }
        let is_multicast_v6 = self.family() == Family::V6 && self.peers.is_empty();
        let source = self.source;
        if is_multicast_v6 && !source.is_unspecified() && !is_link_local(source) {
            return Err(ConfigError::Source { found: source });
        }
        let Some(hmac) = &self.auth_hmac else { return Ok(self) };
        match &self.wire {
            Wire::V2 { pass: Some(_), .. } => Err(ConfigError::PassAndHmac),
            Wire::V2 { pass: None, .. } | Wire::V3 { .. } | Wire::V2AndV3 { .. } => {
                let found = hmac.active_key;
                let has_key = hmac.keys.iter().any(|key| key.id() == found);
                if has_key { Ok(self) } else { Err(ConfigError::ActiveKey { found }) }
            }
        }
    }

    /// The family of the VIPs, and so of the adverts.
    pub fn family(&self) -> Family {
        self.addresses.family()
    }

    /// Our advert interval.
    pub fn interval(&self) -> Duration {
        self.wire.interval()
    }

    /// Whether `other` is the same virtual router on the wire, so that one can be edited into the
    /// other in place. The two ends of a migration are not, each of them and its middle are.
    pub fn is_same_router(&self, other: &Self) -> bool {
        let is_heard = match (&self.wire, &other.wire) {
            (Wire::V2 { .. }, Wire::V3 { .. }) | (Wire::V3 { .. }, Wire::V2 { .. }) => false,
            (Wire::V2 { .. }, Wire::V2 { .. } | Wire::V2AndV3 { .. })
            | (Wire::V3 { .. }, Wire::V3 { .. } | Wire::V2AndV3 { .. })
            | (Wire::V2AndV3 { .. }, _) => true,
        };
        self.vrid == other.vrid && self.family() == other.family() && is_heard
    }

    /// Where our adverts go: the group, or each unicast peer.
    pub fn destinations(&self) -> impl Iterator<Item = IpAddr> {
        let group = self.peers.is_empty().then(|| self.family().group());
        group.into_iter().chain(self.peers.iter().copied())
    }

    /// The advert of a packet, when it counts for us, as far as that depends on configuration
    /// alone. `ours` is the source of our own adverts.
    ///
    /// # Errors
    /// The reason to discard it: RFC 9568 §7.1, RFC 3768 §7.1, and the peers.
    pub fn receive<'a>(
        &self,
        datagram: &Datagram<'a>,
        ours: IpAddr,
    ) -> Result<Received<'a>, Discard> {
        let source = datagram.source;
        if datagram.family() != self.family() {
            return Err(Discard::Family);
        }
        if self.peers.is_empty() {
            if datagram.ttl != TTL {
                return Err(Discard::Ttl);
            }
            if self.family() == Family::V6 && !is_link_local(source) {
                return Err(Discard::Source);
            }
        } else if datagram.ttl < self.unicast_min_ttl {
            return Err(Discard::UnicastTtl);
        }
        let advert = Advert::decode(datagram.message, source, datagram.destination)?;
        if advert.vrid != self.vrid {
            return Err(Discard::Vrid);
        }
        if source == ours {
            return Err(Discard::OwnSource);
        }
        if !self.peers.is_empty() && !self.peers.contains(&source) {
            return Err(Discard::NotAPeer);
        }
        let lists_other_addresses = !advert.addresses.has_same_members(&self.addresses);
        match &advert.body {
            Body::V2 { interval: theirs, authentication } => {
                let (interval, pass) = self.wire.version_2().ok_or(Discard::Version)?;
                authenticate(pass, authentication)?;
                if lists_other_addresses && advert.priority != Priority::OWNER.get() {
                    return Err(Discard::AddressList);
                }
                if interval != *theirs {
                    return Err(Discard::Interval);
                }
            }
            Body::V3 { .. } if self.wire.speaks_version_3() => {}
            Body::V3 { .. } => return Err(Discard::Version),
        }
        Ok(Received { source, advert, lists_other_addresses })
    }
}

impl Wire {
    /// Longest interval that both versions can express.
    pub const MOST_SECONDS: u8 = 40;

    fn from_plan(plan: &VrrpInstancePlan, family: Family) -> Result<Self, ConfigError> {
        let found = plan.advert_interval;
        let refuse = |version, allowed| ConfigError::Interval { found, version, allowed };
        let seconds = u8::try_from(found.as_secs()).ok().filter(|_| found.subsec_nanos() == 0);
        let seconds = seconds.and_then(Seconds::new);
        let is_whole = found.subsec_nanos().is_multiple_of(10_000_000);
        let centiseconds = u16::try_from(found.as_millis() / 10).ok().filter(|_| is_whole);
        let centiseconds = centiseconds.and_then(Centiseconds::new);
        let checksum = plan.checksum;
        match plan.version {
            VrrpVersion::V2 | VrrpVersion::V2AndV3 if family == Family::V6 => {
                Err(ConfigError::V2OverIpv6)
            }
            VrrpVersion::V2 => {
                let allowed = "whole seconds from 1s to 255s, or use version 3";
                let interval = seconds.ok_or_else(|| refuse("VRRP version 2", allowed))?;
                Ok(Self::V2 { interval, pass: plan.auth_pass.clone() })
            }
            VrrpVersion::V3 | VrrpVersion::V2AndV3 if plan.auth_pass.is_some() => {
                Err(ConfigError::PassInV3)
            }
            VrrpVersion::V3 => {
                let allowed = "a multiple of 10ms from 10ms to 40.95s";
                let interval = centiseconds.ok_or_else(|| refuse("VRRP version 3", allowed))?;
                Ok(Self::V3 { interval, checksum })
            }
            VrrpVersion::V2AndV3 => {
                let allowed = "whole seconds from 1s to 40s";
                let refuse = || refuse("VRRP versions 2 and 3 together", allowed);
                let (interval, interval_v3) = seconds.zip(centiseconds).ok_or_else(refuse)?;
                Ok(Self::V2AndV3 { interval, interval_v3, checksum })
            }
        }
    }

    /// Time between adverts.
    pub fn interval(&self) -> Duration {
        match self {
            Self::V2 { interval, .. } | Self::V2AndV3 { interval, .. } => interval.duration(),
            Self::V3 { interval, .. } => interval.duration(),
        }
    }

    /// Interval and password of version 2, when it is spoken.
    fn version_2(&self) -> Option<(Seconds, Option<&AuthPass>)> {
        match self {
            Self::V2 { interval, pass } => Some((*interval, pass.as_ref())),
            Self::V2AndV3 { interval, .. } => Some((*interval, None)),
            Self::V3 { .. } => None,
        }
    }

    fn speaks_version_3(&self) -> bool {
        match self {
            Self::V2 { .. } => false,
            Self::V3 { .. } | Self::V2AndV3 { .. } => true,
        }
    }

    /// What each advert of ours says beside priority and addresses, and its checksum: one per
    /// version.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = (Body, VrrpChecksum)> {
        let (v2, v3) = match self {
            Self::V2 { interval, pass } => (Some((*interval, pass.as_ref())), None),
            Self::V3 { interval, checksum } => (None, Some((*interval, *checksum))),
            Self::V2AndV3 { interval, interval_v3, checksum } => {
                (Some((*interval, None)), Some((*interval_v3, *checksum)))
            }
        };
        let v2 = v2.map(|(interval, pass)| {
            let authentication = authentication(pass);
            (Body::V2 { interval, authentication }, VrrpChecksum::Deployed)
        });
        let v3 = v3.map(|(interval, checksum)| (Body::V3 { interval }, checksum));
        v3.into_iter().chain(v2)
    }
}

fn of_family(family: Family, field: &'static str, found: IpAddr) -> Result<IpAddr, ConfigError> {
    if Family::of(found) == family { Ok(found) } else { Err(ConfigError::Family { field, found }) }
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
