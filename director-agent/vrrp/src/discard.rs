//! Why a packet was discarded.

/// Why a received packet counts for nothing. Section numbers are of RFC 9568 §7.1 and RFC 3768
/// §7.1.
///
/// Not here, because nothing is discarded for them: reserved bits are ignored; version 3 learns
/// another interval; in version 3 another address list is reported and the advert counts. The
/// checks of IPv6 come with IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// No whole IPv4 packet of protocol 112.
    IpHeader,
    /// The TTL is not 255: it has crossed a router.
    Ttl,
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
    /// The instance waits for its interface.
    NotStarted,
}

impl Discard {
    /// All of them, in the order of the checks.
    pub const ALL: [Self; 17] = [
        Self::IpHeader,
        Self::Ttl,
        Self::Version,
        Self::Type,
        Self::Length,
        Self::Checksum,
        Self::Vrid,
        Self::Owner,
        Self::NoAddress,
        Self::ZeroInterval,
        Self::Interval,
        Self::AddressList,
        Self::AuthenticationType,
        Self::AuthenticationData,
        Self::OwnSource,
        Self::NotAPeer,
        Self::NotStarted,
    ];

    /// A name for counters that never changes.
    pub fn label(self) -> &'static str {
        match self {
            Self::IpHeader => "ip_header",
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::Type => "type",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Vrid => "vrid",
            Self::Owner => "owner",
            Self::NoAddress => "no_address",
            Self::ZeroInterval => "zero_interval",
            Self::Interval => "interval",
            Self::AddressList => "address_list",
            Self::AuthenticationType => "authentication_type",
            Self::AuthenticationData => "authentication_data",
            Self::OwnSource => "own_source",
            Self::NotAPeer => "not_a_peer",
            Self::NotStarted => "not_started",
        }
    }
}
