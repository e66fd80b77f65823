//! Puts [`super::plan`]'s steps in force.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fulcrum_model::VipEvidence;
use fulcrum_model::plan::HostTunnel;
use tokio::time::Instant;

use super::failed::Failed;
use super::journal::Journal;
use super::netlink::{Addresses, HostAddresses};
use super::plan::{self, Desired, Failures, Observed, Step};
use super::retries::Retries;
use super::tunnels::{self, Need};
use super::{arp, retries, workshop};

/// Why the loopback cannot be brought to what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
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

/// The loopback of this host.
#[derive(Clone, Debug)]
pub struct Loopback {
    addresses: Addresses,
    state_dir: PathBuf,
    boot_id: String,
    retries: Retries,
}

/// What is wanted of the loopback.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// VIPs to bind.
    pub vips: BTreeSet<IpAddr>,
    /// VIPs that are no longer wanted but still have connections.
    pub busy: BTreeSet<IpAddr>,
    /// Tunnels to take packets out of; where none are given, what is there stays.
    pub tunnels: Option<Vec<HostTunnel>>,
    /// Tunnels that are no longer wanted but still have connections.
    pub leaving: Vec<HostTunnel>,
    /// Own addresses of the real servers: the interfaces that carry them keep quiet too.
    pub rips: BTreeSet<IpAddr>,
}

impl Wanted {
    fn desired(&self, waiting: BTreeSet<Need>) -> Desired {
        Desired {
            vips: self.vips.clone(),
            busy: self.busy.clone(),
            needs: self.tunnels.as_deref().map(tunnels::needs),
            leaving: tunnels::needs(&self.leaving),
            waiting,
        }
    }
}

/// What one turn did and saw.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Steps taken.
    pub steps: Vec<Step>,
    /// Why something of ours that is not wanted is still there.
    pub left_behind: Vec<String>,
    /// Evidence after them.
    pub evidence: Vec<VipEvidence>,
    /// What takes packets out of tunnels then.
    pub ends: Vec<tunnels::End>,
}

impl Turn {
    fn new(
        steps: Vec<Step>,
        desired: &Desired,
        seen: &Observed,
        memory: &plan::Memory,
        failed: &Failures,
    ) -> Self {
        let needs = desired.needs.iter();
        Self {
            steps,
            left_behind: Vec::new(),
            evidence: plan::evidence(desired, seen, memory, failed),
            ends: needs
                .flat_map(|needs| {
                    tunnels::ends(needs, &seen.tunnels, &memory.tunnels, &failed.needs)
                })
                .collect(),
        }
    }
}

impl Loopback {
    /// The loopback of this network namespace, with its journal in `state_dir`.
    pub fn new(addresses: Addresses, state_dir: &Path, boot_id: &str) -> Self {
        Self {
            addresses,
            state_dir: state_dir.to_owned(),
            boot_id: boot_id.to_owned(),
            retries: Retries::default(),
        }
    }

    /// Looks, decides, remembers, acts, looks again. What cannot be done for one VIP or tunnel is told in the turn's evidence, and
    /// keeps nobody from the others.
    ///
    /// # Errors
    /// [`LoopbackError`] names the object and the remedy; what was done until then stays and is remembered.
    pub async fn reconcile(&mut self, wanted: &Wanted) -> Result<Turn, LoopbackError> {
        let directory = self.state_dir.clone();
        let journal_error =
            |source| LoopbackError::Journal { directory: directory.clone(), source };
        let mut journal = Journal::open(&self.state_dir, &self.boot_id).map_err(journal_error)?;
        let waiting = self.retries.waiting(Instant::now());
        let desired = wanted.desired(retries::needs_of(&waiting));
        let observed = self.observe(wanted, &desired, journal.memory()).await?;
        let mut planned = plan::plan(&desired, &observed, journal.memory());
        journal.remember(planned.before_steps.clone()).map_err(journal_error)?;
        let failed = self.perform(&planned.steps).await?;
        failed.correct(&mut planned.after_steps, &planned.before_steps);
        journal.remember(planned.after_steps).map_err(journal_error)?;
        let seen = if planned.steps.is_empty() {
            observed
        } else {
            self.observe(wanted, &desired, journal.memory()).await?
        };
        failed.note(&planned.steps, &desired, &mut self.retries);
        planned.steps.retain(|step| !failed.steps.contains(step));
        let mut failures = failed.failures;
        failures.needs.extend(waiting);
        let turn = Turn::new(planned.steps, &desired, &seen, journal.memory(), &failures);
        Ok(Turn { left_behind: failed.left_behind, ..turn })
    }

