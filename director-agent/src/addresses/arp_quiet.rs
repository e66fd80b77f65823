//! Keeps ARP quiet for a VIP on loopback, and remembers on disk what it was before.
//!
//! `arp_ignore` and `arp_announce` act as the greatest of `all` and the interface: raising them on
//! the interface alone is enough, and leaves other interfaces as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// Answer only for addresses of the interface that is asked.
const ARP_IGNORE: Setting = Setting { name: "arp_ignore", least: 1 };
/// Speak only with addresses of the interface that speaks.
const ARP_ANNOUNCE: Setting = Setting { name: "arp_announce", least: 2 };
/// Where the kernel has them.
const SYSCTLS: &str = "/proc/sys/net/ipv4/conf";
/// The journal's name in the state directory.
const JOURNAL: &str = "handover.json";

struct Setting {
    name: &'static str,
    least: u32,
}

/// What this program has changed for VIPs on loopback, so that a later life can put it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Journal {
    /// Sysctls and addresses do not outlive the boot.
    boot_id: String,
    /// Settings of interfaces as they were: `arp_ignore`, `arp_announce`.
    quiet: BTreeMap<String, (u32, u32)>,
    /// VIPs that we put on loopback.
    loopback: BTreeSet<Ipv4Addr>,
}

/// The journal and the sysctls.
#[derive(Debug)]
pub(super) struct ArpQuiet {
    journal: Journal,
    file: PathBuf,
    sysctls: PathBuf,
}

impl ArpQuiet {
    /// Takes up what an earlier life of this boot has left.
    pub(super) fn open(state_dir: &Path, boot_id: &str) -> Self {
        Self::open_at(state_dir, boot_id, Path::new(SYSCTLS))
    }

    fn open_at(state_dir: &Path, boot_id: &str, sysctls: &Path) -> Self {
        let file = state_dir.join(JOURNAL);
        let read = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let fresh = Journal { boot_id: boot_id.to_owned(), ..Journal::default() };
        let journal = read.filter(|read: &Journal| read.boot_id == boot_id).unwrap_or(fresh);
        Self { journal, file, sysctls: sysctls.to_owned() }
    }

    /// Interfaces that are quiet by us.
    pub(super) fn interfaces(&self) -> BTreeSet<String> {
        self.journal.quiet.keys().cloned().collect()
    }

    /// VIPs that we put on loopback.
    pub(super) fn loopback(&self) -> &BTreeSet<Ipv4Addr> {
        &self.journal.loopback
    }

    /// Makes an interface quiet; first writes down how it was.
    ///
    /// # Errors
    /// When the journal or a sysctl cannot be written: then nothing has changed for good.
    pub(super) fn quiet(&mut self, interface: &str) -> io::Result<()> {
        let ignore = self.read(interface, &ARP_IGNORE)?;
        let announce = self.read(interface, &ARP_ANNOUNCE)?;
        self.journal.quiet.insert(interface.to_owned(), (ignore, announce));
        self.save()?;
        let raised = self
            .raise(interface, &ARP_IGNORE, ignore)
            .and_then(|()| self.raise(interface, &ARP_ANNOUNCE, announce));
        if raised.is_err() {
            self.restore(interface)?;
        }
        raised
    }

    /// Puts an interface back to how it was.
    ///
    /// # Errors
    /// When a sysctl or the journal cannot be written. An interface that is gone is no error.
    pub(super) fn restore(&mut self, interface: &str) -> io::Result<()> {
        let Some((ignore, announce)) = self.journal.quiet.remove(interface) else { return Ok(()) };
        let written = [(&ARP_IGNORE, ignore), (&ARP_ANNOUNCE, announce)].map(|(setting, value)| {
            if value >= setting.least {
                return Ok(());
            }
            match fs::write(self.path(interface, setting), value.to_string()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        });
        let saved = self.save();
        written.into_iter().chain([saved]).collect()
    }

    /// Notes that a VIP is about to be put on loopback, or has left it.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(super) fn note(&mut self, vip: Ipv4Addr, is_on_loopback: bool) -> io::Result<()> {
        if is_on_loopback {
            self.journal.loopback.insert(vip);
        } else {
            self.journal.loopback.remove(&vip);
        }
        self.save()
    }

    fn read(&self, interface: &str, setting: &Setting) -> io::Result<u32> {
        let text = fs::read_to_string(self.path(interface, setting))?;
        text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn raise(&self, interface: &str, setting: &Setting, value: u32) -> io::Result<()> {
        if value >= setting.least {
            return Ok(());
        }
        fs::write(self.path(interface, setting), setting.least.to_string())
    }

    fn path(&self, interface: &str, setting: &Setting) -> PathBuf {
        self.sysctls.join(interface).join(setting.name)
    }

    /// No sync: what the journal undoes does not outlive the boot either.
    fn save(&self) -> io::Result<()> {
        if self.journal.quiet.is_empty() && self.journal.loopback.is_empty() {
            return match fs::remove_file(&self.file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec(&self.journal)?)?;
        fs::rename(&new, &self.file)
    }
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
    fn settings_are_raised_and_put_back() {
        for (before, quiet) in [(("0", "0"), ("1", "2")), (("2", "1"), ("2", "2"))] {
            let (directory, sysctls) = host(before.0, before.1);
            let mut arp = ArpQuiet::open_at(directory.path(), "boot", &sysctls);
            arp.quiet("eth0").expect("it can be written");
            assert_eq!(settings(&sysctls), (quiet.0.to_owned(), quiet.1.to_owned()));
            arp.restore("eth0").expect("it can be written");
            assert_eq!(settings(&sysctls), (before.0.to_owned(), before.1.to_owned()));
            assert!(!directory.path().join(JOURNAL).exists());
        }
    }

    #[test]
    fn a_later_life_of_the_same_boot_puts_back() {
        let (directory, sysctls) = host("0", "0");
        let vip = Ipv4Addr::new(10, 0, 0, 150);
        let mut arp = ArpQuiet::open_at(directory.path(), "boot", &sysctls);
        arp.quiet("eth0").expect("it can be written");
        arp.note(vip, true).expect("it can be written");
        drop(arp);
        let rebooted = ArpQuiet::open_at(directory.path(), "another boot", &sysctls);
        assert_eq!((rebooted.interfaces().len(), rebooted.loopback().len()), (0, 0));
        let mut arp = ArpQuiet::open_at(directory.path(), "boot", &sysctls);
        assert_eq!(arp.loopback(), &BTreeSet::from([vip]));
        arp.note(vip, false).expect("it can be written");
        arp.restore("eth0").expect("it can be written");
        assert_eq!(settings(&sysctls), ("0".to_owned(), "0".to_owned()));
    }

    #[test]
    fn a_missing_interface_is_an_error_to_quiet_and_none_to_restore() {
        let (directory, sysctls) = host("0", "0");
        let mut arp = ArpQuiet::open_at(directory.path(), "boot", &sysctls);
        arp.quiet("eth0").expect("it can be written");
        fs::remove_dir_all(sysctls.join("eth0")).expect("it can be removed");
        arp.restore("eth0").expect("nothing is left to put back");
        assert!(arp.quiet("eth0").is_err());
        assert!(arp.interfaces().is_empty());
    }
}
