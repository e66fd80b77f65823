//! `AccessService`: certificates, who callers are, and what was refused.

use std::sync::Arc;

use fulcrum_intent::access::Grant;
use fulcrum_proto::convert::role_to_wire;
use fulcrum_proto::v1;
use fulcrum_proto::v1::access_service_server::AccessService;
use fulcrum_runtime::identity::Program;
use fulcrum_runtime::listener::Peer;
use tonic::{Request, Response, Status};

use super::errors;
use super::issuing::Issuing;
use super::who::caller;
use crate::access::refusals::Refusal;
use crate::access::{Caller, Gate};

/// Answers `AccessService`.
#[derive(Clone)]
pub struct AccessApi {
    /// This controller's name.
    pub controller: String,
    /// Knows what callers may do.
    pub gate: Arc<Gate>,
    /// Gives certificates; none where this controller has no authority.
    pub issuing: Option<Issuing>,
}

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn get_authority(
        &self,
        _: Request<v1::GetAuthorityRequest>,
    ) -> Result<Response<v1::GetAuthorityResponse>, Status> {
        let certificate = self.issuing()?.authority.certificate().to_vec();
        Ok(Response::new(v1::GetAuthorityResponse { certificate }))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let caller = caller(&request);
        let joined = self.issuing()?.join(request.get_ref()).await;
        let joined = joined.map_err(|refused| {
            let status = refused.status();
            // Who has no token learns nothing; who looks here does.
            let method = "fulcrum.v1.AccessService/Join";
            self.gate.note(&caller, peer.as_ref(), method, &refused.to_string());
            status
        });
        joined.map(Response::new)
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let caller = caller(&request);
        self.issuing()?.renew(&caller, request.get_ref(), &self.gate).map(Response::new)
    }

    async fn get_caller(
        &self,
        request: Request<v1::GetCallerRequest>,
    ) -> Result<Response<v1::GetCallerResponse>, Status> {
        let caller = caller(&request);
        let operator = caller.identity().filter(|it| it.program == Program::Operator);
        let grants = operator.map(|it| self.gate.grants(&it.name)).unwrap_or_default();
        Ok(Response::new(v1::GetCallerResponse {
            identity: caller.identity().map(ToString::to_string).unwrap_or_default(),
            who: caller.who(),
            grants: grants.iter().map(grant).collect(),
            unrestricted: matches!(caller, Caller::PlainText | Caller::Unnamed { .. }),
            identities_required: self.gate.policy().identities_required,
            certificate_ends: caller.ends().map(Into::into),
        }))
    }

    async fn list_refusals(
        &self,
        _: Request<v1::ListRefusalsRequest>,
    ) -> Result<Response<v1::ListRefusalsResponse>, Status> {
        let refusals = self.gate.refusals().newest_first().into_iter().map(refusal).collect();
        let controller = self.controller.clone();
        Ok(Response::new(v1::ListRefusalsResponse { refusals, controller }))
    }
}

impl AccessApi {
    fn issuing(&self) -> Result<&Issuing, Status> {
        self.issuing.as_ref().ok_or_else(errors::no_authority)
    }
}

fn grant(grant: &Grant) -> v1::Grant {
    v1::Grant {
        rule: grant.rule.as_ref().map(ToString::to_string).unwrap_or_default(),
        role: role_to_wire(grant.role).into(),
        sites: grant.sites.iter().map(ToString::to_string).collect(),
    }
}

fn refusal(refusal: Refusal) -> v1::Refusal {
    let Refusal { time, who, address, method, reason, count } = refusal;
    v1::Refusal { time: Some(time.into()), who, address, method, reason, count }
}
