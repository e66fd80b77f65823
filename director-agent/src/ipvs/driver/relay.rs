//! The relay, the journal that remembers it, and the freeze that it alone outlasts.

use fulcrum_ipvs::{
    AddressFamily, Destination, DestinationKey, DestinationSettings, Forwarding, VirtualServer,
    VirtualServerKey, VirtualServerSettings,
};
use fulcrum_model::Scheduler;

use super::Driver;
use crate::ipvs::Relay;

impl Driver {
    /// Puts on disk what is ours. Without it the driver goes on: traffic matters more than tidiness after a restart.
    pub(super) fn write_journal(&mut self) {
        let made = self.reconciler.made();
        let is_relay = |key: &VirtualServerKey| self.reconciler.is_relay(key);
        match self.journal.write(made, is_relay, &self.settings.notes) {
            Ok(()) => {
                self.problems.journal = None;
                self.reconciler.journal_is_written();
            }
            Err(error) => {
                let problem = format!(
                    "{error}; until then a restart would take virtual servers of ours that are no longer planned for foreign"
                );
                if self.problems.journal.as_ref() != Some(&problem) {
                    tracing::error!(%error, "the IPVS journal cannot be written");
                }
                self.problems.journal = Some(problem);
            }
        }
    }

    /// Leaves everything but relays alone from now on, or no longer.
    pub(super) fn freeze(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
        self.reconciler.set_frozen(is_frozen);
        self.settings.look_now();
        self.progress.send_modify(|progress| progress.is_frozen = is_frozen);
    }

    /// Begins or ends a relay.
    pub(super) fn set_relay(&mut self, relay: Option<Relay>) {
        self.relay = relay;
        self.reconciler.relay(relay.map(relay_entry));
        self.settings.look_now();
    }
}

fn relay_entry(relay: Relay) -> (VirtualServerKey, VirtualServer) {
    let family = AddressFamily::of(relay.director);
    let key = VirtualServerKey::Fwmark { mark: relay.mark, family };
    let destination =
        Destination { settings: DestinationSettings::new(1, Forwarding::Route), connections: None };
    // Under a firewall mark a real server's port is the packet's own.
    let name = DestinationKey { address: relay.director, port: 0 };
    let server = VirtualServer {
        settings: VirtualServerSettings::new(Scheduler::Rr, family),
        destinations: [(name, destination)].into(),
        foreign: false,
    };
    (key, server)
}
