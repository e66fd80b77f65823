//! The plan's virtual servers, and who is touched by which agent and which check.
//!
//! A change costs what it touches, not what there is: among ten thousand virtual servers one more must be in the kernel
//! within milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fulcrum_model::Name;
use fulcrum_model::plan::VirtualServerPlan;
use fulcrum_model::resource::AgentRequirement;

use super::check::CheckKey;
use super::paths::Paths;
use super::plan::Servers;

/// The checks of a virtual server, in the order of its destinations. Virtual servers with the same real servers share them.
type Checks = Arc<[Arc<CheckKey>]>;

/// Virtual servers by name, agent and check.
#[derive(Debug, Default)]
pub struct Index {
    servers: Servers,
    by_agent: BTreeMap<Name, BTreeSet<Name>>,
    by_checks: BTreeMap<Checks, BTreeSet<Name>>,
    /// Where a check stands. Those who want the same share it.
    by_check: BTreeMap<Arc<CheckKey>, BTreeSet<Checks>>,
    checks: BTreeMap<Name, Checks>,
    /// Nobody shares those through VIPs.
    paths: Paths,
}

/// What a change of the plan changes here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// Virtual servers as they were, of those that changed or went.
    pub replaced: Vec<Arc<VirtualServerPlan>>,
    /// Checks that nobody wanted before.
    pub begun: Vec<CheckKey>,
    /// Checks that nobody wants any more.
    pub ended: Vec<CheckKey>,
    /// Agents of real servers of the virtual servers that changed or went.
    pub agents: BTreeSet<Name>,
}

impl Index {
    /// The virtual servers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Virtual servers whose weights depend on an agent.
    pub fn of_agent(&self, agent: &Name) -> Option<&BTreeSet<Name>> {
        self.by_agent.get(agent)
    }

    /// Whether any virtual server's weights depend on a check.
    pub fn has_check(&self, check: &CheckKey) -> bool {
        self.by_check.contains_key(check)
    }

    /// Virtual servers whose weights depend on a check.
    pub fn of_check(&self, check: &CheckKey) -> Option<BTreeSet<Name>> {
        if check.via.is_some() {
            return self.paths.server_of(check).map(|name| BTreeSet::from([name.clone()]));
        }
        let all = self.by_check.get(check)?.iter();
        let servers = all.filter_map(|checks| self.by_checks.get(checks)).flatten();
        Some(servers.cloned().collect())
    }

    /// The checks of a virtual server, in the order of its destinations.
    pub fn checks(&self, virtual_server: &Name) -> &[Arc<CheckKey>] {
        self.checks.get(virtual_server).map_or(&[], |checks| &checks[..])
    }

    /// The checks through VIPs.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// VIPs whose ARP safety is asked of an agent.
    pub fn vips(&self, agent: &Name) -> BTreeSet<IpAddr> {
        let names = self.by_agent.get(agent).into_iter().flatten();
        let servers = names.filter_map(|name| self.servers.get(name));
        servers.flat_map(|server| server.vips.iter().copied()).collect()
    }

    /// Takes virtual servers that are new or differ, and lets go of those that are removed.
    pub fn change(&mut self, changed: &[Arc<VirtualServerPlan>], removed: &[Name]) -> Reindexed {
        let mut reindexed = Reindexed::default();
        let (mut left, mut left_paths) = (BTreeSet::new(), BTreeSet::new());
        for name in changed.iter().map(|server| &server.name).chain(removed) {
            self.take_out(name, &mut reindexed, &mut left);
            self.paths.take_out(name, &mut left_paths);
        }
        for server in changed {
            self.put_in(server, &mut reindexed);
            self.paths.put_in(server, &mut reindexed.begun);
        }
        reindexed.ended = self.paths.let_go(left_paths);
        for check in self.let_go(left) {
            self.by_check.remove(&check);
            reindexed.ended.push(CheckKey::clone(&check));
        }
        self.by_agent.retain(|_, servers| !servers.is_empty());
        reindexed
    }

