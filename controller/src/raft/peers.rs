//! Channels to the other controllers.

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_proto::internal::v1::raft_service_client::RaftServiceClient;
use fulcrum_proto::internal::v1::{Envelope, IdentifyRequest, IdentifyResponse};
use fulcrum_runtime::transport;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use super::config::{Member, RaftConfig};
use super::error::StartError;
use super::reach::Reach;

/// Largest command: a hundred thousand resources are some 16 MiB.
pub(crate) const MAX_COMMAND_BYTES: usize = 32 << 20;
/// Largest message between controllers: the largest command with what surrounds it.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_COMMAND_BYTES + (1 << 20);

/// The other members, with two connections each: a large message must not hold up the leader's signs of life.
pub(crate) struct Peers {
    node_id: u64,
    lineage: watch::Receiver<Lineage>,
    others: BTreeMap<u64, Peer>,
}

/// Whose messages a node takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// The cluster; empty before it is known.
    pub(crate) cluster_id: String,
    /// Its incarnation; 0 before it is known.
    pub(crate) incarnation: u64,
}

struct Peer {
    member: Member,
    control: RaftServiceClient<Channel>,
    bulk: RaftServiceClient<Channel>,
    reach: Reach,
}

impl Peers {
    /// Makes the channels. They connect when they are first used. `lineage` is empty until it is known.
    ///
    /// # Errors
    /// [`StartError::Peer`] when an address or a TLS file cannot be used.
    pub(crate) fn new(
        config: &RaftConfig,
        lineage: watch::Receiver<Lineage>,
    ) -> Result<Self, StartError> {
        let connect = |node_id: u64, member: &Member| {
            transport::connect_lazy(&member.raft, config.tls.as_ref())
                .map(limited)
                .map_err(|error| StartError::Peer { node_id, reason: error.to_string() })
        };
        let mut others = BTreeMap::new();
        for (id, member) in config.members.iter().filter(|(id, _)| **id != config.node_id) {
            let peer = Peer {
                member: member.clone(),
                control: connect(*id, member)?,
                bulk: connect(*id, member)?,
                reach: Reach::default(),
            };
            others.insert(*id, peer);
        }
        Ok(Self { node_id: config.node_id, lineage, others })
    }

    /// The ids of the other members.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.others.keys().copied()
    }

    /// A name for logs: `c2 (2)`.
    pub(crate) fn label(&self, id: u64) -> String {
        match self.others.get(&id) {
            Some(peer) => format!("{} ({id})", peer.member.name),
            None => format!("({id})"),
        }
    }

    /// Notes how a call to a member ended, so that its absence is logged.
    pub(crate) fn note(&self, id: u64, error: Option<&Status>) {
        if let Some(peer) = self.others.get(&id) {
            peer.reach.note(&self.label(id), error);
        }
    }

    /// For votes, entries and what else is short.
    pub(crate) fn control(&self, id: u64) -> Option<RaftServiceClient<Channel>> {
        self.others.get(&id).map(|peer| peer.control.clone())
    }

    /// For snapshots and forwarded writes.
    pub(crate) fn bulk(&self, id: u64) -> Option<RaftServiceClient<Channel>> {
        self.others.get(&id).map(|peer| peer.bulk.clone())
    }

    /// Addresses a message.
    pub(crate) fn envelope(&self, to_node: u64) -> Envelope {
        let Lineage { cluster_id, incarnation } = self.lineage.borrow().clone();
        Envelope { from_node: self.node_id, to_node, cluster_id, incarnation }
    }

    /// Asks a member who it is.
    ///
    /// # Errors
    /// As gRPC has it; also when it takes longer than `timeout`.
    pub(crate) async fn identify(
        &self,
        id: u64,
        timeout: Duration,
    ) -> Result<IdentifyResponse, Status> {
        let mut client = self.control(id).ok_or_else(|| Status::not_found("not a member"))?;
        let mut request =
            tonic::Request::new(IdentifyRequest { envelope: Some(self.envelope(id)) });
        request.set_timeout(timeout);
        client.identify(request).await.map(tonic::Response::into_inner)
    }
}

fn limited(channel: Channel) -> RaftServiceClient<Channel> {
    RaftServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}
