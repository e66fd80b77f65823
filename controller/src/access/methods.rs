//! Who each method is for. A method that is not listed is nobody's: a new one needs its row, and a test misses it.

use fulcrum_model::access::AccessRole;

/// Who a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Everybody, with a certificate or without.
    Anyone,
    /// Everybody with an identity.
    Named,
    /// Agents.
    Agents,
    /// Other controllers.
    Controllers,
    /// Operators who have this role somewhere. What a write may touch is judged when it is known.
    Operators(AccessRole),
    /// Operators who are admin of the whole cluster: it concerns every site, or tells secrets.
    Admins,
}

/// Service, method, and who it is for.
pub type Row = (&'static str, &'static str, For);

const INTENT: &str = "fulcrum.v1.IntentService";
const TOPOLOGY: &str = "fulcrum.v1.TopologyService";
const AGENT: &str = "fulcrum.v1.AgentService";
const EVENT: &str = "fulcrum.v1.EventService";
const CLUSTER: &str = "fulcrum.v1.ClusterService";
const ACCESS: &str = "fulcrum.v1.AccessService";
const HEALTH: &str = "grpc.health.v1.Health";
const RAFT: &str = "fulcrum.internal.v1.RaftService";
const MESH: &str = "fulcrum.internal.v1.MeshService";

/// Of the public listener. Writes are let in with the least role: a dry run changes nothing.
pub const API: &[Row] = &[
    (INTENT, "Apply", For::Operators(AccessRole::Viewer)),
    (INTENT, "CreateResource", For::Operators(AccessRole::Viewer)),
    (INTENT, "UpdateResource", For::Operators(AccessRole::Viewer)),
    (INTENT, "DeleteResource", For::Operators(AccessRole::Viewer)),
    (INTENT, "Rollback", For::Operators(AccessRole::Viewer)),
    (INTENT, "Confirm", For::Operators(AccessRole::Operator)),
    (INTENT, "Get", For::Operators(AccessRole::Viewer)),
    (INTENT, "List", For::Operators(AccessRole::Viewer)),
    (INTENT, "WaitConverged", For::Operators(AccessRole::Viewer)),
    (INTENT, "ListRevisions", For::Operators(AccessRole::Viewer)),
    (INTENT, "GetRevision", For::Operators(AccessRole::Viewer)),
    (INTENT, "GetUnconfirmed", For::Operators(AccessRole::Viewer)),
    (INTENT, "WatchResources", For::Operators(AccessRole::Viewer)),
    (TOPOLOGY, "GetStatus", For::Operators(AccessRole::Viewer)),
    (TOPOLOGY, "WatchTopology", For::Operators(AccessRole::Viewer)),
    (EVENT, "ListEvents", For::Operators(AccessRole::Viewer)),
    (EVENT, "WatchEvents", For::Operators(AccessRole::Viewer)),
    (CLUSTER, "GetCluster", For::Operators(AccessRole::Viewer)),
    (CLUSTER, "TransferLeadership", For::Admins),
    // It holds every secret of the intent.
    (CLUSTER, "Backup", For::Admins),
    (AGENT, "Attach", For::Agents),
    (ACCESS, "GetAuthority", For::Anyone),
    (ACCESS, "Join", For::Anyone),
    (ACCESS, "Renew", For::Named),
    (ACCESS, "GetCaller", For::Named),
    (ACCESS, "ListRefusals", For::Operators(AccessRole::Viewer)),
    // Load balancers and people who look whether anything answers have no identity.
    (HEALTH, "Check", For::Anyone),
    (HEALTH, "Watch", For::Anyone),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", For::Named),
    ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", For::Named),
];

/// Of the controllers' own listener.
pub const PEERS: &[Row] = &[
    (RAFT, "Vote", For::Controllers),
    (RAFT, "AppendEntries", For::Controllers),
    (RAFT, "InstallSnapshot", For::Controllers),
    (RAFT, "ForwardApply", For::Controllers),
    (RAFT, "ForwardRollback", For::Controllers),
    (RAFT, "ForwardWrite", For::Controllers),
    (RAFT, "ReadIndex", For::Controllers),
    (RAFT, "ForwardTransfer", For::Controllers),
    (RAFT, "Identify", For::Controllers),
    (RAFT, "TakeLeadership", For::Controllers),
    (MESH, "Publish", For::Controllers),
    (MESH, "CompareClocks", For::Controllers),
];

/// Who the method of a path, `/fulcrum.v1.IntentService/Apply`, is for; none when it is not listed.
pub fn of(rows: &[Row], path: &str) -> Option<For> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let row = rows.iter().find(|(of, name, _)| *of == service && *name == method);
    row.map(|(_, _, whose)| *whose)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fulcrum_proto::FILE_DESCRIPTOR_SET;
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn every_method_of_the_controllers_is_listed_once() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our own");
        // Those of the agents' own sockets are not a controller's.
        let services = pool.services().filter(|service| !service.name().contains("Local"));
        let paths = |service: prost_reflect::ServiceDescriptor| -> Vec<String> {
            let methods = service.methods();
            methods.map(|method| format!("/{}/{}", service.full_name(), method.name())).collect()
        };
        let declared: BTreeSet<String> = services.flat_map(paths).collect();
        for path in &declared {
            let is_internal = path.starts_with("/fulcrum.internal.");
            let (here, there) = if is_internal { (PEERS, API) } else { (API, PEERS) };
            assert!(of(here, path).is_some(), "{path} has no row: say who it is for");
            assert_eq!(of(there, path), None, "{path}");
        }
        for (service, method, whose) in API.iter().chain(PEERS) {
            let path = format!("/{service}/{method}");
            let is_ours = service.starts_with("fulcrum.");
            assert!(!is_ours || declared.contains(&path), "{path} is no method");
            // What controllers say to each other is theirs alone.
            assert_eq!(service.contains(".internal."), *whose == For::Controllers, "{path}");
        }
        let count = API.iter().chain(PEERS).map(|(service, method, _)| (service, method));
        assert_eq!(count.collect::<BTreeSet<_>>().len(), API.len() + PEERS.len());
    }
}
