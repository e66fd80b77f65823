//! Reads fields one by one and keeps what is wrong with each.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fulcrum_model::{Cidr, Name, RangeError};

use super::duration::{duration_from_wire, duration_to_text};
use super::{ConvertError, FieldViolation};

/// Longest name of a network interface in bytes (`IFNAMSIZ` of linux/if.h, less the final zero).
const MAX_INTERFACE_BYTES: usize = 15;

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

    /// An IPv4 address with its prefix length; /32 when none is given.
    pub(super) fn cidr(&mut self, field: &str, text: &str) -> Option<Cidr> {
        if text.is_empty() {
            self.refuse(field, "none", "give the VIP, such as 192.168.1.150/24");
            return None;
        }
        let cidr = match text.parse::<Cidr>() {
            Ok(cidr) => cidr,
            Err(error) => {
                let remedy =
                    format_args!("{error}; write ADDRESS/PREFIX, such as 192.168.1.150/24");
                self.refuse(field, format_args!("{text:?}"), remedy);
                return None;
            }
        };
        self.host_address(field, text, cidr.address())?;
        if cidr.prefix_length() == 0 {
            self.refuse(field, format_args!("{text:?}"), "a prefix length is 1 to 32");
            return None;
        }
        Some(cidr)
    }

    fn host_address(&mut self, field: &str, text: &str, address: IpAddr) -> Option<IpAddr> {
        let refusal = match address {
            IpAddr::V6(_) => Some("IPv6 is not part of this release; use an IPv4 address"),
            IpAddr::V4(v4) if is_host(v4) => None,
            IpAddr::V4(_) => Some("no host can hold this address; use a unicast one"),
        };
        match refusal {
            None => Some(address),
            Some(remedy) => {
                self.refuse(field, format_args!("{text:?}"), remedy);
                None
            }
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
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.octets()[0] >= 240)
}
