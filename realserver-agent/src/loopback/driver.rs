//! Puts [`super::plan`]'s steps in force.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use fulcrum_model::VipEvidence;

use super::arp;
use super::journal::Journal;
use super::netlink::{Addresses, HostAddresses};
use super::plan::{self, Observed, Step};

/// Why the loopback cannot be brought to what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// A VIP cannot be added or removed.
    #[error("{action} {vip} on lo: {source}{}", remedy(.source))]
    Address {
        /// `bind` or `unbind`.
        action: &'static str,
        /// The VIP.
        vip: Ipv4Addr,
        /// Why.
        source: rtnetlink::Error,
    },
    /// Addresses cannot be read.
    #[error("read the host's addresses by netlink: {0}")]
    Read(#[from] rtnetlink::Error),
    /// A setting cannot be read or written.
    #[error(
        "{setting}: {source}; the agent needs CAP_NET_ADMIN and a writable /proc/sys (systemd: no ProtectKernelTunables)"
    )]
    Setting {
        /// Its sysctl name.
        setting: String,
        /// Why.
        source: io::Error,
    },
    /// The journal cannot be read or written.
    #[error("journal in {}: {source}; make the directory writable and free space on its disk", directory.display())]
    Journal {
        /// The state directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn remedy(error: &rtnetlink::Error) -> &'static str {
    match error {
        rtnetlink::Error::NetlinkError(message) if message.raw_code() == -nix::libc::EPERM => {
            "; the agent needs CAP_NET_ADMIN"
        }
        _ => "",
    }
}

/// The loopback of this host.
#[derive(Clone, Debug)]
pub struct Loopback {
    addresses: Addresses,
    state_dir: PathBuf,
    boot_id: String,
}

/// What is wanted of the loopback.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// VIPs to bind.
    pub vips: BTreeSet<Ipv4Addr>,
    /// VIPs that are no longer wanted but still have connections.
    pub busy: BTreeSet<Ipv4Addr>,
    /// Own addresses of the real servers: the interfaces that carry them keep quiet too.
    pub rips: BTreeSet<IpAddr>,
}

/// What one turn did and saw.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Steps taken.
    pub steps: Vec<Step>,
    /// Evidence after them.
    pub evidence: Vec<VipEvidence>,
}

impl Loopback {
    /// The loopback of this network namespace, with its journal in `state_dir`.
    pub fn new(addresses: Addresses, state_dir: &Path, boot_id: &str) -> Self {
        Self { addresses, state_dir: state_dir.to_owned(), boot_id: boot_id.to_owned() }
    }

    /// Looks, decides, remembers, acts, looks again.
    ///
    /// # Errors
    /// [`LoopbackError`] names the object and the remedy; what was done until then stays and is remembered.
    pub async fn reconcile(&self, wanted: &Wanted) -> Result<Turn, LoopbackError> {
        let journal_error =
            |source| LoopbackError::Journal { directory: self.state_dir.clone(), source };
        let mut journal = Journal::open(&self.state_dir, &self.boot_id).map_err(journal_error)?;
        let observed = self.observe(&wanted.rips, journal.memory()).await?;
        let planned = plan::plan(&wanted.vips, &wanted.busy, &observed, journal.memory());
        journal.remember(planned.before_steps).map_err(journal_error)?;
        for step in &planned.steps {
            self.perform(step).await?;
        }
        journal.remember(planned.after_steps).map_err(journal_error)?;
        let seen = if planned.steps.is_empty() {
            observed
        } else {
            self.observe(&wanted.rips, journal.memory()).await?
        };
        Ok(Turn {
            evidence: plan::evidence(&wanted.vips, &seen, journal.memory()),
            steps: planned.steps,
        })
    }

    /// As [`Self::reconcile`], without doing or remembering anything: the steps are those that would be taken.
    ///
    /// # Errors
    /// [`LoopbackError`] names what cannot be read.
    pub async fn hold_back(&self, wanted: &Wanted) -> Result<Turn, LoopbackError> {
        let (observed, memory) = self.look(&wanted.rips).await?;
        let planned = plan::plan(&wanted.vips, &wanted.busy, &observed, &memory);
        Ok(Turn {
            evidence: plan::evidence(&wanted.vips, &observed, &memory),
            steps: planned.steps,
        })
    }

