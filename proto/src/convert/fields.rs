//! Reads fields one by one and keeps what is wrong with each.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use fulcrum_model::{Cidr, Name, RangeError};

use super::duration::{duration_from_wire, duration_to_text};
use super::{ConvertError, FieldViolation};

/// Longest name of a network interface in bytes (`IFNAMSIZ` of linux/if.h, less the final zero).
const MAX_INTERFACE_BYTES: usize = 15;

/// Longest remark for people in bytes.
const MAX_REMARK_BYTES: usize = 255;

/// A message that is being read, at its place in the whole.
pub(super) struct Fields<'a> {
    path: String,
    errors: &'a mut Vec<FieldViolation>,
}

/// What a duration may be.
pub(super) struct DurationRule {
    pub(super) default: Option<Duration>,
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: impl Into<String>, errors: &'a mut Vec<FieldViolation>) -> Self {
        Self { path: path.into(), errors }
    }

    /// Reads a whole message, or returns all that is wrong with it.
    pub(super) fn read<T>(
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Result<T, ConvertError> {
        let mut errors = Vec::new();
        let value = read(&mut Fields::new("", &mut errors));
        ConvertError::check(value, errors)
    }

    /// The message in a field of this one.
    pub(super) fn within(&mut self, field: &str) -> Fields<'_> {
        Fields { path: self.path_of(field), errors: self.errors }
    }

    /// Notes that a field's value is not accepted.
    pub(super) fn refuse(&mut self, field: &str, found: impl Display, remedy: impl Display) {
        let field = self.path_of(field);
        self.errors.push(FieldViolation { field, description: format!("{found}: {remedy}") });
    }

    fn path_of(&self, field: &str) -> String {
        match (self.path.is_empty(), field.is_empty()) {
            (true, _) => field.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{field}", self.path),
        }
    }

    /// The value, or a note that this field's value is not accepted.
    pub(super) fn accept<T>(
        &mut self,
        field: &str,
        value: Option<T>,
        found: impl Display,
        remedy: &str,
    ) -> Option<T> {
        if value.is_none() {
            self.refuse(field, found, remedy);
        }
        value
    }

    /// A name that must be given.
    pub(super) fn name(&mut self, field: &str, text: &str, missing: &str) -> Option<Name> {
        if text.is_empty() {
            self.refuse(field, "none", missing);
            return None;
        }
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.refuse(field, format_args!("{text:?}"), error);
                None
            }
        }
    }

    /// A number with a range, where zero may stand for one that is not given.
    pub(super) fn number<T>(
        &mut self,
        field: &str,
        found: u32,
        make: impl FnOnce(u64) -> Result<T, RangeError>,
    ) -> Option<T> {
        match make(u64::from(found)) {
            Ok(number) => Some(number),
            Err(error) => {
                let found = if found == 0 { "0 or none".to_owned() } else { found.to_string() };
                let RangeError { what, min, max, .. } = error;
                self.refuse(field, found, format_args!("{what} is {min} to {max}"));
                None
            }
        }
    }

    /// A host's IPv4 address.
    pub(super) fn ipv4(&mut self, field: &str, text: &str, what: &str) -> Option<IpAddr> {
        if text.is_empty() {
            self.refuse(field, "none", format_args!("give {what}"));
            return None;
        }
        if text.contains('/') && text.parse::<Cidr>().is_ok() {
            let remedy = "write the address alone, without a prefix length";
            self.refuse(field, format_args!("{text:?}"), remedy);
            return None;
        }
        let Ok(address) = text.parse() else {
            let remedy = format_args!("this is no IPv4 address; give {what}");
            self.refuse(field, format_args!("{text:?}"), remedy);
            return None;
        };
        self.host_address(field, text, address)
    }

    /// A host's address of either family.
    pub(super) fn address(&mut self, field: &str, text: &str, what: &str) -> Option<IpAddr> {
        if text.is_empty() {
            self.refuse(field, "none", format_args!("give {what}"));
            return None;
        }
        let address: Option<IpAddr> = text.parse().ok();
        let remedy = format!("this is no IP address; give {what}, without a prefix length");
        let address = self.accept(field, address, format_args!("{text:?}"), &remedy)?;
        self.some_host(field, text, address)
    }

    /// A host's IPv6 address.
    pub(super) fn ipv6(&mut self, field: &str, text: &str, what: &str) -> Option<Ipv6Addr> {
        let read = text.parse().ok().filter(|address| is_host_v6(*address));
        let remedy = format!("give {what}, without a prefix length");
        self.accept(field, read, format_args!("{text:?}"), &remedy)
    }

    /// A host's address of either family with its prefix length; /32 or /128 when none is given.
    pub(super) fn cidr(&mut self, field: &str, text: &str, what: &str) -> Option<Cidr> {
        let cidr = self.any_cidr(field, text, what)?;
        self.some_host(field, text, cidr.address())?;
        if cidr.prefix_length() == 0 {
            let most = Cidr::host(cidr.address()).prefix_length();
            let remedy = format_args!("a prefix length is 1 to {most}");
            self.refuse(field, format_args!("{text:?}"), remedy);
            return None;
        }
        Some(cidr)
    }

    /// A route's destination: no bit is set behind its prefix.
    pub(super) fn route(&mut self, field: &str, text: &str) -> Option<Cidr> {
        let cidr = self.any_cidr(field, text, "the route, such as 0.0.0.0/0")?;
        let length = cidr.prefix_length();
        let is_network = match cidr.address() {
            IpAddr::V4(address) => {
                address.to_bits().checked_shl(length.into()).unwrap_or_default() == 0
            }
            IpAddr::V6(address) => {
                address.to_bits().checked_shl(length.into()).unwrap_or_default() == 0
            }
        };
        let remedy = "a route has no bit set behind its prefix; write 10.0.0.0/8, not 10.0.0.1/8";
        self.accept(field, is_network.then_some(cidr), format_args!("{text:?}"), remedy)
    }

    fn any_cidr(&mut self, field: &str, text: &str, what: &str) -> Option<Cidr> {
        if text.is_empty() {
            self.refuse(field, "none", format_args!("give {what}"));
            return None;
        }
        match text.parse::<Cidr>() {
            Ok(cidr) => Some(cidr),
            Err(error) => {
                let remedy =
                    format_args!("{error}; write ADDRESS/PREFIX, such as 192.168.1.150/24");
                self.refuse(field, format_args!("{text:?}"), remedy);
                None
            }
        }
    }

    /// An IPv4 address that a host can hold.
    fn host_address(&mut self, field: &str, text: &str, address: IpAddr) -> Option<IpAddr> {
        if address.is_ipv6() {
            let remedy = "IPv6 is not part of this release; use an IPv4 address";
            self.refuse(field, format_args!("{text:?}"), remedy);
            return None;
        }
        self.some_host(field, text, address)
    }

    /// An address that a host can hold.
    fn some_host(&mut self, field: &str, text: &str, address: IpAddr) -> Option<IpAddr> {
        let is_one = match address {
            IpAddr::V4(address) => is_host(address),
            IpAddr::V6(address) => is_host_v6(address),
        };
        let remedy = "no host can hold this address; use a unicast one";
        self.accept(field, is_one.then_some(address), format_args!("{text:?}"), remedy)
    }

    /// A network interface's name; `Some(None)` when none is given.
    #[expect(clippy::option_option, reason = "refused and not given are different answers")]
    pub(super) fn optional_interface(&mut self, field: &str, text: &str) -> Option<Option<String>> {
        match text {
            "" => Some(None),
            text => self.interface(field, text).map(Some),
        }
    }

    /// A network interface's name that must be given.
    pub(super) fn interface(&mut self, field: &str, text: &str) -> Option<String> {
        let remedy = if text.is_empty() {
            "name the interface, such as eth0".to_owned()
        } else if text.len() > MAX_INTERFACE_BYTES {
            format!("an interface's name has at most {MAX_INTERFACE_BYTES} bytes")
        } else if text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
            || text == "."
            || text == ".."
        {
            "an interface's name holds no '/', ':', space or control character; see `ip link`"
                .to_owned()
        } else {
            return Some(text.to_owned());
        };
        let found = if text.is_empty() { "none".to_owned() } else { format!("{text:?}") };
        self.refuse(field, found, remedy);
        None
    }

    /// Remarks for people, one line each.
    pub(super) fn remarks<const N: usize>(
        &mut self,
        remarks: [(&str, &str); N],
    ) -> Option<[String; N]> {
        let mut are_well = true;
        for (field, text) in remarks {
            if text.len() > MAX_REMARK_BYTES || text.chars().any(char::is_control) {
                let found = format_args!("{} bytes", text.len());
                self.refuse(field, found, "use one line of at most 255 bytes");
                are_well = false;
            }
        }
        are_well.then(|| remarks.map(|(_, text)| text.to_owned()))
    }

    /// A duration within its bounds; the default when none is given.
    pub(super) fn duration(
        &mut self,
        field: &str,
        wire: Option<&prost_types::Duration>,
        rule: &DurationRule,
    ) -> Option<Duration> {
        let Some(wire) = wire else {
            return self.accept(field, rule.default, "none", "give a duration, such as 1s");
        };
        let Some(duration) = duration_from_wire(wire) else {
            let found = format!("{}s {}ns", wire.seconds, wire.nanos);
            self.refuse(field, found, "give a duration of zero or more, such as 1s");
            return None;
        };
        if (rule.min..=rule.max).contains(&duration) {
            return Some(duration);
        }
        let (min, max) = (duration_to_text(rule.min), duration_to_text(rule.max));
        self.refuse(field, duration_to_text(duration), format_args!("use {min} to {max}"));
        None
    }

    /// Whole seconds from one to `max`; `Some(None)` when none are given, `None` when refused.
    #[expect(clippy::option_option, reason = "refused and not given are different answers")]
    pub(super) fn seconds_up_to(
        &mut self,
        max: Duration,
        field: &str,
        wire: Option<&prost_types::Duration>,
        remedy: &str,
    ) -> Option<Option<Duration>> {
        if wire.is_none() {
            return Some(None);
        }
        let any = DurationRule { default: None, min: Duration::ZERO, max: Duration::MAX };
        let duration = self.duration(field, wire, &any)?;
        let is_within = (Duration::from_secs(1)..=max).contains(&duration);
        let fits = is_within && duration.subsec_nanos() == 0;
        let found = duration_to_text(duration);
        self.accept(field, fits.then_some(duration), found, remedy).map(Some)
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.octets()[0] >= 240)
}

/// A mapped IPv4 address is written as IPv4.
fn is_host_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some())
}
