//! What an instance tells of itself, for people.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use fulcrum_model::Cidr;
use fulcrum_vrrp::{Discard, Family, Waiting};

use super::Router;
use super::places::is_on;
use crate::addresses::{Interface, View};
use crate::vrrp::InstanceStatus;
use crate::vrrp::sockets::AdvertSocket;

/// A problem that packets show stays in the status for this long after the last of them.
const PROBLEM_STAYS: Duration = Duration::from_secs(10);
/// Least time between two log lines about discarded packets or failed sends of one instance.
const LOG_GAP: Duration = Duration::from_secs(10);

impl Router {
    pub(super) fn find_obstacle(
        &self,
        interface: Option<&Interface>,
        socket: Option<Result<&AdvertSocket, &io::Error>>,
    ) -> Option<String> {
        let name = &self.plan.interface;
        let source = self.instance.source();
        if source.is_unspecified() && interface.is_some_and(|interface| interface.is_up) {
            return Some(format!(
                "interface {name} has no link-local IPv6 address, or not yet: see `ip -6 address \
                 show dev {name}` and net.ipv6.conf.{name}.disable_ipv6"
            ));
        }
        let Some(interface) = interface else {
            return Some(format!(
                "this host has no interface {name}: create it, or name another one in the member \
                 or the director"
            ));
        };
        if !interface.is_up {
            return Some(format!("interface {name} is down: `ip link set {name} up`"));
        }
        if !interface.has_carrier {
            return Some(format!(
                "interface {name} has no carrier: check its cable and switch port"
            ));
        }
        if !interface.has(source) {
            return Some(format!(
                "interface {name} does not have {source}: add the address, or correct the \
                 director's dip"
            ));
        }
        match (socket?, self.family()) {
            (Ok(_), Family::V4) => None,
            (Ok(socket), Family::V6) => socket.error_v6().map(|error| {
                format!(
                    "cannot open a VRRP socket for IPv6 on {name}: {error}; see `ip link show \
                     {name}` for an MTU below 1280, and /proc/cmdline for ipv6.disable=1"
                )
            }),
            (Err(error), Family::V4 | Family::V6) => Some(format!(
                "cannot open a VRRP socket on {name}: {error}; see `ip link show {name}`"
            )),
        }
    }

    pub(super) fn discard(&mut self, now: Duration, reason: Discard, source: IpAddr) {
        *self.discarded.entry(reason.label()).or_default() += 1;
        if let Some(text) = explain(reason) {
            let vrid = self.plan.vrid;
            self.show(now, reason.label(), format!("adverts of {source} for VRID {vrid} {text}"));
        }
    }

    /// Puts a problem into the status, and into the log at a bounded rate.
    pub(in crate::vrrp) fn show(&mut self, now: Duration, kind: &'static str, text: String) {
        let is_new = self.shown.get(kind).is_none_or(|(_, shown)| *shown != text);
        self.has_changed |= is_new;
        if is_new && now >= self.log_from {
            tracing::warn!(vrrp_instance = %self.name, "{text}");
            self.log_from = now + LOG_GAP;
        }
        self.shown.insert(kind, (now + PROBLEM_STAYS, text));
    }

    /// Takes a problem out of the status.
    pub(in crate::vrrp) fn unshow(&mut self, kind: &'static str) {
        self.has_changed |= self.shown.remove(kind).is_some();
    }

    /// What it tells of itself.
    pub(in crate::vrrp) fn status(&mut self, now: Duration, view: &View) -> InstanceStatus {
        self.shown.retain(|_, (until, _)| now < *until);
        let rivals = self.rivals.list(now);
        let bound = self.vips().filter(|vip| is_on(view, vip));
        let bound = bound.filter_map(|vip| Cidr::new(vip.address, vip.prefix_length).ok());
        let shown = self.shown.values().map(|(_, text)| text);
        let costs = self.standing.iter().flat_map(|standing| &standing.costs);
        let faults = self.obstacle.iter().chain(self.fault()).chain(self.wait());
        // Of what is shown, that which is told under the reason of a discard.
        let rejected = self.shown.iter().filter(|(kind, _)| self.discarded.contains_key(*kind));
        let targets = self.standing.iter().flat_map(|standing| &standing.targets);
        InstanceStatus {
            role: self.instance.role(),
            since: self.since,
            active_router: self.heard_from,
            outranks: self.instance.predecessor(now).is_some(),
            became_active: self.became_active,
            adverts_sent: self.adverts_sent,
            adverts_received: self.adverts_received,
            discarded: self.discarded.clone(),
            vips_bound: bound.collect(),
            priority: self.instance.priority().get(),
            faults: faults.clone().cloned().collect(),
            waits_for: self.instance.waiting(now).map(waits_for).unwrap_or_default(),
            tracks: targets.cloned().collect(),
            holds_alone: self.expects_no_rival(now),
            seen_vips: self.seen(),
            rivals,
            rejected: rejected.map(|(_, (_, text))| text.clone()).collect(),
            problems: faults.chain(costs).chain(shown).cloned().collect(),
        }
    }
}

/// In words for people.
fn waits_for(waiting: Waiting) -> String {
    match waiting {
        Waiting::StartUp { left } => format!("its start-up delay, {} s more", left.as_secs()),
        Waiting::Delay { left } => format!("its preempt delay, {} s more", left.as_secs()),
        Waiting::Held => "its preemption, which is held".to_owned(),
    }
}

/// What a person does about discarded packets; none for those that configuration does not cause.
fn explain(reason: Discard) -> Option<&'static str> {
    match reason {
        Discard::Version => Some("are of another VRRP version: configure one version"),
        Discard::Interval => Some("have another interval: version 2 wants equal ones"),
        Discard::AddressList => Some("list other VIPs: make them equal, or change one VRID"),
        Discard::AuthenticationType => {
            Some("have another authentication type: set auth_pass on both sides or on none")
        }
        Discard::AuthenticationData => Some("have another password: make auth_pass equal"),
        Discard::OwnSource => {
            Some("carry this director's own address: another host uses it, or the segment loops")
        }
        Discard::NotAPeer => Some(
            "do not come from a unicast peer: add the director as a member, or remove it there",
        ),
        Discard::Owner => Some("contest addresses that this director owns: lower one priority"),
        Discard::Checksum => Some("have a wrong checksum: check the network card and the sender"),
        Discard::Ttl => Some("have crossed a router or are forged: VRRP stays on one segment"),
        Discard::UnicastTtl => {
            Some("have crossed more routers than allowed: set unicast_min_ttl lower")
        }
        Discard::Source => Some("do not come from a link-local address: correct the sender"),
        Discard::FirstAddress => {
            Some("do not list a link-local address first: correct the sender's VIPs")
        }
        Discard::HmacMissing => {
            Some("carry no HMAC: give their sender auth_hmac, or set the mode to permissive")
        }
        Discard::HmacMalformed => {
            Some("carry an HMAC of another scheme: keepalived 2.4's is known")
        }
        Discard::HmacUnknownKey => {
            Some("are signed with an unknown key: make auth_hmac.keys equal")
        }
        Discard::HmacInvalid => Some("have a wrong HMAC: make the secret of the key equal"),
        Discard::HmacStale => {
            Some("are outside the HMAC's window: synchronise the directors' clocks")
        }
        Discard::HmacReplay => Some("were sent before: somebody replays recorded adverts"),
        Discard::IpHeader
        | Discard::Family
        | Discard::SpeaksV3
        | Discard::Type
        | Discard::Length
        | Discard::Vrid
        | Discard::NoAddress
        | Discard::ZeroInterval
        | Discard::NotStarted => None,
    }
}
