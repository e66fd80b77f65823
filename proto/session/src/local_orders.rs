//! Orders that were given at the agent itself, on disk, so that they outlive a restart of it.
//!
//! The file is JSON, for whoever looks at night. What an order says of time, and what a boot of the host ends, is decided by
//! [`LocalOrders::restored`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use fulcrum_model::Name;
use fulcrum_model::local_order::{Ended, Ending, LocalOrder, LocalOrders, LocalRefusal, Moment};
use fulcrum_proto::convert::{local_order_to_text, local_refusal_to_text};
use fulcrum_runtime::durable::write_atomic;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tonic::Status;

/// The file's name in the state directory.
pub const FILE: &str = "local-orders.json";

/// Why saved orders cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalOrdersError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; let this program's user read it", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not hold orders.
    #[error("{path} holds no local orders ({reason}), so none stand: give those again that you want", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Of this format.
    version: u32,
    boot_id: String,
    freeze: Option<Saved>,
    drains: BTreeMap<String, Saved>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    owner: String,
    reason: String,
    /// These two in milliseconds since 1970.
    since_ms: u64,
    expires_at_ms: u64,
    /// Since boot.
    up_until_ms: u64,
}

const VERSION: u32 = 1;

/// The end of the year 9999, after which RFC 3339 has no words.
const LATEST_MS: u64 = 253_402_300_799_999;

/// Now, by both clocks.
pub fn now() -> Moment {
    // The kernel has this clock since 2.6.39. Without it the wall clock alone would end orders.
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Moment { wall: SystemTime::now(), up }
}

/// The orders of an earlier life of the agent that stand. What has ended since is logged; none stand where the file cannot be
/// used, which is logged too.
pub fn standing(path: &Path, boot_id: &str) -> LocalOrders {
    match load(path, boot_id, now()) {
        Ok((orders, ended)) => {
            ended.iter().for_each(log_end);
            orders
        }
        Err(error) => {
            tracing::error!(%error, "starting without local orders");
            LocalOrders::default()
        }
    }
}

/// Logs that an order has ended by itself.
pub fn log_end(ended: &Ended) {
    let Ended { real_server, order: LocalOrder { owner, reason, .. }, ending } = ended;
    let why = match ending {
        Ending::Expired => "its time is over",
        Ending::Rebooted => "the host has booted since",
    };
    match real_server {
        None => tracing::warn!(owner, reason, why, "the freeze ends by itself"),
        Some(real_server) => {
            tracing::warn!(%real_server, owner, reason, why, "the local drain ends by itself");
        }
    }
}

/// Why no plan is put in force while that freeze stands.
pub fn not_applied(freeze: &LocalOrder) -> String {
    format!("not applied: frozen by {}", local_order_to_text(freeze))
}

/// What whoever gave an order that is refused is told.
pub fn refuse(refusal: LocalRefusal) -> Status {
    Status::failed_precondition(local_refusal_to_text(&refusal))
}

/// Reads saved orders, and what has ended since; none when there is no file.
///
/// # Errors
/// [`LocalOrdersError`] names the file. The agent then starts without orders.
pub fn load(
    path: &Path,
    boot_id: &str,
    now: Moment,
) -> Result<(LocalOrders, Vec<Ended>), LocalOrdersError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(source) => return Err(LocalOrdersError::Read { path: path.to_owned(), source }),
    };
    let refuse = |reason: String| LocalOrdersError::Content { path: path.to_owned(), reason };
    let file: File = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if file.version != VERSION {
        return Err(refuse(format!("version {} instead of {VERSION}", file.version)));
    }
    let mut drains = BTreeMap::new();
    for (name, saved) in file.drains {
        let name: Name = name.parse().map_err(|error| refuse(format!("{name:?}: {error}")))?;
        drains.insert(name, saved.order());
    }
    let freeze = file.freeze.map(Saved::order);
    Ok(LocalOrders::restored(freeze, drains, file.boot_id == boot_id, now))
}

