//! Which plans a director refuses although each of their fields is well-formed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fulcrum_model::plan::{VirtualServerPlan, VrrpInstancePlan};
use fulcrum_model::{ForwardingMethod, Name, PlanVersion, path};

use super::paths;

/// Virtual servers of a plan by name.
pub type Servers = BTreeMap<Name, Arc<VirtualServerPlan>>;

/// What is wrong with a plan, in words with a remedy; empty when nothing is. A controller that validates sends none of
/// these, so each means that something other than a sound controller speaks. Of the virtual servers only those that
/// `changed` are looked into; that no two share an address is looked at for all.
pub fn faults(
    servers: &Servers,
    changed: &[Arc<VirtualServerPlan>],
    instances: &BTreeMap<Name, VrrpInstancePlan>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut by_address = BTreeMap::new();
    for server in servers.values() {
        if let Some(other) = by_address.insert(server.listen, &server.name) {
            faults.push(format!(
                "virtual servers {other} and {} both have {}: give one of them another VIP or port",
                server.name, server.listen
            ));
        }
    }
    for server in changed {
        destination_faults(server, &mut faults);
    }
    let paths: usize = servers.values().map(|server| paths::count(server)).sum();
    if paths > path::MARKS as usize {
        faults.push(format!(
            "it asks for {paths} checks through VIPs, and there are firewall marks for {}: leave check.through_vip out of some pools",
            path::MARKS
        ));
    }
    let mut by_vrid = BTreeMap::new();
    for instance in instances.values() {
        if let Some(other) = by_vrid.insert((&instance.interface, instance.vrid), &instance.name) {
            faults.push(format!(
                "VRRP instances {other} and {} both have VRID {} on {}: give one of them another VRID",
                instance.name, instance.vrid, instance.interface
            ));
        }
    }
    faults
}

fn destination_faults(server: &VirtualServerPlan, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for destination in server.all_destinations() {
        if !seen.insert((destination.rip, destination.port))
            || !names.insert(&destination.real_server)
        {
            faults.push(format!(
                "virtual server {} has real server {} ({}:{}) twice: name it once",
                server.name, destination.real_server, destination.rip, destination.port
            ));
        }
        let mapped = server.listen.port().filter(|port| *port != destination.port);
        if let Some(port) = mapped
            && destination.forwarding == ForwardingMethod::Dr
        {
            faults.push(format!(
                "virtual server {} forwards by dr from port {port} to port {} of {}: dr cannot map ports, make them equal",
                server.name, destination.port, destination.real_server
            ));
        }
    }
}

/// Whether a plan is too drastic to take from a controller whose history we cannot follow: of another cluster or of a
/// restored backup, and without most of the virtual servers that we serve. A newer plan of our own history has passed
/// the cluster's plan check.
///
/// # Errors
/// The reason `UNKNOWN_HISTORY` with the remedy.
pub fn guard(
    held: &Servers,
    running: Option<&PlanVersion>,
    offered: &PlanVersion,
    keeps: impl Fn(&Name) -> bool,
) -> Result<(), String> {
    let Some(running) = running else { return Ok(()) };
    if (&running.cluster_id, running.incarnation) == (&offered.cluster_id, offered.incarnation) {
        return Ok(());
    }
    let deleted = held.keys().filter(|name| !keeps(name)).count();
    if deleted * 2 <= held.len() {
        return Ok(());
    }
    Err(format!(
        "UNKNOWN_HISTORY: plan {offered} would delete {deleted} of {} virtual servers that run by plan {running} of \
         another history: to take it all the same, stop the director, move its saved plan away and start it again",
        held.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{name, servers, virtual_server};
    use fulcrum_model::{Port, Revision};

    fn faults_of<const N: usize>(plans: [VirtualServerPlan; N]) -> Vec<String> {
        let all = servers(plans);
        let changed: Vec<_> = all.values().cloned().collect();
        faults(&all, &changed, &BTreeMap::new())
    }

    #[test]
    fn faults_name_what_collides() {
        let sound = virtual_server("a", 1, &["web1", "web2"]);
        assert_eq!(faults_of([sound]), Vec::<String>::new());

        let mut twin = virtual_server("b", 1, &["web1"]);
        assert_eq!(
            faults_of([virtual_server("a", 1, &["web1"]), twin.clone()]),
            [
                "virtual servers a and b both have TCP 192.168.1.1:80: give one of them another VIP or port"
            ]
        );

        twin.destinations = vec![twin.destinations[0].clone(); 2].into();
        assert_eq!(
            faults_of([twin.clone()]),
            ["virtual server b has real server web1 (10.0.0.1:80) twice: name it once"]
        );

        let mut twin = virtual_server("b", 1, &["web1"]);
        Arc::make_mut(&mut twin.destinations)[0].port = Port::new(8080).expect("a port");
        assert_eq!(
            faults_of([twin]),
            [
                "virtual server b forwards by dr from port 80 to port 8080 of web1: dr cannot map ports, make them equal"
            ]
        );
    }

    /// Name, version we run on, version offered, what it keeps, whether it is taken.
    type Case<'a> = (&'a str, Option<&'a PlanVersion>, PlanVersion, &'a [&'a str], bool);

    #[test]
    fn only_unknown_histories_are_guarded() {
        let version = |cluster: &str, incarnation, revision| PlanVersion {
            cluster_id: cluster.to_owned(),
            incarnation,
            revision: Revision(revision),
        };
        let held = servers([
            virtual_server("a", 1, &["web1"]),
            virtual_server("b", 2, &["web1"]),
            virtual_server("c", 3, &["web1"]),
        ]);
        let ours = version("x", 1, 7);
        let cases: [Case<'_>; 6] = [
            ("the first plan", None, version("y", 1, 1), &[], true),
            ("our history, all gone", Some(&ours), version("x", 1, 8), &[], true),
            ("another cluster, all gone", Some(&ours), version("y", 1, 8), &[], false),
            ("another cluster, most gone", Some(&ours), version("y", 1, 8), &["a"], false),
            ("another cluster, most stay", Some(&ours), version("y", 1, 8), &["a", "b"], true),
            ("a restored backup, all gone", Some(&ours), version("x", 2, 3), &[], false),
        ];
        for (what, running, offered, keeps, taken) in cases {
            let keeps: Vec<Name> = keeps.iter().map(|n| name(n)).collect();
            let result = guard(&held, running, &offered, |name| keeps.contains(name));
            assert_eq!(result.is_ok(), taken, "{what}: {result:?}");
        }
        assert!(guard(&BTreeMap::new(), Some(&ours), &version("y", 1, 1), |_| false).is_ok());
    }
}
