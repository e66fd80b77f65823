//! An agent that says and hears what a test wants.

use fulcrum_proto::v1;
use fulcrum_proto::v1::attach_request::Message as ToController;
use fulcrum_proto::v1::attach_response::Message as FromController;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::cluster::{Node, SOON};

/// An attached agent.
pub(crate) struct Agent {
    pub(crate) welcome: v1::Welcome,
    name: String,
    epoch: u64,
    requests: mpsc::Sender<v1::AttachRequest>,
    responses: Streaming<v1::AttachResponse>,
}

/// The hello of the first session of a first epoch.
pub(crate) fn hello(role: v1::AgentRole, name: &str) -> v1::Hello {
    v1::Hello {
        role: role.into(),
        name: name.to_owned(),
        epoch: 1,
        session: 1,
        program_version: "test".to_owned(),
        boot_id: "boot".to_owned(),
        plan: None,
    }
}

pub(crate) fn director(name: &str) -> v1::Hello {
    hello(v1::AgentRole::Director, name)
}

pub(crate) fn real_server(name: &str) -> v1::Hello {
    hello(v1::AgentRole::RealServer, name)
}

impl Agent {
    /// Attaches and is welcome.
    pub(crate) async fn attach(node: &Node, hello: v1::Hello) -> Self {
        Self::try_attach(node, hello).await.expect("it is welcome")
    }

    pub(crate) async fn try_attach(node: &Node, hello: v1::Hello) -> Result<Self, Status> {
        let (name, epoch) = (hello.name.clone(), hello.epoch);
        let (requests, receiver) = mpsc::channel(16);
        let first = v1::AttachRequest { message: Some(ToController::Hello(hello)) };
        requests.send(first).await.expect("its receiver is here");
        let responses = node.agents().attach(ReceiverStream::new(receiver)).await?;
        let mut responses = responses.into_inner();
        let first = responses.message().await?.and_then(|response| response.message);
        let Some(FromController::Welcome(welcome)) = first else {
            panic!("the first message is {first:?}");
        };
        Ok(Self { welcome, name, epoch, requests, responses })
    }

    pub(crate) async fn send(&self, message: ToController) {
        let request = v1::AttachRequest { message: Some(message) };
        self.requests.send(request).await.expect("the session is open");
    }

    /// The next message, or the status that the stream ends with.
    pub(crate) async fn next(&mut self) -> Result<FromController, Status> {
        let message = tokio::time::timeout(SOON, self.responses.message()).await;
        let message = message.expect("something comes")?;
        message.and_then(|response| response.message).ok_or_else(|| Status::ok("the end"))
    }

    /// The next message, which is a plan.
    pub(crate) async fn plan(&mut self) -> v1::PlanUpdate {
        match self.next().await {
            Ok(FromController::Plan(plan)) => plan,
            other => panic!("{other:?} instead of a plan"),
        }
    }

    /// The next message, which is evidence.
    pub(crate) async fn evidence(&mut self) -> v1::Evidence {
        match self.next().await {
            Ok(FromController::Evidence(evidence)) => evidence,
            other => panic!("{other:?} instead of evidence"),
        }
    }

    /// The status that the stream ends with; messages before it are passed over.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    /// Says that it applied a plan, or why not.
    pub(crate) async fn answer(&self, plan: &v1::PlanUpdate, refusal: Option<&str>) {
        let ack = v1::PlanAck {
            version: plan.version.clone(),
            applied: refusal.is_none(),
            reason: refusal.unwrap_or_default().to_owned(),
        };
        self.send(ToController::Ack(ack)).await;
    }

    /// Tells evidence of no server, but with this sequence number.
    pub(crate) async fn tell(&self, sequence: u64) {
        let evidence = v1::Evidence {
            agent: self.name.clone(),
            epoch: self.epoch,
            sequence,
            valid_for_ms: 60_000,
            boot_id: "boot".to_owned(),
            ..Default::default()
        };
        self.send(ToController::Evidence(evidence)).await;
    }
}

/// The keys of a plan's objects.
pub(crate) fn keys(plan: &v1::PlanUpdate) -> Vec<&str> {
    plan.objects.iter().map(|object| object.key.as_str()).collect()
}

/// The revision of a plan.
pub(crate) fn revision(plan: &v1::PlanUpdate) -> u64 {
    plan.version.as_ref().map_or(0, |version| version.revision)
}
