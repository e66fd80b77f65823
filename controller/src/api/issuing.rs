//! Certificates from this controller's authority: for a join token, once, and in place of one that ends.
//!
//! Tokens are resources of the intent. Deleting one is a write like any other, so it succeeds once in the cluster, whoever is asked, and the
//! history tells who joined when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulcrum_intent::{AgentId, AgentRole};
use fulcrum_model::access::{JoinToken, Part};
use fulcrum_model::resource::{Kind, ResourceKey, Spec};
use fulcrum_proto::convert::{from_hex, kind_to_wire};
use fulcrum_proto::v1;
use fulcrum_runtime::authority::{self, Authority, AuthorityError};
use fulcrum_runtime::identity::{Identity, Program};
use tonic::{Code, Status};

use super::apply::{Applier, Asked};
use super::{errors, etag};
use crate::access::{Caller, Gate};
use crate::raft::Forwarded;
use crate::sessions::Hub;

/// Gives certificates.
#[derive(Clone)]
pub struct Issuing {
    /// Signs them.
    pub authority: Arc<Authority>,
    /// Of the identities that it gives.
    pub trust_domain: String,
    /// How long they last.
    pub lasts: Duration,
    /// Names of the controllers of the configuration.
    pub controllers: Vec<String>,
    /// Uses tokens up.
    pub applier: Applier,
    /// Knows which agents the intent names.
    pub hub: Arc<Hub>,
}

/// Nobody joins.
#[derive(Debug, thiserror::Error)]
pub enum JoinRefused {
    /// There is no such token, or it was used.
    #[error("there is no join token {name:?}, or it was used")]
    NoToken {
        /// As it was named.
        name: String,
    },
    /// The secret is another one.
    #[error("the secret is not that of join token {name:?}")]
    Secret {
        /// The token.
        name: String,
    },
    /// It has ended.
    #[error("join token {name:?} has expired")]
    Expired {
        /// The token.
        name: String,
    },
    /// The request cannot be used. The token is good still.
    #[error(transparent)]
    Request(#[from] AuthorityError),
    /// It cannot be used up now.
    #[error("the join token cannot be used now: {}", .0.message())]
    Write(Status),
}

impl JoinRefused {
    /// As it is answered: whoever has no good token is not told why.
    pub fn status(&self) -> Status {
        match self {
            Self::NoToken { .. } | Self::Secret { .. } | Self::Expired { .. } => errors::access(
                Code::PermissionDenied,
                "the join token is not good, has expired or was used: ask for another one (lvsctl token create)",
                "BAD_TOKEN",
            ),
            Self::Request(error) => Status::invalid_argument(format!("request: {error}")),
            Self::Write(status) => status.clone(),
        }
    }
}

impl Issuing {
    /// Uses a token up and gives the certificate that it is for.
    ///
    /// # Errors
    /// [`JoinRefused`].
    pub async fn join(&self, request: &v1::JoinRequest) -> Result<v1::JoinResponse, JoinRefused> {
        let name = request.token.chars().take(64).collect::<String>();
        let no_token = || JoinRefused::NoToken { name: name.clone() };
        let key = ResourceKey {
            kind: Kind::JoinToken,
            name: request.token.parse().map_err(|_| no_token())?,
        };
        let state = self.applier.newest().await.map_err(JoinRefused::Write)?;
        let found = state.resources.get(&key).ok_or_else(no_token)?;
        let Spec::JoinToken(token) = &found.spec else { return Err(no_token()) };
        let now = SystemTime::now();
        check(token, &name, &request.secret, now)?;
        let identity = Identity {
            trust_domain: self.trust_domain.clone(),
            program: program(token.identity.part),
            name: token.identity.name.to_string(),
        };
        // Before the token is used up: one whose request cannot be signed may try again.
        let certificate = self.issue(&request.request, &identity, &token.addresses, now)?;
        let who = format!("{identity} by join token {name}");
        let etag = etag::of(state.incarnation, found.revision);
        self.use_up(&key, etag, who).await.map_err(|status| match status.code() {
            Code::NotFound | Code::Aborted => no_token(),
            // Of gRPC's codes no other says that somebody else was first.
            _ => JoinRefused::Write(status),
        })?;
        tracing::info!(%identity, token = name, "joined");
        Ok(v1::JoinResponse { certificate, authority: self.authority.certificate().to_vec() })
    }

