//! What controllers tell of their own hosts, by the mesh.

use fulcrum_proto::finding::Code;
use fulcrum_proto::v1;

use super::cluster::Cluster;

/// Every controller looks at its host, compares its clock with both others, and tells whoever asks any of them.
#[tokio::test(flavor = "multi_thread")]
async fn every_controller_tells_of_every_host() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        node.until("all is looked at", |topology| {
            // They speak plain text, so there are no certificates to look at.
            let is_known = |controller: &v1::ControllerStatus| {
                let unchecked = controller.unchecked.iter().map(|unchecked| &unchecked.code);
                controller.reachable && unchecked.eq([Code::Certificate.as_str()])
            };
            topology.controllers.len() == 3 && topology.controllers.iter().all(is_known)
        })
        .await;
        let controllers = node.status().await.controllers;
        let skews = controllers.iter().flat_map(|controller| &controller.findings);
        let skews = skews.filter(|finding| finding.code == Code::ClockSkew.as_str());
        assert_eq!(skews.count(), 0, "they have one clock: {controllers:?}");
    }
    cluster.stop().await;
}
