//! Controllers that hold callers to their identities.

use std::sync::Arc;

use fulcrum_proto::v1;
use fulcrum_proto::v1::intent_service_client::IntentServiceClient;
use fulcrum_runtime::authority;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::transport::{connect_lazy, connect_once};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::Status;
use tonic::transport::Channel;

use super::cluster::{Cluster, Node};
use super::examples;
use super::pki::Pki;
use crate::config::Config;

/// Controllers with certificates of an authority, the example set, and the administrator's certificate.
pub(crate) struct Guarded {
    pub(crate) cluster: Cluster,
    pub(crate) pki: Pki,
    pub(crate) admin: TlsFiles,
    pub(crate) directory: tempfile::TempDir,
}

impl Guarded {
    /// Starts so many.
    pub(crate) async fn start(count: u64) -> Self {
        Self::start_with(count, |_, _| {}).await
    }

    /// Starts so many that give certificates.
    pub(crate) async fn issuing(count: u64) -> Self {
        Self::start_with(count, |config, pki| config.access.ca_key = Some(pki.ca_key())).await
    }

    async fn start_with(count: u64, change: impl Fn(&mut Config, &Pki)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let pki = Pki::new(&directory.path().join("ours"));
        let cluster = Cluster::start_with(count, |config| {
            config.tls = Some(pki.issue(&format!("controller/{}", config.name)));
            change(config, &pki);
        })
        .await;
        let admin = pki.issue("operator/admin");
        for node in &cluster.nodes {
            node.until_serving_by(&admin).await;
        }
        let guarded = Self { cluster, pki, admin, directory };
        let applied = guarded.apply(&guarded.admin, examples::cluster()).await;
        let revision = applied.expect("it is taken").revision;
        for node in &guarded.cluster.nodes {
            node.until_planned_by(&guarded.admin, revision).await;
        }
        guarded
    }

    pub(crate) fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    pub(crate) fn channel(&self, tls: Option<&TlsFiles>) -> Channel {
        connect_lazy(&self.node().api, tls).expect("a good endpoint")
    }

    /// A channel of a program that shows these files and does not ask who the controller is, as an attacker's would.
    pub(crate) fn careless(&self, tls: &TlsFiles) -> Channel {
        let ca = authority::first_certificate(&tls.ca).expect("it is there");
        let chain = authority::first_certificate(&tls.cert).expect("it is there");
        let key = PrivateKeyDer::from_pem_file(&tls.key).expect("it is there");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca)).expect("it is an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("it has a version");
        let mut config = builder
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![CertificateDer::from(chain)], key)
            .expect("they fit");
        config.alpn_protocols = vec![b"h2".to_vec()];
        connect_once(&self.node().api, Arc::new(config)).expect("a good endpoint")
    }

    pub(crate) async fn apply(
        &self,
        by: &TlsFiles,
        resources: Vec<v1::Resource>,
    ) -> Result<v1::ApplyResponse, Status> {
        let request = v1::ApplyRequest { resources, ..Default::default() };
        let answer = IntentServiceClient::new(self.channel(Some(by))).apply(request).await;
        answer.map(tonic::Response::into_inner)
    }

    pub(crate) async fn stop(self) {
        self.cluster.stop().await;
    }
}