    async fn use_up(&self, key: &ResourceKey, etag: String, who: String) -> Result<(), Status> {
        let delete = v1::DeleteResourceRequest {
            kind: kind_to_wire(key.kind).into(),
            name: key.name.to_string(),
            etag,
            reason: "it was used".to_owned(),
            ..Default::default()
        };
        // The controllers' own write: the secret was the right to it.
        let asked = Asked { write: Forwarded::Delete(delete), who, identity: None };
        self.applier.take(asked).await.map(drop)
    }

    /// A new certificate for whoever shows one of this authority.
    ///
    /// # Errors
    /// As `AccessService.Renew` documents.
    pub fn renew(
        &self,
        caller: &Caller,
        request: &v1::RenewRequest,
        gate: &Gate,
    ) -> Result<v1::RenewResponse, Status> {
        let Caller::Named { identity, issuer, addresses, ends: _ } = caller else {
            let text = "only a certificate with an identity is renewed, and none was shown";
            return Err(errors::access(Code::Unauthenticated, text, "NO_IDENTITY"));
        };
        if !self.authority.has_issued(issuer) {
            let text = "another authority gave this certificate: renew it there";
            return Err(errors::access(Code::FailedPrecondition, text, "NO_AUTHORITY"));
        }
        if let Some(text) = self.no_longer(identity, gate) {
            return Err(errors::access(Code::PermissionDenied, &text, "ACCESS_DENIED"));
        }
        let addresses = addresses.iter().cloned();
        let certificate =
            self.issue(&request.request, identity, &addresses.collect(), SystemTime::now());
        let certificate =
            certificate.map_err(|error| Status::invalid_argument(format!("request: {error}")))?;
        Ok(v1::RenewResponse { certificate, authority: self.authority.certificate().to_vec() })
    }

    /// Why a holder has no part in the cluster any more. What nobody renews ends by itself, and so needs no revocation.
    fn no_longer(&self, identity: &Identity, gate: &Gate) -> Option<String> {
        let is_named = |role| {
            identity
                .name
                .parse()
                .is_ok_and(|name| self.hub.planned().named.contains(&AgentId { role, name }))
        };
        let (is_part, why) = match identity.program {
            Program::Controller => (
                self.controllers.contains(&identity.name),
                "is none of [[controllers]] of this controller's configuration",
            ),
            Program::Director => (is_named(AgentRole::Director), "is not named by the intent"),
            Program::RealServer => (is_named(AgentRole::RealServer), "is not named by the intent"),
            Program::Operator => {
                (gate.grants(&identity.name).best().is_some(), "is granted nothing")
            }
        };
        (!is_part).then(|| format!("{} {why}: its certificate is not renewed", identity.path()))
    }

    fn issue(
        &self,
        request: &[u8],
        identity: &Identity,
        addresses: &std::collections::BTreeSet<String>,
        now: SystemTime,
    ) -> Result<Vec<u8>, AuthorityError> {
        let addresses: Vec<String> = addresses.iter().cloned().collect();
        self.authority.issue(request, identity, &addresses, now, self.lasts)
    }
}

/// Whether a token is good for who has this secret.
fn check(token: &JoinToken, name: &str, secret: &str, now: SystemTime) -> Result<(), JoinRefused> {
    let secret = from_hex(secret).map(|secret| authority::digest(&secret));
    // Digests are compared, so the time that it takes tells nothing of the secret.
    if secret != Some(token.secret_sha256) {
        return Err(JoinRefused::Secret { name: name.to_owned() });
    }
    let is_over = SystemTime::UNIX_EPOCH.checked_add(token.expires).is_none_or(|end| end <= now);
    if is_over { Err(JoinRefused::Expired { name: name.to_owned() }) } else { Ok(()) }
}

fn program(part: Part) -> Program {
    match part {
        Part::Controller => Program::Controller,
        Part::Director => Program::Director,
        Part::RealServer => Program::RealServer,
        Part::Operator => Program::Operator,
    }
}
