//! Compiles `fulcrum/**/*.proto` with protox, so that no `protoc` is needed.

use std::path::{Path, PathBuf};

use prost::Message as _;

const FILES: [&str; 24] = [
    "fulcrum/v1/ipvs.proto",
    "fulcrum/v1/vrrp.proto",
    "fulcrum/v1/restart.proto",
    "fulcrum/v1/access.proto",
    "fulcrum/v1/event.proto",
    "fulcrum/v1/notification.proto",
    "fulcrum/v1/resources.proto",
    "fulcrum/v1/intent_service.proto",
    "fulcrum/v1/plan.proto",
    "fulcrum/v1/health.proto",
    "fulcrum/v1/finding.proto",
    "fulcrum/v1/arp.proto",
    "fulcrum/v1/local_order.proto",
    "fulcrum/v1/observed.proto",
    "fulcrum/v1/agent_service.proto",
    "fulcrum/v1/access_service.proto",
    "fulcrum/v1/topology_service.proto",
    "fulcrum/v1/event_service.proto",
    "fulcrum/v1/cluster_service.proto",
    "fulcrum/v1/director_local_service.proto",
    "fulcrum/v1/real_server_local_service.proto",
    "fulcrum/internal/v1/raft_service.proto",
    "fulcrum/internal/v1/mesh_service.proto",
    "fulcrum/internal/v1/store.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=fulcrum");
    let descriptors = protox::compile(FILES, [Path::new(".")])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
