//! What a director's agent manages of the host's IPVS as a whole.
//!
//! Kernel documentation: networking/ipvs-sysctl; `ipvsadm(8)`, `--set`.

use std::time::Duration;

use crate::number::{RangeError, in_range};

/// Longest timeout of connections: the kernel counts its ticks in an `int`, 2,147,483 s at 1,000 ticks a second.
pub const MAX_TIMEOUT: Duration = Duration::from_hours(24 * 24);

/// Settings of a director's host. The default is that of a director that says nothing. What is `None` leaves the host as it
/// is, but for the defaults that the agent has in place of the kernel's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpvsSettings {
    /// Virtual servers that nobody ordered are deleted.
    pub exclusive: bool,
    /// Idle TCP connections are forgotten after this long, in whole seconds up to [`MAX_TIMEOUT`].
    pub tcp_timeout: Option<Duration>,
    /// Closed TCP connections are forgotten after this long, as above.
    pub tcp_fin_timeout: Option<Duration>,
    /// Idle UDP flows are forgotten after this long, as above.
    pub udp_timeout: Option<Duration>,
    /// A connection's entry goes when its real server has been deleted.
    pub expire_nodest_conn: Option<bool>,
    /// A persistent client leaves a real server of weight 0.
    pub expire_quiescent_template: Option<bool>,
    /// What a client's port that is used again does.
    pub conn_reuse_mode: Option<ConnReuseMode>,
    /// A TCP connection may be taken up in its middle.
    pub sloppy_tcp: Option<bool>,
    /// The same for SCTP.
    pub sloppy_sctp: Option<bool>,
    /// Connections are known to the packet filter's connection tracking.
    pub conntrack: Option<bool>,
    /// ICMP errors without a connection are scheduled.
    pub schedule_icmp: Option<bool>,
    /// A receiver of connection synchronisation does not balance.
    pub backup_only: Option<bool>,
    /// When the kernel tells the other directors of a connection.
    pub sync_threshold: Option<SyncThreshold>,
    /// The host forwards IPv4.
    pub ip_forward: Option<bool>,
    /// The host forwards IPv6.
    pub ipv6_forward: Option<bool>,
}

/// `net.ipv4.vs.conn_reuse_mode`: bits 1 and 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnReuseMode(u8);

impl ConnReuseMode {
    /// # Errors
    /// [`RangeError`] beyond 3.
    pub fn new(value: u64) -> Result<Self, RangeError> {
        in_range("a connection reuse mode", 0, 3, value)
            .map(|mode| Self(u8::try_from(mode).unwrap_or(u8::MAX)))
    }

    /// 0 to 3.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// `net.ipv4.vs.sync_threshold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncThreshold {
    packets: u32,
    period: u32,
}

impl SyncThreshold {
    /// Largest of either: the kernel's `int`.
    pub const MAX: u32 = i32::MAX.unsigned_abs();

    /// `None` unless both are at most [`Self::MAX`], and `packets` is below `period` or that is 0, as the kernel wants it
    /// (`proc_do_sync_threshold`, `net/netfilter/ipvs/ip_vs_ctl.c`).
    pub fn new(packets: u32, period: u32) -> Option<Self> {
        let is_in_range = packets <= Self::MAX && period <= Self::MAX;
        (is_in_range && (period == 0 || packets < period)).then_some(Self { packets, period })
    }

    /// A connection is told after so many packets.
    pub fn packets(self) -> u32 {
        self.packets
    }

    /// And again each time after so many; 0 for never again.
    pub fn period(self) -> u32 {
        self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_kernel_s() {
        for (mode, is_one) in [(0, true), (3, true), (4, false), (256, false)] {
            assert_eq!(ConnReuseMode::new(mode).is_ok(), is_one, "{mode}");
        }
        for (packets, period, is_one) in [
            (2, 50, true),
            (0, 1, true),
            (50, 50, false),
            (1, 0, true),
            (SyncThreshold::MAX, 0, true),
            (SyncThreshold::MAX + 1, 0, false),
            (1, SyncThreshold::MAX + 1, false),
        ] {
            assert_eq!(SyncThreshold::new(packets, period).is_some(), is_one, "{packets} {period}");
        }
    }
}
