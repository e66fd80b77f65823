//! The devices with virtual MACs: made before VIPs are put on them, removed after the VIPs.

use std::io;
use std::path::Path;

use super::Writer;
use crate::addresses::{Device, arp_quiet, device};

impl Writer {
    /// Makes the devices that are wanted, and brings up those that take packets.
    pub(super) fn keep_devices(&mut self) {
        for (name, wanted) in self.order.devices.clone() {
            // While the interface is not there, the instance waits for it and says so.
            let Some(below) = self.kernel.index(&wanted.interface) else { continue };
            if let Err(error) = self.keep_device(&name, below, &wanted) {
                let interface = &wanted.interface;
                let problem = format!(
                    "cannot keep the device {name} above {interface} for its virtual MAC: {error}; load \
                     the kernel module macvlan, see `ip -d link show {name}`, or leave virtual_mac out"
                );
                tracing::error!(interface, device = name, %error, "no virtual MAC");
                let vips = self.order.vips.keys().filter(|vip| vip.interface == name);
                self.failures.extend(vips.map(|vip| (vip.clone(), problem.clone())));
            }
        }
    }

    fn keep_device(&mut self, name: &str, below: u32, wanted: &Device) -> io::Result<()> {
        // The interface below must not answer ARP for VIPs on the device, or clients get its own MAC.
        arp_quiet::quiet(&mut self.journal, Path::new(arp_quiet::SYSCTLS), &wanted.interface)?;
        let mut found = self.kernel.index(name);
        if let Some(index) =
            found.filter(|index| !self.kernel.is_macvlan(*index, wanted.mac, below))
        {
            self.require_ours(name)?;
            device::remove(&mut self.requests, index)?;
            found = None;
        }
        let index = match found {
            Some(index) => index,
            None => self.make_device(name, below, wanted)?,
        };
        if wanted.is_up && !self.kernel.is_up(index) {
            device::set_up(&mut self.requests, index, true)?;
            self.kernel.set_up(index, true);
        }
        Ok(())
    }

    fn make_device(&mut self, name: &str, below: u32, wanted: &Device) -> io::Result<u32> {
        // Written down first, so that a later life removes it.
        self.journal.edit(|entries| {
            entries.devices.insert(name.to_owned());
        })?;
        device::create(&mut self.requests, name, wanted.mac, below)?;
        self.read();
        let made = self.kernel.index(name);
        let index = made.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        device::configure(Path::new(device::SYSCTLS), name, wanted.family)?;
        tracing::info!(device = name, interface = wanted.interface, "virtual MAC");
        Ok(index)
    }

    /// Whether the interface stands below a device that is wanted, so that its ARP stays quiet.
    pub(super) fn is_below_device(&self, interface: &str) -> bool {
        self.order.devices.values().any(|device| device.interface == interface)
    }

    fn require_ours(&self, name: &str) -> io::Result<()> {
        if self.journal.entries().devices.contains(name) {
            return Ok(());
        }
        let text =
            format!("another program's link has this name; remove it: `ip link delete {name}`");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
    }

    /// Brings down the devices whose VIPs have left, and removes those that are no longer wanted;
    /// answers whether any was removed.
    pub(super) fn rest_devices(&mut self) -> bool {
        let idle = self.order.devices.iter().filter(|(_, device)| !device.is_up);
        for name in idle.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let Some(index) = self.kernel.index(&name) else { continue };
            if !self.kernel.is_up(index) {
                continue;
            }
            match device::set_up(&mut self.requests, index, false) {
                Ok(()) => self.kernel.set_up(index, false),
                Err(error) => tracing::warn!(device = name, %error, "cannot bring it down"),
            }
        }
        let made = self.journal.entries().devices.iter();
        let unwanted: Vec<String> =
            made.filter(|name| !self.order.devices.contains_key(*name)).cloned().collect();
        for name in &unwanted {
            if let Some(index) = self.kernel.index(name)
                && let Err(error) = device::remove(&mut self.requests, index)
            {
                tracing::warn!(device = name, %error, "cannot remove the device of a virtual MAC");
            }
            self.note(|entries| {
                entries.devices.remove(name);
            });
        }
        if !unwanted.is_empty() {
            self.read();
        }
        !unwanted.is_empty()
    }
}