    /// Holds (VIPs unbound until released) or releases.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn hold(&self, held: bool) -> Result<(), LoopbackError> {
        let journal_error =
            |source| LoopbackError::Journal { directory: self.state_dir.clone(), source };
        let mut journal = Journal::open(&self.state_dir, &self.boot_id).map_err(journal_error)?;
        let memory = plan::Memory { held, ..journal.memory().clone() };
        journal.remember(memory).map_err(journal_error)
    }

    /// What the host holds, and what we remember, without changing anything.
    ///
    /// # Errors
    /// Netlink, `/proc/sys` or the journal cannot be read.
    pub async fn look(
        &self,
        rips: &BTreeSet<IpAddr>,
    ) -> Result<(Observed, plan::Memory), LoopbackError> {
        let journal = Journal::open(&self.state_dir, &self.boot_id).map_err(|source| {
            LoopbackError::Journal { directory: self.state_dir.clone(), source }
        })?;
        Ok((self.observe(rips, journal.memory()).await?, journal.memory().clone()))
    }

    async fn observe(
        &self,
        rips: &BTreeSet<IpAddr>,
        memory: &plan::Memory,
    ) -> Result<Observed, LoopbackError> {
        let host = self.addresses.read().await?;
        let settings = arp::read(&interfaces(&host, rips, memory)).map_err(|source| {
            LoopbackError::Setting { setting: "net.ipv4.conf".to_owned(), source }
        })?;
        Ok(Observed { bound: host.loopback, settings, elsewhere: host.interface_of })
    }

    async fn perform(&self, step: &Step) -> Result<(), LoopbackError> {
        match step {
            Step::Set(setting, value) => {
                tracing::info!(%setting, value, "set");
                arp::write(setting, *value).map_err(|source| LoopbackError::Setting {
                    setting: setting.to_string(),
                    source,
                })
            }
            Step::Bind(vip) => {
                tracing::info!(%vip, "bind to lo");
                let answer = self.addresses.bind(*vip).await;
                answer.map_err(|source| LoopbackError::Address {
                    action: "bind",
                    vip: *vip,
                    source,
                })
            }
            Step::Unbind(vip) => {
                tracing::info!(%vip, "unbind from lo");
                let answer = self.addresses.unbind(*vip).await;
                answer.map_err(|source| LoopbackError::Address {
                    action: "unbind",
                    vip: *vip,
                    source,
                })
            }
        }
    }
}

/// The interfaces whose ARP settings matter: those that carry a real server, and those that we changed before and may have
/// to restore, also after the plan has forgotten them.
fn interfaces(
    host: &HostAddresses,
    rips: &BTreeSet<IpAddr>,
    memory: &plan::Memory,
) -> BTreeSet<String> {
    let carrying = host
        .interface_of
        .iter()
        .filter(|(address, _)| rips.contains(&IpAddr::V4(**address)))
        .map(|(_, name)| name.clone());
    let changed = memory.before.keys().map(|setting| setting.interface.clone());
    // `all` is always read.
    carrying.chain(changed).filter(|name| name != "all").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::plan::{ArpKey, ArpSetting};

    #[test]
    fn interfaces_that_we_changed_are_looked_at_until_they_are_restored() {
        let rip = Ipv4Addr::new(192, 168, 1, 138);
        let host = HostAddresses {
            interface_of: [
                (rip, "eth0".to_owned()),
                (Ipv4Addr::new(10, 0, 0, 1), "eth1".to_owned()),
            ]
            .into(),
            ..HostAddresses::default()
        };
        let setting = |interface: &str| ArpSetting {
            interface: interface.to_owned(),
            key: ArpKey::ArpIgnore,
        };
        let changed = plan::Memory {
            before: [(setting("all"), 0), (setting("eth0"), 0), (setting("eth9"), 0)].into(),
            ..plan::Memory::default()
        };
        let carries = BTreeSet::from([IpAddr::V4(rip)]);
        let cases = [
            (&BTreeSet::new(), plan::Memory::default(), vec![]),
            (&carries, plan::Memory::default(), vec!["eth0"]),
            (&BTreeSet::new(), changed.clone(), vec!["eth0", "eth9"]),
            (&carries, changed, vec!["eth0", "eth9"]),
        ];
        for (rips, memory, expected) in cases {
            let found = interfaces(&host, rips, &memory);
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        }
    }
}