/// Writes orders in place of the saved ones, and waits for the disk.
///
/// # Errors
/// Any error of the file system, with its remedy where known; the file then holds the orders before.
pub fn save(path: &Path, boot_id: &str, orders: &LocalOrders) -> io::Result<()> {
    let drains = orders.drains().iter().map(|(name, order)| (name.to_string(), Saved::of(order)));
    let file = File {
        version: VERSION,
        boot_id: boot_id.to_owned(),
        freeze: orders.frozen().map(Saved::of),
        drains: drains.collect(),
    };
    write_atomic(path, &serde_json::to_vec_pretty(&file)?)
}

impl Saved {
    fn of(order: &LocalOrder) -> Self {
        let since_1970 =
            |time: SystemTime| millis(time.duration_since(UNIX_EPOCH).unwrap_or_default());
        Self {
            owner: order.owner.clone(),
            reason: order.reason.clone(),
            since_ms: since_1970(order.since),
            expires_at_ms: since_1970(order.expires_at),
            up_until_ms: millis(order.up_until),
        }
    }

    fn order(self) -> LocalOrder {
        let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms.min(LATEST_MS));
        LocalOrder {
            owner: self.owner,
            reason: self.reason,
            since: at(self.since_ms),
            expires_at: at(self.expires_at_ms),
            up_until: Duration::from_millis(self.up_until_ms),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use fulcrum_model::local_order::LocalWish;

    use super::*;

    fn moment(seconds: u64) -> Moment {
        let seconds = Duration::from_secs(seconds);
        Moment { wall: UNIX_EPOCH + Duration::from_hours(500_000) + seconds, up: seconds }
    }

    fn orders() -> LocalOrders {
        let wish = |owner: &str, minutes| LocalWish {
            owner: owner.to_owned(),
            reason: "tests".to_owned(),
            duration: Duration::from_mins(minutes),
            force: false,
        };
        let mut orders = LocalOrders::default();
        let name = "web1".parse().expect("a name");
        orders.drain(moment(0), &name, &wish("bob", 20)).expect("nothing is in the way");
        orders.freeze(moment(0), &wish("ann", 10)).expect("nothing is in the way");
        orders
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(FILE);
        let nothing = load(&path, "boot", moment(0)).expect("no file is no error");
        assert_eq!(nothing, (LocalOrders::default(), Vec::new()));
        let orders = orders();
        save(&path, "boot", &orders).expect("written");
        assert_eq!(load(&path, "boot", moment(60)).expect("sound"), (orders, Vec::new()));

        let (rebooted, ended) = load(&path, "another", moment(60)).expect("sound");
        assert!(rebooted.frozen().is_none() && rebooted.drains().len() == 1);
        assert_eq!(ended.len(), 1);
        let (late, ended) = load(&path, "boot", moment(3600)).expect("sound");
        assert!(late.is_empty() && ended.len() == 2);
    }

    #[test]
    fn damage_is_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(FILE);
        let cases = [
            ("{", "EOF"),
            (r#"{"version":9,"boot_id":"b","freeze":null,"drains":{}}"#, "version 9"),
            (r#"{"version":1,"boot_id":"b","freeze":null,"drains":{},"x":1}"#, "unknown field"),
            (
                r#"{"version":1,"boot_id":"b","freeze":null,"drains":{"W":{"owner":"a","reason":"r",
                "since_ms":0,"expires_at_ms":1,"up_until_ms":1}}}"#,
                "\"W\"",
            ),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).expect("written");
            let error = load(&path, "b", moment(0)).expect_err("refused").to_string();
            assert!(error.contains(expected) && error.contains(FILE), "{error}");
        }
        let far = u64::MAX;
        let text = format!(
            r#"{{"version":1,"boot_id":"b","drains":{{}},"freeze":{{"owner":"a","reason":"r","since_ms":{far},"expires_at_ms":{far},"up_until_ms":{far}}}}}"#
        );
        fs::write(&path, text).expect("written");
        let (orders, _) = load(&path, "b", moment(0)).expect("numbers of any size");
        let left = orders.next_expiry(moment(0)).unwrap_or_default();
        assert!(left <= Duration::from_hours(24), "{left:?}");
    }

    #[test]
    fn the_clocks_tell() {
        let (first, second) = (now(), now());
        assert!(first.up > Duration::ZERO && second.up >= first.up);
    }
}
