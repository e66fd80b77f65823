//! Which values are wanted: the stack of wishes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fulcrum_model::{IpvsSettings, SyncThreshold};

use super::{InterfaceName, Setting, Sysctl, Timeout};
use crate::ipvs::HostSettings;

/// A wish for a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ipvs) struct Wish {
    /// The value.
    pub(super) value: String,
    /// Who has it.
    pub(super) source: Source,
}

/// Who has a wish, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A relay, for a moment.
    Relay,
    /// The plan.
    Plan,
    /// Checks through VIPs.
    Path,
    /// Fulcrum's default, which takes the place of this value of the kernel's own, and of no other.
    Default {
        /// The kernel's own value.
        in_place_of: &'static str,
        /// What is lost without it, as the end of a sentence.
        lost: &'static str,
    },
}

/// Wishes by setting.
pub(in crate::ipvs) type Wishes = BTreeMap<Setting, Wish>;

/// Sysctl, the kernel's own value, Fulcrum's default, and what is lost without it.
const DEFAULTS: [(Sysctl, &str, &str, &str); 4] = [
    (
        Sysctl::ExpireNodestConn,
        "0",
        "1",
        ", so clients that use a port again may be led to a dead real server",
    ),
    (
        Sysctl::ExpireQuiescentTemplate,
        "0",
        "1",
        ", so persistent clients stay on a real server of weight 0",
    ),
    (
        Sysctl::ConnReuseMode,
        "1",
        "3",
        ", so connections of clients that use a port again are not told to the other directors by the kernel",
    ),
    (
        Sysctl::SyncThreshold,
        "3 50",
        "2 50",
        ", so the kernel tells of a connection at its third packet only",
    ),
];

/// What is wanted by the plan's settings, while a relay lasts or not.
pub(in crate::ipvs) fn wishes(settings: &HostSettings, is_relaying: bool) -> Wishes {
    let HostSettings { ordered, synchronises, answers: _ } = settings;
    let mut wishes = ordered_values(ordered)
        .into_iter()
        .filter_map(|(setting, value)| {
            Some((setting, Wish { value: value?, source: Source::Plan }))
        })
        .collect::<Wishes>();
    for (sysctl, in_place_of, value, lost) in DEFAULTS {
        if sysctl != Sysctl::SyncThreshold || *synchronises {
            let source = Source::Default { in_place_of, lost };
            let wish = Wish { value: value.to_owned(), source };
            wishes.entry(Setting::Sysctl(sysctl)).or_insert(wish);
        }
    }
    if is_relaying {
        let wish = Wish { value: "1".to_owned(), source: Source::Relay };
        wishes.insert(Setting::Sysctl(Sysctl::SloppyTcp), wish);
    }
    wishes
}

/// What checks through VIPs want of the interfaces that their answers come in by. Not only while the director holds a VIP: in the
/// moment in which it takes one an answer would be lost, and the real server look gray.
pub(in crate::ipvs) fn accept_local(interfaces: BTreeSet<InterfaceName>) -> Wishes {
    let wish = || Wish { value: "1".to_owned(), source: Source::Path };
    interfaces.into_iter().map(|interface| (Setting::AcceptLocal(interface), wish())).collect()
}

fn ordered_values(settings: &IpvsSettings) -> [(Setting, Option<String>); 14] {
    let seconds = |timeout: Option<Duration>| timeout.map(|timeout| timeout.as_secs().to_string());
    let flag = |flag: Option<bool>| flag.map(|flag| u8::from(flag).to_string());
    let threshold =
        |threshold: SyncThreshold| format!("{} {}", threshold.packets(), threshold.period());
    [
        (Setting::Timeout(Timeout::Tcp), seconds(settings.tcp_timeout)),
        (Setting::Timeout(Timeout::TcpFin), seconds(settings.tcp_fin_timeout)),
        (Setting::Timeout(Timeout::Udp), seconds(settings.udp_timeout)),
        (Setting::Sysctl(Sysctl::ExpireNodestConn), flag(settings.expire_nodest_conn)),
        (
            Setting::Sysctl(Sysctl::ExpireQuiescentTemplate),
            flag(settings.expire_quiescent_template),
        ),
        (
            Setting::Sysctl(Sysctl::ConnReuseMode),
            settings.conn_reuse_mode.map(|mode| mode.get().to_string()),
        ),
        (Setting::Sysctl(Sysctl::SloppyTcp), flag(settings.sloppy_tcp)),
        (Setting::Sysctl(Sysctl::SloppySctp), flag(settings.sloppy_sctp)),
        (Setting::Sysctl(Sysctl::Conntrack), flag(settings.conntrack)),
        (Setting::Sysctl(Sysctl::ScheduleIcmp), flag(settings.schedule_icmp)),
        (Setting::Sysctl(Sysctl::BackupOnly), flag(settings.backup_only)),
        (Setting::Sysctl(Sysctl::SyncThreshold), settings.sync_threshold.map(threshold)),
        (Setting::Sysctl(Sysctl::IpForward), flag(settings.ip_forward)),
        (Setting::Sysctl(Sysctl::Ipv6Forward), flag(settings.ipv6_forward)),
    ]
}

#[cfg(test)]
mod tests {
    use fulcrum_model::ConnReuseMode;

    use super::*;

    fn told(ordered: IpvsSettings, synchronises: bool, is_relaying: bool) -> Vec<String> {
        let settings = HostSettings { ordered, synchronises, ..HostSettings::default() };
        let wishes = wishes(&settings, is_relaying);
        let told = wishes.iter().map(|(setting, Wish { value, source })| {
            let name = setting.name();
            let source = match source {
                Source::Relay => "relay".to_owned(),
                Source::Plan => "plan".to_owned(),
                Source::Path => "path".to_owned(),
                Source::Default { in_place_of, .. } => format!("for {in_place_of}"),
            };
            format!("{} {value} {source}", name.rsplit('.').next().unwrap_or_default())
        });
        told.collect()
    }

    #[test]
    fn a_relay_goes_before_the_plan_and_the_plan_before_defaults() {
        let defaults = [
            "expire_nodest_conn 1 for 0",
            "expire_quiescent_template 1 for 0",
            "conn_reuse_mode 3 for 1",
        ];
        let none = IpvsSettings::default();
        let mode = ConnReuseMode::new(2).expect("in range");
        let given = IpvsSettings {
            tcp_timeout: Some(Duration::from_mins(10)),
            expire_nodest_conn: Some(false),
            conn_reuse_mode: Some(mode),
            sloppy_tcp: Some(false),
            sync_threshold: SyncThreshold::new(7, 70),
            ip_forward: Some(true),
            ..none
        };
        let ordered = |sloppy_tcp, threshold: &'static [&'static str]| {
            let first = ["tcp_timeout 600 plan", "expire_nodest_conn 0 plan", defaults[1]];
            let second = ["conn_reuse_mode 2 plan", sloppy_tcp];
            [&first[..], &second, threshold, &["ip_forward 1 plan"]].concat()
        };
        let threshold = &["sync_threshold 7 70 plan"];
        let cases = [
            (none, false, false, defaults.to_vec()),
            (none, true, false, [&defaults[..], &["sync_threshold 2 50 for 3 50"]].concat()),
            (none, false, true, [&defaults[..], &["sloppy_tcp 1 relay"]].concat()),
            (given, true, false, ordered("sloppy_tcp 0 plan", threshold)),
            (given, false, true, ordered("sloppy_tcp 1 relay", threshold)),
        ];
        for (settings, synchronises, is_relaying, expected) in cases {
            assert_eq!(told(settings, synchronises, is_relaying), expected, "{settings:?}");
        }
    }
}
