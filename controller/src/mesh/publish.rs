//! Tells a peer of the agents attached here.

use std::sync::Arc;
use std::time::Duration;

use fulcrum_proto::internal::v1::PublishRequest;
use fulcrum_proto::internal::v1::mesh_service_client::MeshServiceClient;
use fulcrum_runtime::backoff::Backoff;
use futures::{Stream, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::outbox::Outbox;
use crate::sessions::Hub;
use crate::sessions::hub::News;

/// First wait before a stream is begun anew.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait. A peer that is back is heard within a second, and a dead one costs a handshake a second.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A stream that held this long was a good one: the next wait is the first again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Publishes to a peer until `shutdown`, over whatever streams that takes.
pub async fn publish(peer: String, channel: Channel, hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut is_told = false;
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            () = shutdown.cancelled() => return,
            ended = publish_once(&peer, channel.clone(), &hub) => ended,
        };
        if begun.elapsed() >= GOOD_AFTER {
            backoff.reset();
            is_told = false;
        }
        // Once for each time that it is lost, not for each attempt.
        if !std::mem::replace(&mut is_told, true) {
            let reason = ended.err().map(|status| status.message().to_owned());
            tracing::warn!(
                peer,
                reason,
                "the peer controller hears nothing of our agents; trying on"
            );
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

async fn publish_once(peer: &str, channel: Channel, hub: &Arc<Hub>) -> Result<(), Status> {
    let outbox = hub.publish_to(peer)?;
    let mut client = MeshServiceClient::new(channel);
    client.publish(publications(Arc::clone(hub), outbox)).await?;
    Ok(())
}

/// What there is to tell, each thing as it is when the transport has room for it.
fn publications(
    hub: Arc<Hub>,
    outbox: Arc<Outbox<News>>,
) -> impl Stream<Item = PublishRequest> + Send + 'static {
    let news = futures::stream::unfold(outbox, |outbox| async {
        // A closed outbox ends the stream.
        outbox.next().await.ok().map(|news| (news, outbox))
    });
    news.filter_map(move |news| std::future::ready(hub.publication(&news)))
}
