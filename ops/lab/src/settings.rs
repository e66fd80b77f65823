//! The settings that both sides run with, so that a comparison compares programs and not parameters.

use std::time::Duration;

/// Firewall mark of a hand-over's relay: "LVS" and the number of the only one.
pub(crate) const RELAY_MARK: u32 = 0x4c56_5301;

/// VRRP and check parameters of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// For people.
    pub(crate) name: &'static str,
    /// VRRP's version on the wire, 2 or 3.
    pub(crate) vrrp_version: u8,
    /// Time between adverts.
    pub(crate) advert: Duration,
    /// The directors' check of real servers.
    pub(crate) check: Check,
    /// More lines of Fulcrum's `VrrpInstance`, as YAML, for what keepalived does not have.
    pub(crate) options: &'static str,
    /// More of Fulcrum's other resources, the same way.
    pub(crate) balancing: Balancing,
}

/// What Fulcrum's manifest says beside the seed's, of what IPVS balances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balancing {
    /// More fields of each member of the pool, such as `, weight: 10`.
    pub(crate) member: &'static str,
    /// More lines of the `Pool`.
    pub(crate) pool: &'static str,
    /// More lines of the `VirtualServer`.
    pub(crate) virtual_server: &'static str,
    /// More resources.
    pub(crate) resources: &'static str,
}

impl Balancing {
    /// Nothing.
    const SEED: Self = Self { member: "", pool: "", virtual_server: "", resources: "" };
}

/// A check by TCP, or by HTTP of the page: keepalived's `delay_loop`, `connect_timeout`, `retry` and `delay_before_retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Time between tries.
    pub(crate) interval: Duration,
    /// Longest time of a try.
    pub(crate) timeout: Duration,
    /// Failed tries that are tolerated.
    pub(crate) retries: u32,
    /// Time between a failed try and its repetition.
    pub(crate) retry_delay: Duration,
    /// By HTTP; the agents on the hosts then look as often.
    pub(crate) is_http: bool,
}

/// The seed's settings as they are meant: its `nb_get_retry` counts.
pub(crate) const SEED: Settings = Settings {
    name: "seed",
    vrrp_version: 2,
    advert: Duration::from_secs(1),
    check: Check {
        interval: Duration::from_secs(6),
        timeout: Duration::from_secs(10),
        retries: 3,
        retry_delay: Duration::from_secs(8),
        is_http: false,
    },
    options: "",
    balancing: Balancing::SEED,
};

/// Adverts every 100 ms, checks every second.
pub(crate) const FAST: Settings = Settings {
    name: "100 ms adverts",
    vrrp_version: 3,
    advert: Duration::from_millis(100),
    check: Check {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        retries: 1,
        retry_delay: Duration::from_secs(1),
        is_http: false,
    },
    options: "",
    balancing: Balancing::SEED,
};

/// Adverts every 20 ms, checks every second.
pub(crate) const QUICK: Settings =
    Settings { name: "20 ms adverts", advert: Duration::from_millis(20), ..FAST };

/// Adverts every 100 ms, checks by HTTP every 200 ms with no try lost: the fastest that both sides do well here.
pub(crate) const PROMPT: Settings = Settings {
    name: "HTTP checks every 200 ms",
    check: Check {
        interval: Duration::from_millis(200),
        timeout: Duration::from_millis(200),
        retries: 0,
        retry_delay: Duration::from_millis(200),
        is_http: true,
    },
    ..FAST
};

/// Priority of the director that is Active when all is well.
pub(crate) const PRIORITY: u8 = 100;
/// Priority of the other one.
pub(crate) const PRIORITY_BACKUP: u8 = 90;
/// The seed's virtual router identifier.
pub(crate) const VRID: u8 = 51;

impl Check {
    /// Longest time from a real server's refusal of connections until the check has taken it out: a whole interval
    /// before the first failed try, then the retries. Refusals come at once, so no timeout is part of it.
    pub(crate) fn detection(&self) -> Duration {
        self.interval + self.retry_delay * self.retries
    }
}

impl Settings {
    /// Longest time without an Active router after one is gone.
    pub(crate) fn vrrp_outage(&self) -> Duration {
        vrrp_outage(self.vrrp_version, self.advert, PRIORITY_BACKUP)
    }
}

/// Longest time from an Active's last advert to the first of a Backup of that priority (RFC 9568 §6.1): three adverts and
/// the Backup's skew.
pub(crate) fn vrrp_outage(version: u8, advert: Duration, priority: u8) -> Duration {
    let skew = match version {
        // RFC 3768: (256 - priority) / 256 seconds, whatever the interval.
        2 => Duration::from_secs(1),
        _ => advert,
    };
    advert * 3 + skew.mul_f64(f64::from(256 - u16::from(priority)) / 256.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_times() {
        assert_eq!(SEED.check.detection(), Duration::from_secs(30));
        assert_eq!(FAST.check.detection(), Duration::from_secs(2));
        assert_eq!(SEED.vrrp_outage().as_millis(), 3648);
        assert_eq!(FAST.vrrp_outage().as_millis(), 364);
        assert_eq!(QUICK.vrrp_outage().as_millis(), 72);
    }
}
