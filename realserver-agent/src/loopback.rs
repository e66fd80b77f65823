//! VIPs on loopback with ARP kept quiet.
//!
//! Order on bind: `arp_ignore=1` and `arp_announce=2` on `all` and on the interfaces that carry the real servers' own
//! addresses, *then* VIP/32 on lo. On unbind: VIP first, then the settings back to what they were, if no VIP of ours needs them.
//! [`plan`] decides, [`netlink`] and [`arp`] touch, [`driver`] puts the steps in force.

pub mod arp;
pub mod driver;
pub mod journal;
pub mod netlink;
pub mod plan;
