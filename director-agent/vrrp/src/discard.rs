//! Why a packet was discarded.

/// Why a received packet counts for nothing. Section numbers are of RFC 9568 §7.1 and RFC 3768
/// §7.1.
///
/// Not here, because nothing is discarded for them: reserved bits are ignored; version 3 learns
/// another interval; in version 3 another address list is reported and the advert counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// No whole IP packet of protocol 112.
    IpHeader,
    /// Another address family than the instance's.
    Family,
    /// The TTL or hop limit is not 255: it has crossed a router.
    Ttl,
    /// The TTL or hop limit of a unicast peer is less than the instance allows.
    UnicastTtl,
    /// IPv6: its source is not link-local.
    Source,
    /// Another version than the instance's.
    Version,
    /// Not an advert.
    Type,
    /// Shorter than its own count of addresses says.
    Length,
    /// The checksum is wrong in every accepted form.
    Checksum,
    /// The VRID is not configured on the interface.
    Vrid,
    /// We own the addresses (priority 255), so no advert can be right (erratum 8298).
    Owner,
    /// It counts no address.
    NoAddress,
    /// IPv6: its first address is not link-local.
    FirstAddress,
    /// Its greatest advert interval is zero.
    ZeroInterval,
    /// Version 2: another advert interval than ours.
    Interval,
    /// Version 2: other addresses than ours, from a router that does not own them.
    AddressList,
    /// Version 2: another authentication type than ours.
    AuthenticationType,
    /// Version 2: another password than ours.
    AuthenticationData,
    /// It names our own address as its source: a loop, or our address is used twice.
    OwnSource,
    /// The instance has unicast peers, and the source is none of them.
    NotAPeer,
    /// Version 2 of a router that speaks version 3 as well (RFC 9568 §8.4.2).
    SpeaksV3,
    /// It has no HMAC trailer.
    HmacMissing,
    /// Its trailer is of another scheme, or its reserved bits are not zero.
    HmacMalformed,
    /// Its trailer names a key that we do not have.
    HmacUnknownKey,
    /// The HMAC is wrong: another secret, or it was changed on its way.
    HmacInvalid,
    /// Its time is outside the window.
    HmacStale,
    /// Its sequence number does not grow: it was recorded and sent again.
    HmacReplay,
    /// The instance waits for its interface.
    NotStarted,
}

impl Discard {
    /// All of them, in the order of the checks.
    pub const ALL: [Self; 28] = [
        Self::IpHeader,
        Self::Family,
        Self::Ttl,
        Self::UnicastTtl,
        Self::Source,
        Self::Version,
        Self::Type,
        Self::Length,
        Self::Checksum,
        Self::Vrid,
        Self::Owner,
        Self::NoAddress,
        Self::FirstAddress,
        Self::ZeroInterval,
        Self::Interval,
        Self::AddressList,
        Self::AuthenticationType,
        Self::AuthenticationData,
        Self::OwnSource,
        Self::NotAPeer,
        Self::SpeaksV3,
        Self::HmacMissing,
        Self::HmacMalformed,
        Self::HmacUnknownKey,
        Self::HmacInvalid,
        Self::HmacStale,
        Self::HmacReplay,
        Self::NotStarted,
    ];

    /// A name for counters that never changes.
    pub fn label(self) -> &'static str {
        match self {
            Self::IpHeader => "ip_header",
            Self::Family => "family",
            Self::Ttl => "ttl",
            Self::UnicastTtl => "unicast_ttl",
            Self::Source => "source",
            Self::Version => "version",
            Self::Type => "type",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Vrid => "vrid",
            Self::Owner => "owner",
            Self::NoAddress => "no_address",
            Self::FirstAddress => "first_address",
            Self::ZeroInterval => "zero_interval",
            Self::Interval => "interval",
            Self::AddressList => "address_list",
            Self::AuthenticationType => "authentication_type",
            Self::AuthenticationData => "authentication_data",
            Self::OwnSource => "own_source",
            Self::NotAPeer => "not_a_peer",
            Self::SpeaksV3 => "speaks_v3",
            Self::HmacMissing => "hmac_missing",
            Self::HmacMalformed => "hmac_malformed",
            Self::HmacUnknownKey => "hmac_unknown_key",
            Self::HmacInvalid => "hmac_invalid",
            Self::HmacStale => "hmac_stale",
            Self::HmacReplay => "hmac_replay",
            Self::NotStarted => "not_started",
        }
    }
}
