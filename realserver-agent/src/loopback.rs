//! VIPs on loopback with ARP kept quiet, and what takes packets to them out of tunnels.
//!
//! Order on bind: `arp_ignore=1` and `arp_announce=2` on `all` and on the interfaces that carry the real servers' own
//! addresses, and the tunnels' devices, *then* the VIP on lo. On unbind: VIP first, then the devices, then the settings back to
//! what they were, if no VIP of ours needs them.
//! [`plan`], [`tunnels`] and `retries` decide, [`netlink`], [`arp`] and their like touch, [`driver`] puts the steps in force.

pub mod arp;
mod devices;
pub mod driver;
mod failed;
mod fou;
pub mod journal;
pub mod netlink;
pub mod plan;
mod retries;
pub mod tunnels;
mod workshop;