    /// Forgets those of `left` that no virtual server has any more, and answers with the checks that nobody wants now.
    fn let_go(&mut self, left: BTreeSet<Checks>) -> BTreeSet<Arc<CheckKey>> {
        let mut unwanted = BTreeSet::new();
        for checks in left {
            if !self.by_checks.get(&checks).is_some_and(BTreeSet::is_empty) {
                continue;
            }
            self.by_checks.remove(&checks);
            for check in checks.iter() {
                if let Some(all) = self.by_check.get_mut(check) {
                    all.remove(&checks);
                    if all.is_empty() {
                        unwanted.insert(Arc::clone(check));
                    }
                }
            }
        }
        unwanted
    }

    /// Leaves empty sets behind, for what is put in next most often belongs there again.
    fn take_out(&mut self, name: &Name, reindexed: &mut Reindexed, left: &mut BTreeSet<Checks>) {
        let Some(server) = self.servers.remove(name) else { return };
        for destination in server.all_destinations() {
            if let Some(servers) = self.by_agent.get_mut(&destination.agent) {
                servers.remove(name);
                reindexed.agents.insert(destination.agent.clone());
            }
        }
        if let Some(checks) = self.checks.remove(name) {
            if let Some(servers) = self.by_checks.get_mut(&checks) {
                servers.remove(name);
            }
            left.insert(checks);
        }
        reindexed.replaced.push(server);
    }

    fn put_in(&mut self, server: &Arc<VirtualServerPlan>, reindexed: &mut Reindexed) {
        let name = &server.name;
        let mut checks = Vec::with_capacity(server.destinations.len());
        if server.agent == AgentRequirement::Required {
            for destination in server.all_destinations() {
                let agent = &destination.agent;
                self.by_agent.entry(agent.clone()).or_default().insert(name.clone());
                reindexed.agents.insert(agent.clone());
            }
        }
        // The sorry server has no check: it serves when nobody else can.
        for destination in server.destinations.iter() {
            let check = CheckKey::new(destination.rip, destination.port, &server.check);
            let check = if let Some((known, _)) = self.by_check.get_key_value(&check) {
                Arc::clone(known)
            } else {
                reindexed.begun.push(check.clone());
                Arc::new(check)
            };
            self.by_check.entry(Arc::clone(&check)).or_default();
            checks.push(check);
        }
        let mut checks: Checks = checks.into();
        if let Some((known, _)) = self.by_checks.get_key_value(&checks) {
            checks = Arc::clone(known);
        } else {
            for check in checks.iter() {
                self.by_check.entry(Arc::clone(check)).or_default().insert(Arc::clone(&checks));
            }
        }
        self.by_checks.entry(Arc::clone(&checks)).or_default().insert(name.clone());
        self.checks.insert(name.clone(), checks);
        self.servers.insert(name.clone(), Arc::clone(server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{name, rip, virtual_server};
    use fulcrum_model::{Check, Port};

    fn check(real_server: &str) -> CheckKey {
        CheckKey::new(rip(real_server), Port::new(80).expect("a port"), &Check::default())
    }

    #[test]
    fn a_change_touches_what_it_names() {
        let mut index = Index::default();
        let a = Arc::new(virtual_server("a", 1, &["web1", "web2"]));
        let b = Arc::new(virtual_server("b", 2, &["web2"]));
        let first = index.change(&[Arc::clone(&a), Arc::clone(&b)], &[]);
        assert_eq!(first.begun, [check("web1"), check("web2")]);
        assert_eq!((first.ended.len(), first.replaced.len()), (0, 0));
        assert_eq!(index.vips(&name("web2")).len(), 2);

        let smaller = Arc::new(virtual_server("a", 1, &["web3"]));
        let second = index.change(&[Arc::clone(&smaller)], &[]);
        assert_eq!(second.replaced, [a]);
        assert_eq!((second.begun, second.ended), (vec![check("web3")], vec![check("web1")]));
        assert_eq!(second.agents, ["web1", "web2", "web3"].map(name).into());
        assert_eq!(index.of_agent(&name("web1")), None);

        // The same again begins and ends nothing.
        let again = index.change(&[smaller], &[]);
        assert_eq!((again.begun.len(), again.ended.len()), (0, 0));

        let last = index.change(&[], &[name("a"), name("b"), name("c")]);
        assert_eq!(last.ended, [check("web2"), check("web3")]);
        assert!(index.servers().is_empty() && index.of_check(&check("web2")).is_none());
    }
}
