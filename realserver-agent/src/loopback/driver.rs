//! Puts [`super::plan`]'s steps in force.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fulcrum_model::VipEvidence;
use fulcrum_model::plan::HostTunnel;

use super::journal::Journal;
use super::netlink::{Addresses, HostAddresses};
use super::plan::{self, Desired, Observed, Step};
use super::tunnels::{self, Need};
use super::{arp, workshop};

/// Why the loopback cannot be brought to what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// A VIP cannot be added or removed.
    #[error("{action} {vip} on lo: {source}{}", remedy(.source))]
    Address {
        /// `bind` or `unbind`.
        action: &'static str,
        /// The VIP.
        vip: IpAddr,
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
    pub vips: BTreeSet<IpAddr>,
    /// VIPs that are no longer wanted but still have connections.
    pub busy: BTreeSet<IpAddr>,
    /// Tunnels to take packets out of; where none are given, what is there stays.
    pub tunnels: Option<Vec<HostTunnel>>,
    /// Own addresses of the real servers: the interfaces that carry them keep quiet too.
    pub rips: BTreeSet<IpAddr>,
}

impl Wanted {
    fn desired(&self) -> Desired {
        Desired {
            vips: self.vips.clone(),
            busy: self.busy.clone(),
            needs: self.tunnels.as_deref().map(tunnels::needs),
        }
    }
}

/// What one turn did and saw.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Steps taken.
    pub steps: Vec<Step>,
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
        failed: &BTreeMap<Need, String>,
    ) -> Self {
        let needs = desired.needs.iter();
        Self {
            steps,
            evidence: plan::evidence(desired, seen, memory, failed),
            ends: needs
                .flat_map(|needs| tunnels::ends(needs, &seen.tunnels, &memory.tunnels, failed))
                .collect(),
        }
    }
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
        let desired = wanted.desired();
        let observed = self.observe(wanted, &desired, journal.memory()).await?;
        let mut planned = plan::plan(&desired, &observed, journal.memory());
        journal.remember(planned.before_steps.clone()).map_err(journal_error)?;
        let failed = self.perform(&planned.steps).await?;
        planned.after_steps.tunnels.keep(&planned.before_steps.tunnels, &failed.stuck);
        journal.remember(planned.after_steps).map_err(journal_error)?;
        let seen = if planned.steps.is_empty() {
            observed
        } else {
            self.observe(wanted, &desired, journal.memory()).await?
        };
        Ok(Turn::new(planned.steps, &desired, &seen, journal.memory(), &failed.needs))
    }

    /// As [`Self::reconcile`], without doing or remembering anything: the steps are those that would be taken.
    ///
    /// # Errors
    /// [`LoopbackError`] names what cannot be read.
    pub async fn hold_back(&self, wanted: &Wanted) -> Result<Turn, LoopbackError> {
        let (observed, memory) = self.look(wanted).await?;
        let desired = wanted.desired();
        let planned = plan::plan(&desired, &observed, &memory);
        Ok(Turn::new(planned.steps, &desired, &observed, &memory, &BTreeMap::new()))
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
        let observed = self.observe(wanted, &wanted.desired(), journal.memory()).await?;
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
        let proxied = if desired.vips.iter().any(IpAddr::is_ipv6) {
            workshop::proxied(&self.addresses).await?
        } else {
            BTreeMap::new()
        };
        let tunnels = workshop::observe(&host, desired, &memory.tunnels);
        Ok(Observed {
            bound: host.loopback,
            settings,
            elsewhere: workshop::elsewhere(host.interface_of, &memory.tunnels),
            proxied,
            tunnels,
        })
    }

    /// Takes the steps. One for a tunnel that fails is told and keeps nobody from the others.
    async fn perform(&self, steps: &[Step]) -> Result<Failed, LoopbackError> {
        let mut failed = Failed::default();
        for step in steps {
            match step {
                Step::Set(setting, value) => {
                    tracing::info!(%setting, value, "set");
                    arp::write(setting, *value).map_err(|source| LoopbackError::Setting {
                        setting: setting.to_string(),
                        source,
                    })?;
                }
                Step::Bind(vip) => {
                    tracing::info!(%vip, "bind to lo");
                    let answer = self.addresses.bind(*vip).await;
                    answer.map_err(|source| LoopbackError::Address {
                        action: "bind",
                        vip: *vip,
                        source,
                    })?;
                }
                Step::Unbind(vip) => {
                    tracing::info!(%vip, "unbind from lo");
                    let answer = self.addresses.unbind(*vip).await;
                    answer.map_err(|source| LoopbackError::Address {
                        action: "unbind",
                        vip: *vip,
                        source,
                    })?;
                }
                Step::Tunnel(step) => {
                    if let Err(why) = workshop::perform(&self.addresses, step).await {
                        failed.note(step, why);
                    }
                }
            }
        }
        Ok(failed)
    }
}

/// What could not be done for tunnels.
#[derive(Default)]
struct Failed {
    /// Why, by what it was for. The first failure is the cause of the others.
    needs: BTreeMap<Need, String>,
    /// Steps that leave something of ours behind.
    stuck: Vec<tunnels::Step>,
}

impl Failed {
    fn note(&mut self, step: &tunnels::Step, why: String) {
        match step.need() {
            Some(need) => {
                self.needs.entry(need).or_insert(why);
            }
            None => {
                tracing::warn!(%step, why, "not done, and tried again");
                self.stuck.push(step.clone());
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
