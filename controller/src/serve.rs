//! Puts the parts together, and takes them apart again when told to stop.

mod follow;
mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_runtime::authority::{Authority, AuthorityError};
use fulcrum_runtime::tls::TlsError;
use fulcrum_runtime::transport::{self, TransportError};
use fulcrum_session::credentials::Keeper;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::access::Gate;
use crate::access::decide::Policy;
use crate::access::own::{self, IdentityRefused};
use crate::api::access::AccessApi;
use crate::api::apply::Applier;
use crate::api::issuing::Issuing;
use crate::config::Config;
use crate::events::recorder::Recorder;
use crate::host;
use crate::mesh::publish::publish;
use crate::metrics;
use crate::raft::{Member, Pace, Raft, RaftConfig, RaftTiming, StartError, Steps};
use crate::sessions::Hub;
use crate::sessions::attach::Attacher;
use crate::sessions::planning::Planning;

/// Open calls are given this long to end by themselves when a listener closes. Streams were told to end before.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Raft is given this long to hand over and to sync.
const RAFT_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections that wait to be accepted: all agents come at once when a controller is back, and one that is turned away
/// here waits a second for TCP's next attempt. The kernel's own bound, net.core.somaxconn, is the same by default.
const BACKLOG: u32 = 4096;

/// The listeners of a controller, open before anything else begins.
#[derive(Debug)]
pub struct Listeners {
    /// For the API and the agents.
    pub api: TcpListener,
    /// For the other controllers.
    pub raft: TcpListener,
}

