//! Arbitrary settings of IPVS.

use std::time::Duration;

use fulcrum_model::ipvs_settings::MAX_TIMEOUT;
use fulcrum_model::{ConnReuseMode, IpvsSettings, SyncThreshold};
use proptest::array::uniform9;
use proptest::option;
use proptest::prelude::*;

fn timeout() -> impl Strategy<Value = Option<Duration>> {
    option::of((1..=MAX_TIMEOUT.as_secs()).prop_map(Duration::from_secs))
}

pub(in super::super) fn settings() -> impl Strategy<Value = IpvsSettings> {
    let mode = (0_u64..=3).prop_map(|mode| ConnReuseMode::new(mode).expect("in range"));
    let threshold = (1..=SyncThreshold::MAX)
        .prop_flat_map(|period| (0..period, Just(period)))
        .prop_map(|(packets, period)| SyncThreshold::new(packets, period).expect("below"));
    let timeouts = (timeout(), timeout(), timeout());
    let flags = uniform9(option::of(any::<bool>()));
    (any::<bool>(), timeouts, flags, option::of(mode), option::of(threshold)).prop_map(
        |(exclusive, (tcp_timeout, tcp_fin_timeout, udp_timeout), flags, mode, threshold)| {
            let [nodest, quiescent, tcp, sctp, conntrack, icmp, backup, v4, v6] = flags;
            IpvsSettings {
                exclusive,
                tcp_timeout,
                tcp_fin_timeout,
                udp_timeout,
                expire_nodest_conn: nodest,
                expire_quiescent_template: quiescent,
                conn_reuse_mode: mode,
                sloppy_tcp: tcp,
                sloppy_sctp: sctp,
                conntrack,
                schedule_icmp: icmp,
                backup_only: backup,
                sync_threshold: threshold,
                ip_forward: v4,
                ipv6_forward: v6,
            }
        },
    )
}
