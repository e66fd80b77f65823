//! Facts in, findings out.

use std::time::SystemTime;

use fulcrum_proto::finding::{Code, HostRole, Look};
use fulcrum_proto::v1::Finding;
use fulcrum_session::host::facts::{Certificate, Disk};
use fulcrum_session::host::judge;

use crate::raft::LOW_BYTES;

/// Room that a small store wants: eight times that at which no writes are taken any more.
const LITTLE_ROOM: u64 = 8 * LOW_BYTES;
/// A snapshot is written beside the one before, and the log goes on meanwhile: each takes at most what the store holds.
const STORES_OF_ROOM: u64 = 2;

/// What is known of the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The disk of the data directory; none where it cannot be seen.
    pub(super) disk: Option<Disk>,
    /// What the data directory holds.
    pub(super) store_bytes: u64,
    /// This controller's certificates.
    pub(super) certificates: Vec<Certificate>,
}

/// All that is wrong, and what cannot be seen.
pub(super) fn judge(facts: &Facts, now: SystemTime) -> Look {
    let of_disk = facts.disk.iter();
    let mut findings: Vec<Finding> =
        of_disk.flat_map(|disk| judge::inodes(disk).into_iter().chain(room(disk, facts))).collect();
    let certificates = facts.certificates.iter();
    findings.extend(
        certificates.filter_map(|file| judge::certificate(HostRole::Controller, file, now)),
    );
    let unchecked = judge::unseen_disk(facts.disk.as_ref()).into_iter();
    let unchecked = unchecked.chain(judge::no_certificates(&facts.certificates)).collect();
    Look { findings, unchecked }
}

fn room(disk: &Disk, facts: &Facts) -> Option<Finding> {
    let path = disk.path.display().to_string();
    let mebibytes = disk.free_bytes >> 20;
    let remedy = format!(
        "`df -h {path}` shows the disk, `du -xh MOUNT | sort -h | tail` what fills it: free space on it, or give it more"
    );
    if disk.free_bytes < LOW_BYTES {
        let found = format!(
            "its disk has {mebibytes} MiB left: below {} this controller takes no writes and leads no more",
            LOW_BYTES >> 20
        );
        return Some(Code::DiskSpace.error(path, found, remedy));
    }
    let wanted = LITTLE_ROOM.max(LOW_BYTES + STORES_OF_ROOM * facts.store_bytes);
    (disk.free_bytes < wanted).then(|| {
        let found = format!(
            "its disk has {mebibytes} MiB left; the store holds {} MiB, and with log and snapshots wants {} MiB",
            facts.store_bytes >> 20,
            wanted >> 20
        );
        Code::DiskSpace.warning(path, found, remedy)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn facts(free_mib: u64, free_inodes: Option<u64>, store_mib: u64) -> Facts {
        let disk = Disk { path: "/var".into(), free_bytes: free_mib * MIB, free_inodes };
        let ends_at = Ok(SystemTime::UNIX_EPOCH + Duration::from_hours(600_000));
        let certificates = vec![Certificate { path: "/c.pem".into(), ends_at }];
        Facts { disk: Some(disk), store_bytes: store_mib * MIB, certificates }
    }

    /// Facts in, `code subject severity` out.
    #[test]
    fn each_fact_has_its_finding() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let ending = |hours: i64| {
            let by = Duration::from_hours(hours.unsigned_abs());
            let ends_at = if hours < 0 { now - by } else { now + by };
            let file = Certificate { path: "/c.pem".into(), ends_at: Ok(ends_at) };
            Facts { certificates: vec![file], ..facts(9_000, None, 1) }
        };
        let cases: [(&str, Facts, &[&str]); 10] = [
            ("ample", facts(9_000, Some(1_000_000), 10), &[]),
            ("nothing is wanted of inodes that are not counted", facts(9_000, None, 10), &[]),
            ("a large store", facts(9_000, None, 5_000), &["disk-space /var Warning"]),
            ("little room", facts(511, None, 1), &["disk-space /var Warning"]),
            ("just enough", facts(512, None, 224), &[]),
            ("no writes any more", facts(63, None, 1), &["disk-space /var Error"]),
            ("no inode", facts(9_000, Some(0), 1), &["disk-space /var Error"]),
            ("few inodes", facts(9_000, Some(999), 1), &["disk-space /var Warning"]),
            ("ends soon", ending(24), &["certificate /c.pem Warning"]),
            ("has ended", ending(-24), &["certificate /c.pem Error"]),
        ];
        for (what, facts, expected) in cases {
            let Look { findings, unchecked } = judge(&facts, now);
            let told = findings.iter();
            let told: Vec<String> =
                told.map(|f| format!("{} {} {:?}", f.code, f.subject, f.severity())).collect();
            assert_eq!(told, expected, "{what}");
            assert_eq!(unchecked, [], "{what}");
        }
        let unseen = judge(&Facts::default(), now);
        let codes: Vec<&str> = unseen.unchecked.iter().map(|unseen| &*unseen.code).collect();
        assert_eq!((unseen.findings.len(), codes), (0, vec!["disk-space", "certificate"]));
    }

    #[test]
    fn a_controllers_remedy_is_its_own() {
        let found = &judge(&facts(63, None, 1), SystemTime::UNIX_EPOCH).findings[0];
        assert_eq!(
            found.found,
            "its disk has 63 MiB left: below 64 this controller takes no writes and leads no more"
        );
        assert!(found.remedy.starts_with("`df -h /var` shows the disk"), "{}", found.remedy);
    }
}
