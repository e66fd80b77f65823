//! May this caller call this method? Pure.

use fulcrum_intent::access::{Denied, Grants};
use fulcrum_intent::{AgentId, AgentRole};
use fulcrum_runtime::identity::{Identity, Program};
use tonic::{Code, Status};

use super::caller::Caller;
use super::methods::{self, For, Row};
use crate::api::errors;

/// What callers are held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Identities of another one are none.
    pub trust_domain: String,
    /// Who has no identity is refused. Otherwise a certificate without one may do everything, as it could before there were any.
    pub identities_required: bool,
    /// Operators who may do everything.
    pub admins: Vec<String>,
}

/// A call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This release knows no such method.
    Unknown {
        /// The path.
        path: String,
    },
    /// The caller has no identity, and needs one.
    Unauthenticated {
        /// Who it is and what it needs.
        message: String,
    },
    /// The caller may not do that.
    Denied {
        /// Who it is, what it may do, and what it needs.
        message: String,
    },
}

impl Refused {
    /// As it is answered.
    pub fn status(&self) -> Status {
        match self {
            Self::Unknown { path } => {
                let method = path.trim_start_matches('/');
                Status::unimplemented(format!("this controller's release knows no {method}"))
            }
            Self::Unauthenticated { message } => {
                errors::access(Code::Unauthenticated, message, "NO_IDENTITY")
            }
            Self::Denied { message } => {
                errors::access(Code::PermissionDenied, message, "ACCESS_DENIED")
            }
        }
    }
}

/// Whether a caller may call the method of `path` among `rows`. `grants` tells what an operator of that name may do.
///
/// # Errors
/// [`Refused`] with what is to be told.
pub fn decide(
    rows: &[Row],
    path: &str,
    caller: &Caller,
    policy: &Policy,
    grants: impl FnOnce(&str) -> Grants,
) -> Result<(), Refused> {
    let Some(whose) = methods::of(rows, path) else {
        return Err(Refused::Unknown { path: path.to_owned() });
    };
    let method = path.trim_start_matches('/');
    let identity = match (caller, whose) {
        // Whoever let plain text in, on loopback or by `insecure`, knows nobody.
        (Caller::PlainText, _) | (_, For::Anyone) => return Ok(()),
        (Caller::Nobody, _) => {
            let message = format!(
                "{method} needs a certificate, and none was shown: give yours (--tls-cert, or [tls] of the configuration)"
            );
            return Err(Refused::Unauthenticated { message });
        }
        (Caller::Unnamed { .. }, _) if !policy.identities_required => return Ok(()),
        (Caller::Unnamed { fault, .. }, _) => {
            let fault = fault.clone().unwrap_or_else(|| "its certificate has none".to_owned());
            let message = format!(
                "{} has no identity: {fault}; {method} needs a certificate that names spiffe://{}/{}",
                caller.who(),
                policy.trust_domain,
                spelled(whose)
            );
            return Err(Refused::Unauthenticated { message });
        }
        (Caller::Named { identity, .. }, _) => identity,
    };
    allowed(method, whose, identity, grants)
}

fn allowed(
    method: &str,
    whose: For,
    identity: &Identity,
    grants: impl FnOnce(&str) -> Grants,
) -> Result<(), Refused> {
    let path = identity.path();
    let denied = |message: String| Err(Refused::Denied { message });
    match (whose, identity.program) {
        (For::Anyone | For::Named, _)
        | (For::Agents, Program::Director | Program::RealServer)
        | (For::Controllers, Program::Controller) => Ok(()),
        (For::Operators(needs), Program::Operator) => {
            let grants = grants(&identity.name);
            if grants.best().is_some_and(|best| best >= needs) {
                return Ok(());
            }
            denied(format!(
                "{path} is granted {grants}, and {method} needs {needs}: an administrator grants it by an AccessRule"
            ))
        }
        (For::Admins, Program::Operator) => {
            let grants = grants(&identity.name);
            if grants.is_admin_everywhere() {
                return Ok(());
            }
            denied(format!(
                "{path} is granted {grants}, and {method} needs admin of all sites: an administrator grants it by an AccessRule"
            ))
        }
        (
            For::Agents | For::Controllers | For::Operators(_) | For::Admins,
            Program::Controller | Program::Director | Program::RealServer | Program::Operator,
        ) => denied(format!("{path} may not call {method}, which is for {}", spelled(whose))),
    }
}

/// Who a method is for, as identities spell it.
fn spelled(whose: For) -> &'static str {
    match whose {
        For::Anyone | For::Named => "PROGRAM/NAME",
        For::Agents => "director/NAME or realserver/NAME",
        For::Controllers => "controller/NAME",
        For::Operators(_) | For::Admins => "operator/NAME",
    }
}

/// Whether a caller may be that agent. That it may attach at all was decided.
///
/// # Errors
/// [`Refused`] when it is another one.
pub fn may_be(caller: &Caller, agent: &AgentId) -> Result<(), Refused> {
    let Some(identity) = caller.identity() else { return Ok(()) };
    let program = match agent.role {
        AgentRole::Director => Program::Director,
        AgentRole::RealServer => Program::RealServer,
    };
    if identity.program == program && identity.name == agent.name.as_str() {
        return Ok(());
    }
    let message = format!(
        "{} may not attach as {agent}: give each agent the certificate of its own name, or correct `name` in its configuration",
        identity.path()
    );
    Err(Refused::Denied { message })
}

/// Whether a caller may say that it is the controller of that name.
///
/// # Errors
/// [`Refused`] when it is another one.
pub fn may_speak_for(caller: &Caller, controller: &str) -> Result<(), Refused> {
    match caller.identity() {
        Some(identity) if identity.name != controller => {
            let message = format!("{} may not speak for controller/{controller}", identity.path());
            Err(Refused::Denied { message })
        }
        Some(_) | None => Ok(()),
    }
}

/// A write that an operator may not make.
pub fn denied(operator: &str, grants: &Grants, denied: &Denied) -> Refused {
    let message = format!(
        "operator/{operator} is granted {grants}, and to write {denied}: an administrator grants it by an AccessRule"
    );
    Refused::Denied { message }
}

#[cfg(test)]
mod tests;