    /// As [`Self::reconcile`], without doing or remembering anything: the steps are those that would be taken.
    ///
    /// # Errors
    /// [`LoopbackError`] names what cannot be read.
    pub async fn hold_back(&self, wanted: &Wanted) -> Result<Turn, LoopbackError> {
        let (observed, memory) = self.look(wanted).await?;
        let desired = wanted.desired(BTreeSet::new());
        let planned = plan::plan(&desired, &observed, &memory);
        Ok(Turn::new(planned.steps, &desired, &observed, &memory, &Failures::default()))
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
    pub async fn look(&self, wanted: &Wanted) -> Result<(Observed, plan::Memory), LoopbackError> {
        let journal = Journal::open(&self.state_dir, &self.boot_id).map_err(|source| {
            LoopbackError::Journal { directory: self.state_dir.clone(), source }
        })?;
        let observed =
            self.observe(wanted, &wanted.desired(BTreeSet::new()), journal.memory()).await?;
        Ok((observed, journal.memory().clone()))
    }

    async fn observe(
        &self,
        wanted: &Wanted,
        desired: &Desired,
        memory: &plan::Memory,
    ) -> Result<Observed, LoopbackError> {
        let host = self.addresses.read().await?;
        let settings = arp::read(&interfaces(&host, &wanted.rips, memory)).map_err(|source| {
            LoopbackError::Setting { setting: "net.ipv4.conf".to_owned(), source }
        })?;
        let (proxied, proxies_unread) = if desired.vips.iter().any(IpAddr::is_ipv6) {
            match workshop::proxied(&self.addresses).await {
                Ok(proxied) => (proxied, None),
                Err(error) => (BTreeMap::new(), Some(error.to_string())),
            }
        } else {
            (BTreeMap::new(), None)
        };
        let tunnels = workshop::observe(&host, desired, &memory.tunnels);
        // What another program has on lo is its own matter.
        let preferred = host.preferred.intersection(&desired.vips).copied().collect();
        Ok(Observed {
            bound: host.loopback,
            preferred,
            wider: host.wider,
            settings,
            elsewhere: workshop::elsewhere(host.interface_of, &memory.tunnels),
            proxied,
            proxies_unread,
            tunnels,
        })
    }

    /// Takes the steps. One for a VIP or a tunnel that fails keeps nobody from the others.
    async fn perform(&self, steps: &[Step]) -> Result<Failed, LoopbackError> {
        let mut failed = Failed::default();
        for step in steps {
            // The first failure is the cause of the others.
            if failed.is_cause_of(step) {
                failed.steps.push(step.clone());
                continue;
            }
            match step {
                Step::Set(setting, value) => {
                    tracing::info!(%setting, value, "set");
                    arp::write(setting, *value).map_err(|source| LoopbackError::Setting {
                        setting: setting.to_string(),
                        source,
                    })?;
                }
                Step::Bind(vip) => match self.addresses.bind(*vip).await {
                    Ok(()) => tracing::info!(%vip, "bound to lo"),
                    Err(error) => failed.address(step, "bind", *vip, &error),
                },
                Step::Unbind(vip) => match self.addresses.unbind(*vip).await {
                    Ok(()) => tracing::info!(%vip, "unbound from lo"),
                    Err(error) => failed.address(step, "unbind", *vip, &error),
                },
                Step::Tunnel(of_tunnel) => {
                    if let Err(why) = workshop::perform(&self.addresses, of_tunnel).await {
                        failed.tunnel(step, of_tunnel, why);
                    }
                }
            }
        }
        Ok(failed)
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
        .filter(|(address, _)| rips.contains(*address))
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
        let rip: IpAddr = "192.168.1.138".parse().unwrap();
        let host = HostAddresses {
            interface_of: [
                (rip, "eth0".to_owned()),
                ("10.0.0.1".parse().unwrap(), "eth1".to_owned()),
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
        let carries = BTreeSet::from([rip]);
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
