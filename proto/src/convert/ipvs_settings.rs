//! A director's settings of IPVS as a whole, both ways. Intent and plans say them in the same words.

use std::time::Duration;

use fulcrum_model::ipvs_settings::MAX_TIMEOUT;
use fulcrum_model::{ConnReuseMode, IpvsSettings, SyncThreshold};

use super::duration::duration_to_wire;
use super::fields::Fields;
use crate::v1;

pub(super) fn ipvs_settings(
    fields: &mut Fields<'_>,
    wire: &v1::IpvsSettings,
) -> Option<IpvsSettings> {
    let tcp_timeout = timeout(fields, "tcp_timeout", wire.tcp_timeout.as_ref());
    let tcp_fin_timeout = timeout(fields, "tcp_fin_timeout", wire.tcp_fin_timeout.as_ref());
    let udp_timeout = timeout(fields, "udp_timeout", wire.udp_timeout.as_ref());
    let conn_reuse_mode = match wire.conn_reuse_mode {
        None => Some(None),
        Some(mode) => fields.number("conn_reuse_mode", mode, ConnReuseMode::new).map(Some),
    };
    let sync_threshold = match wire.sync_threshold {
        None => Some(None),
        Some(wire) => sync_threshold(fields, wire).map(Some),
    };
    Some(IpvsSettings {
        exclusive: wire.exclusive,
        tcp_timeout: tcp_timeout?,
        tcp_fin_timeout: tcp_fin_timeout?,
        udp_timeout: udp_timeout?,
        expire_nodest_conn: wire.expire_nodest_conn,
        expire_quiescent_template: wire.expire_quiescent_template,
        conn_reuse_mode: conn_reuse_mode?,
        sloppy_tcp: wire.sloppy_tcp,
        sloppy_sctp: wire.sloppy_sctp,
        conntrack: wire.conntrack,
        schedule_icmp: wire.schedule_icmp,
        backup_only: wire.backup_only,
        sync_threshold: sync_threshold?,
        ip_forward: wire.ip_forward,
        ipv6_forward: wire.ipv6_forward,
    })
}

pub(super) fn ipvs_settings_to_wire(settings: &IpvsSettings) -> v1::IpvsSettings {
    v1::IpvsSettings {
        exclusive: settings.exclusive,
        tcp_timeout: settings.tcp_timeout.map(duration_to_wire),
        tcp_fin_timeout: settings.tcp_fin_timeout.map(duration_to_wire),
        udp_timeout: settings.udp_timeout.map(duration_to_wire),
        expire_nodest_conn: settings.expire_nodest_conn,
        expire_quiescent_template: settings.expire_quiescent_template,
        conn_reuse_mode: settings.conn_reuse_mode.map(|mode| u32::from(mode.get())),
        sloppy_tcp: settings.sloppy_tcp,
        sloppy_sctp: settings.sloppy_sctp,
        conntrack: settings.conntrack,
        schedule_icmp: settings.schedule_icmp,
        backup_only: settings.backup_only,
        sync_threshold: settings.sync_threshold.map(|threshold| v1::SyncThreshold {
            packets: threshold.packets(),
            period: threshold.period(),
        }),
        ip_forward: settings.ip_forward,
        ipv6_forward: settings.ipv6_forward,
    }
}

/// `Some(None)` when none is given; `None` when refused.
#[expect(clippy::option_option, reason = "refused and not given are different answers")]
fn timeout(
    fields: &mut Fields<'_>,
    field: &str,
    wire: Option<&prost_types::Duration>,
) -> Option<Option<Duration>> {
    let remedy = "use whole seconds from 1s to 2073600s (24 days); leave it out for the host's own";
    fields.seconds_up_to(MAX_TIMEOUT, field, wire, remedy)
}

fn sync_threshold(fields: &mut Fields<'_>, wire: v1::SyncThreshold) -> Option<SyncThreshold> {
    let v1::SyncThreshold { packets, period } = wire;
    let remedy = "packets must be below period, or period 0, and both at most 2147483647; \
                  such as packets: 2, period: 50";
    let found = format_args!("packets {packets}, period {period}");
    fields.accept("sync_threshold", SyncThreshold::new(packets, period), found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> v1::IpvsSettings {
        v1::IpvsSettings::default()
    }

    #[expect(clippy::unnecessary_wraps, reason = "as prost has the field")]
    fn seconds(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    #[test]
    fn what_is_not_given_stays_so() {
        let read = Fields::read(|fields| ipvs_settings(fields, &settings()));
        assert_eq!(read, Ok(IpvsSettings::default()));
        assert_eq!(ipvs_settings_to_wire(&IpvsSettings::default()), settings());
    }

    #[test]
    fn bounds_are_told_with_their_remedies() {
        let timeouts =
            "use whole seconds from 1s to 2073600s (24 days); leave it out for the host's own";
        let threshold = "packets must be below period, or period 0, and both at most 2147483647; \
                         such as packets: 2, period: 50";
        let sync_threshold = |packets, period| Some(v1::SyncThreshold { packets, period });
        let cases = [
            (v1::IpvsSettings { tcp_timeout: seconds(2_073_600, 0), ..settings() }, None),
            (
                v1::IpvsSettings { tcp_timeout: seconds(2_073_601, 0), ..settings() },
                Some(format!("tcp_timeout: 2073601s: {timeouts}")),
            ),
            (
                v1::IpvsSettings { tcp_fin_timeout: seconds(1, 500_000_000), ..settings() },
                Some(format!("tcp_fin_timeout: 1500ms: {timeouts}")),
            ),
            (
                v1::IpvsSettings { udp_timeout: seconds(0, 0), ..settings() },
                Some(format!("udp_timeout: 0s: {timeouts}")),
            ),
            (v1::IpvsSettings { conn_reuse_mode: Some(0), ..settings() }, None),
            (
                v1::IpvsSettings { conn_reuse_mode: Some(4), ..settings() },
                Some("conn_reuse_mode: 4: a connection reuse mode is 0 to 3".to_owned()),
            ),
            (v1::IpvsSettings { sync_threshold: sync_threshold(1, 0), ..settings() }, None),
            (
                v1::IpvsSettings { sync_threshold: sync_threshold(50, 50), ..settings() },
                Some(format!("sync_threshold: packets 50, period 50: {threshold}")),
            ),
        ];
        for (wire, expected) in cases {
            let read = Fields::read(|fields| ipvs_settings(fields, &wire));
            let error = read.as_ref().err().map(ToString::to_string);
            assert_eq!(error, expected, "{wire:?}");
            if let Ok(read) = read {
                assert_eq!(ipvs_settings_to_wire(&read), wire);
            }
        }
    }
}
