//! The ARP settings under `/proc/sys/net/ipv4/conf`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::plan::{ArpKey, ArpSetting};

fn path(setting: &ArpSetting) -> PathBuf {
    PathBuf::from("/proc/sys/net/ipv4/conf").join(&setting.interface).join(setting.key.as_str())
}

/// Reads both settings of `all` and of each interface. An interface that has gone meanwhile is left out.
///
/// # Errors
/// `/proc/sys` cannot be read, or holds no number.
pub fn read(interfaces: &BTreeSet<String>) -> io::Result<BTreeMap<ArpSetting, u32>> {
    let mut settings = BTreeMap::new();
    for interface in std::iter::once("all").chain(interfaces.iter().map(String::as_str)) {
        for key in ArpKey::ALL {
            let setting = ArpSetting { interface: interface.to_owned(), key };
            let text = match std::fs::read_to_string(path(&setting)) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound && interface != "all" => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let value = text.trim().parse().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{setting} reads {text:?}"))
            })?;
            settings.insert(setting, value);
        }
    }
    Ok(settings)
}

/// Writes one setting.
///
/// # Errors
/// The kernel refuses, most often for want of `CAP_NET_ADMIN` or because `/proc/sys` is mounted read-only.
pub fn write(setting: &ArpSetting, value: u32) -> io::Result<()> {
    std::fs::write(path(setting), value.to_string())
}
