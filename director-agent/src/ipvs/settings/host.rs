//! Reads and writes settings: sysctls below /proc/sys, timeouts over netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, io};

use fulcrum_ipvs::codec::Timeouts;
use nix::errno::Errno;

use super::setting::{Setting, Timeout};
use super::steps::Found;
use crate::ipvs::IpvsError;
use crate::ipvs::netlink::Kernel;

/// Where settings are. Tests have another than the kernel.
pub(in crate::ipvs) trait Host {
    /// What it holds of these settings.
    async fn read(&mut self, settings: &BTreeSet<Setting>) -> BTreeMap<Setting, Found>;

    /// Gives a setting a value.
    async fn write(&mut self, setting: Setting, value: &str) -> io::Result<()>;
}

/// This network namespace.
pub(in crate::ipvs) struct KernelHost<'a> {
    /// For timeouts; whoever asks for none needs none.
    pub(in crate::ipvs) kernel: Option<&'a mut Kernel>,
}

impl Host for KernelHost<'_> {
    async fn read(&mut self, settings: &BTreeSet<Setting>) -> BTreeMap<Setting, Found> {
        let timeouts = if settings.iter().any(|setting| matches!(setting, Setting::Timeout(_))) {
            self.timeouts().await.map_err(|error| error.to_string())
        } else {
            Ok(Timeouts::default())
        };
        let found = |setting: &Setting| {
            let found = match (setting, setting.path()) {
                (Setting::Timeout(timeout), _) => of_timeout(*timeout, &timeouts),
                (Setting::Sysctl(_) | Setting::AcceptLocal(_), Some(path)) => {
                    of_file(fs::read_to_string(path))
                }
                (Setting::Sysctl(_) | Setting::AcceptLocal(_), None) => Found::Absent,
            };
            (*setting, found)
        };
        settings.iter().map(found).collect()
    }

    async fn write(&mut self, setting: Setting, value: &str) -> io::Result<()> {
        if let Some(path) = setting.path() {
            return fs::write(path, value);
        }
        let Setting::Timeout(timeout) = setting else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        let seconds = value.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut timeouts = Timeouts::default();
        *slot(timeout, &mut timeouts) = Some(seconds);
        match &mut self.kernel {
            Some(kernel) => kernel.set_timeouts(timeouts).await.map_err(as_io),
            None => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }
}

impl KernelHost<'_> {
    async fn timeouts(&mut self) -> io::Result<Timeouts> {
        match &mut self.kernel {
            Some(kernel) => kernel.timeouts().await.map_err(as_io),
            None => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }
}

fn of_file(read: io::Result<String>) -> Found {
    match read {
        Ok(text) => Found::Value(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Absent,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

fn of_timeout(timeout: Timeout, timeouts: &Result<Timeouts, String>) -> Found {
    let mut timeouts = match timeouts {
        Ok(timeouts) => *timeouts,
        Err(why) => return Found::Unreadable(why.clone()),
    };
    slot(timeout, &mut timeouts).map_or(Found::Absent, |seconds| Found::Value(seconds.to_string()))
}

fn slot(timeout: Timeout, timeouts: &mut Timeouts) -> &mut Option<u32> {
    match timeout {
        Timeout::Tcp => &mut timeouts.tcp_s,
        Timeout::TcpFin => &mut timeouts.tcp_fin_s,
        Timeout::Udp => &mut timeouts.udp_s,
    }
}

/// The system's own error where there is one, so that its kind tells the remedy.
fn as_io(error: IpvsError) -> io::Error {
    match error {
        IpvsError::MissingCapability => io::Error::from(Errno::EPERM),
        IpvsError::Refused { refusal, .. } => io::Error::from_raw_os_error(refusal.errno),
        error => io::Error::other(error),
    }
}
