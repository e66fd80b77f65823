//! Keeps ARP quiet for VIPs on loopback.
//!
//! `arp_ignore` and `arp_announce` act as the greatest of `all` and the interface: raising them on
//! the interface alone is enough, and leaves other interfaces as they are.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::journal::Journal;

/// Answer only for addresses of the interface that is asked.
const ARP_IGNORE: Setting = Setting { name: "arp_ignore", least: 1 };
/// Speak only with addresses of the interface that speaks.
const ARP_ANNOUNCE: Setting = Setting { name: "arp_announce", least: 2 };
/// Where the kernel has them.
pub(super) const SYSCTLS: &str = "/proc/sys/net/ipv4/conf";

struct Setting {
    name: &'static str,
    least: u32,
}

/// Makes an interface quiet; first writes down how it was. One that was made quiet before is made so
/// again, should another program have changed it. `sysctls` is [`SYSCTLS`].
///
/// # Errors
/// When the journal or a sysctl cannot be written: then nothing has changed for good.
pub(super) fn quiet(journal: &mut Journal, sysctls: &Path, interface: &str) -> io::Result<()> {
    let ignore = read(sysctls, interface, &ARP_IGNORE)?;
    let announce = read(sysctls, interface, &ARP_ANNOUNCE)?;
    journal.edit(|entries| {
        entries.quiet.entry(interface.to_owned()).or_insert((ignore, announce));
    })?;
    let raised = raise(sysctls, interface, &ARP_IGNORE, ignore)
        .and_then(|()| raise(sysctls, interface, &ARP_ANNOUNCE, announce));
    if raised.is_err() {
        restore(journal, sysctls, interface)?;
    }
    raised
}

/// Puts an interface back to how it was. An interface that is gone is no error.
///
/// # Errors
/// When a sysctl or the journal cannot be written; each is tried.
pub(super) fn restore(journal: &mut Journal, sysctls: &Path, interface: &str) -> io::Result<()> {
    let Some((ignore, announce)) = journal.entries().quiet.get(interface).copied() else {
        return Ok(());
    };
    let written = [(&ARP_IGNORE, ignore), (&ARP_ANNOUNCE, announce)].map(|(setting, value)| {
        write_if_there(&path(sysctls, interface, setting), &value.to_string())
    });
    let saved = journal.edit(|entries| {
        entries.quiet.remove(interface);
    });
    written.into_iter().chain([saved]).collect()
}

/// Writes a setting; one that is not there (its interface is gone, the kernel has no such thing) is no
/// error.
///
/// # Errors
/// When it is there and cannot be written.
pub(super) fn write_if_there(setting: &Path, value: &str) -> io::Result<()> {
    match fs::write(setting, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(sysctls: &Path, interface: &str, setting: &Setting) -> io::Result<u32> {
    let text = fs::read_to_string(path(sysctls, interface, setting))?;
    text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

fn raise(sysctls: &Path, interface: &str, setting: &Setting, value: u32) -> io::Result<()> {
    if value >= setting.least {
        return Ok(());
    }
    fs::write(path(sysctls, interface, setting), setting.least.to_string())
}

fn path(sysctls: &Path, interface: &str, setting: &Setting) -> PathBuf {
    sysctls.join(interface).join(setting.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state directory and sysctls of one interface.
    fn host(ignore: &str, announce: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let sysctls = directory.path().join("conf");
        fs::create_dir_all(sysctls.join("eth0")).expect("a directory");
        fs::write(sysctls.join("eth0/arp_ignore"), ignore).expect("a file");
        fs::write(sysctls.join("eth0/arp_announce"), announce).expect("a file");
        (directory, sysctls)
    }

    fn settings(sysctls: &Path) -> (String, String) {
        let read = |name| fs::read_to_string(sysctls.join("eth0").join(name)).expect("a file");
        (read("arp_ignore"), read("arp_announce"))
    }

    #[test]
    fn settings_are_raised_and_put_back_by_a_later_life_too() {
        for (before, quiet_as) in [(("0", "0"), ("1", "2")), (("2", "1"), ("2", "2"))] {
            let (directory, sysctls) = host(before.0, before.1);
            let mut journal = Journal::open(directory.path(), "boot");
            quiet(&mut journal, &sysctls, "eth0").expect("it can be written");
            assert_eq!(settings(&sysctls), (quiet_as.0.to_owned(), quiet_as.1.to_owned()));
            fs::write(sysctls.join("eth0/arp_ignore"), "0").expect("another program may do so");
            quiet(&mut journal, &sysctls, "eth0").expect("it can be written");
            assert_ne!(settings(&sysctls).0, "0");
            let mut journal = Journal::open(directory.path(), "boot");
            restore(&mut journal, &sysctls, "eth0").expect("it can be written");
            assert_eq!(settings(&sysctls), (before.0.to_owned(), before.1.to_owned()));
            assert!(journal.entries().quiet.is_empty());
        }
    }

    #[test]
    fn a_missing_interface_is_an_error_to_quiet_and_none_to_restore() {
        let (directory, sysctls) = host("0", "0");
        let mut journal = Journal::open(directory.path(), "boot");
        quiet(&mut journal, &sysctls, "eth0").expect("it can be written");
        fs::remove_dir_all(sysctls.join("eth0")).expect("it can be removed");
        restore(&mut journal, &sysctls, "eth0").expect("nothing is left to put back");
        assert!(quiet(&mut journal, &sysctls, "eth0").is_err());
        assert!(journal.entries().quiet.is_empty());
    }
}