/// A controller cannot serve, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener cannot be opened.
    #[error(
        "cannot listen on {endpoint}: {source}; check [[controllers]] and what else uses the port"
    )]
    Listen {
        /// Its endpoint.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// Plain text beyond loopback, or a malformed endpoint.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A TLS file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The built-in authority cannot be used.
    #[error("[access] ca_key: {0}")]
    Authority(#[from] AuthorityError),
    /// This controller's own certificate does not fit `[access]`.
    #[error(transparent)]
    Identity(#[from] IdentityRefused),
    /// The reflection service cannot read the API's own descriptors.
    #[error("the API's descriptors cannot be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Raft does not start, or failed later.
    #[error(transparent)]
    Raft(#[from] StartError),
}

/// Opens both listeners.
///
/// # Errors
/// [`ServeError`] when an address cannot be used or would be plain text beyond loopback.
pub async fn bind(config: &Config) -> Result<Listeners, ServeError> {
    let me = config.me();
    for endpoint in [&me.api, &me.raft] {
        transport::check_plaintext(endpoint, config.tls.as_ref(), config.insecure)?;
    }
    for peer in config.peers() {
        transport::check_plaintext(&peer.raft, config.tls.as_ref(), config.insecure)?;
    }
    Ok(Listeners { api: listen(&me.api).await?, raft: listen(&me.raft).await? })
}

async fn listen(endpoint: &str) -> Result<TcpListener, ServeError> {
    let listening = async {
        let address = tokio::net::lookup_host(endpoint).await?.next();
        let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // The port may still be in TIME_WAIT from the process before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening.await.map_err(|source| ServeError::Listen { endpoint: endpoint.to_owned(), source })
}

/// Serves until `shutdown` is cancelled, then lets agents, watchers and peers go with a clean status, hands leadership over
/// and stops.
///
/// # Errors
/// [`ServeError`] when it cannot start, or when Raft fails.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let raft = raft_config(&config);
    run_with(config, raft, listeners, shutdown).await
}

/// As [`run`], with Raft's part of the configuration as it is given.
pub(crate) async fn run_with(
    config: Config,
    raft: RaftConfig,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let policy = own::policy(&config, own::identity(&config)?)?;
    let authority = load_authority(&config)?;
    let tls = server::Tls::load(config.tls.as_ref(), authority.is_some())?;
    // Raft outlives the listeners: it hands over when they are closed.
    let raft = Raft::start(raft, CancellationToken::new()).await?;
    let running = Running::start(&config, listeners, &tls, (policy, authority), raft.clone())?;
    let failed = tokio::select! {
        () = shutdown.cancelled() => None,
        error = raft.failed() => Some(error),
    };
    running.stop(raft).await;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// What runs beside Raft.
struct Running {
    hub: Arc<Hub>,
    /// Ends what serves agents and API.
    api_token: CancellationToken,
    /// Ends what serves the other controllers.
    raft_token: CancellationToken,
    api: JoinHandle<()>,
    raft: JoinHandle<()>,
}

impl Running {
    fn start(
        config: &Config,
        listeners: Listeners,
        tls: &server::Tls,
        (policy, authority): (Policy, Option<Authority>),
        raft: Raft,
    ) -> Result<Self, ServeError> {
        let (api_token, raft_token) = (CancellationToken::new(), CancellationToken::new());
        let planned = Arc::new(follow::plan(&raft.state().borrow().clone(), None));
        let (publish_plans, plans) = watch::channel(Arc::clone(&planned));
        let hub = Arc::new(Hub::new(&config.name, &config.controllers, planned));
        metrics::observe(&hub);

        let attacher = Attacher {
            controller: config.name.clone(),
            hub: Arc::clone(&hub),
            plans,
            planning: Planning::start(),
        };
        let home = config.notifications.clone();
        let (recorder, reporter) =
            Recorder::new(raft.clone(), Arc::clone(&hub), &config.name, home);
        tokio::spawn(recorder.run(api_token.clone()));
        let applier = Applier::new(raft.clone(), policy.admins.clone(), reporter);
        if config.tls.is_some() && !policy.identities_required {
            tracing::warn!(
                "any certificate without an identity may do everything here: see [access] identities"
            );
        }
        let gate = Gate::new(policy, raft.state());
        let issuing = authority.map(|authority| Issuing {
            authority: Arc::new(authority),
            trust_domain: gate.policy().trust_domain.clone(),
            lasts: Duration::from_hours(config.access.certificate_hours.into()),
            controllers: config.controllers.iter().map(|it| it.name.clone()).collect(),
            applier: applier.clone(),
            hub: Arc::clone(&hub),
        });
        let access =
            AccessApi { controller: config.name.clone(), gate: Arc::clone(&gate), issuing };
        tokio::spawn(applier.clone().revert_unconfirmed(api_token.clone()));
        let addresses = (local(&listeners.api), local(&listeners.raft));
        let (reporter, health) = tonic_health::server::health_reporter();
        let api = server::Api {
            attacher,
            raft: raft.clone(),
            applier: applier.clone(),
            hub: Arc::clone(&hub),
            gate: Arc::clone(&gate),
            access,
        };
        let api = server::serve_api(listeners.api, tls, api, health, api_token.clone())?;
        let peers = server::Peers { raft: raft.clone(), applier, hub: Arc::clone(&hub), gate };
        let raft_server = server::serve_peers(listeners.raft, tls, peers, raft_token.clone());

        let mut peers = Vec::new();
        for peer in config.peers() {
            let channel = transport::connect_lazy(&peer.raft, config.tls.as_ref())?;
            peers.push((peer.name.clone(), channel.clone()));
            let hub = Arc::clone(&hub);
            tokio::spawn(publish(peer.name.clone(), channel, hub, api_token.clone()));
        }
        host::follow(config, peers, Arc::clone(&hub), api_token.clone());
        if let Some(files) = &config.tls {
            let me = std::iter::once(config.me());
            let endpoints = me.chain(config.peers()).map(|controller| controller.api.clone());
            let keeper =
                Keeper { files: files.clone(), token: None, endpoints: endpoints.collect() };
            tokio::spawn(keeper.run(api_token.clone()));
        }
        tokio::spawn(follow::intent(raft.state(), Arc::clone(&hub), publish_plans));
        let leadership = raft.leadership();
        tokio::spawn(follow::leadership(leadership, Arc::clone(&hub), reporter, api_token.clone()));
        tracing::info!(
            controller = config.name,
            site = config.site.as_ref().map(AsRef::<str>::as_ref),
            api = addresses.0,
            raft = addresses.1,
            tls = config.tls.is_some(),
            controllers = config.controllers.len(),
            data_dir = %config.data_dir.display(),
            "ready"
        );
        Ok(Self { hub, api_token, raft_token, api, raft: raft_server })
    }

    /// Agents go first, so that they are with another controller while this one hands over.
    async fn stop(self, raft: Raft) {
        self.api_token.cancel();
        self.hub.close(&Status::unavailable("this controller is stopping: attach to another one"));
        end(self.api).await;
        if tokio::time::timeout(RAFT_STOP_TIMEOUT, raft.stop()).await.is_err() {
            tracing::warn!("Raft took too long to stop and is left; nothing acknowledged is lost");
        }
        self.raft_token.cancel();
        end(self.raft).await;
    }
}

/// The built-in authority; none where this controller has no key of it.
fn load_authority(config: &Config) -> Result<Option<Authority>, AuthorityError> {
    let files = config.tls.as_ref().zip(config.access.ca_key.as_ref());
    files.map(|(tls, key)| Authority::load(&tls.ca, key)).transpose()
}

async fn end(mut server: JoinHandle<()>) {
    if tokio::time::timeout(DRAIN_TIMEOUT, &mut server).await.is_err() {
        server.abort();
    }
}

fn local(listener: &TcpListener) -> String {
    listener.local_addr().as_ref().map_or_else(io::Error::to_string, SocketAddr::to_string)
}

pub(crate) fn raft_config(config: &Config) -> RaftConfig {
    let members = config.controllers.iter().map(|controller| {
        let member = Member {
            name: controller.name.clone(),
            api: controller.api.clone(),
            raft: controller.raft.clone(),
        };
        (controller.id, member)
    });
    let times = config.raft;
    RaftConfig {
        node_id: config.me().id,
        name: config.name.clone(),
        data_dir: config.data_dir.clone(),
        members: members.collect(),
        tls: config.tls.clone(),
        timing: RaftTiming {
            heartbeat: Duration::from_millis(times.heartbeat_ms),
            election_min: Duration::from_millis(times.election_min_ms),
            election_max: Duration::from_millis(times.election_max_ms),
        },
        pace: Pace::default(),
        steps: Steps::default(),
    }
}
