//! The hooks and filters that mark packets for relay.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::Writer;
use crate::addresses::relay_filter;

impl Writer {
    /// Adds and removes the filters that mark packets for relay.
    pub(super) fn relay(&mut self) {
        let wanted = self.order.relays.clone();
        let made = self.journal.entries().filters.clone();
        for (interface, vip) in wanted.difference(&made) {
            let Some(index) = self.kernel.index(interface) else { continue };
            if let Err(error) = self.add_filter(interface, index, *vip) {
                self.warn_of_relay(interface, &error);
            }
        }
        for (interface, vip) in made.difference(&wanted) {
            if let Some(index) = self.kernel.index(interface)
                && let Err(error) = relay_filter::remove(&mut self.requests, index, *vip)
            {
                tracing::warn!(interface, %vip, %error, "cannot remove the relay filter");
            }
            self.note(|entries| {
                entries.filters.remove(&(interface.clone(), *vip));
            });
        }
    }

    fn add_filter(&mut self, interface: &str, index: u32, vip: IpAddr) -> io::Result<()> {
        relay_filter::add(&mut self.requests, index, vip)?;
        self.note(|entries| {
            entries.filters.insert((interface.to_owned(), vip));
        });
        Ok(())
    }

    /// Keeps the hooks for relay filters on the interfaces of VRRP. The kernel drops what is being
    /// sent on an interface while a hook is made or removed: so that is not done at a hand-over,
    /// but when an instance begins to use the interface, and after the last one has left it.
    pub(super) fn keep_hooks(&mut self) {
        let index = |name: &String| Some((name.clone(), self.kernel.index(name)?));
        let wanted: BTreeSet<(String, u32)> = self.order.hooks.iter().filter_map(index).collect();
        for (interface, index) in wanted.difference(&self.hooks.clone()) {
            match relay_filter::add_hook(&mut self.requests, *index) {
                Ok(true) => self.note(|entries| {
                    entries.qdiscs.insert(interface.clone());
                }),
                Ok(false) => {}
                Err(error) => self.warn_of_relay(interface, &error),
            }
        }
        for (interface, index) in std::mem::take(&mut self.hooks).difference(&wanted) {
            if !self.journal.entries().qdiscs.contains(interface) {
                continue;
            }
            if let Err(error) = relay_filter::remove_hook(&mut self.requests, *index) {
                tracing::warn!(interface, %error, "cannot remove the clsact queueing discipline");
            }
            self.note(|entries| {
                entries.qdiscs.remove(interface);
            });
        }
        self.hooks = wanted;
    }

    fn warn_of_relay(&mut self, interface: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.relay_fails, true) {
            tracing::warn!(
                interface,
                %error,
                "connections in flight may be reset at a hand-over, because their packets cannot \
                 be marked: load the kernel modules sch_ingress, cls_flower and act_skbedit"
            );
        }
    }
}
