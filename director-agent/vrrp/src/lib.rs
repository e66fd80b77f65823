//! VRRP for IPv4 and IPv6: packets, timers, the instance state machine, and what to do with the VIPs, as
//! pure functions.
//!
//! What it does: decodes and encodes adverts of version 2 (RFC 3768) and 3 (RFC 9568), names the
//! reason of each packet that it discards, runs RFC 9568 §6.4 as `Instance::step(now, input) ->
//! outputs` with `deadline()`, decides where the VIPs of an instance belong while a role is taken
//! or left ([`Hold`]), orders the edits that bring them there ([`placement`]), and concludes from the
//! answers of a segment whether one holder of a VIP is known there ([`proof`]). What it never does: open a socket, read a clock, log. `now` is any monotonic duration that the caller goes on
//! counting from one start.
//!
//! Start reading at [`Config`], then [`Instance`], then [`Hold`].

pub mod address_list;
pub mod advert;
pub mod arp;
pub mod ask;
pub mod checksum;
pub mod config;
pub mod datagram;
pub mod discard;
pub mod family;
pub mod group;
pub mod hmac;
pub mod hold;
pub mod instance;
pub mod lateness;
pub mod ndp;
pub mod placement;
pub mod proof;
pub mod relay;
pub mod timers;
pub mod track;
pub mod virtual_mac;

pub use address_list::{AddressList, AddressListError};
pub use advert::{Advert, Authentication, Body};
pub use config::{Centiseconds, Config, ConfigError, Received, Seconds, Wire};
pub use datagram::Datagram;
pub use discard::Discard;
pub use family::Family;
pub use hmac::WallClock;
pub use hold::{Hold, HoldInput, HoldTimes, Place};
pub use instance::{Change, Input, Instance, Output, Outputs, Role, Waiting};
pub use lateness::{Lateness, LatenessSummary};
pub use relay::{Relay, RelayInput};
