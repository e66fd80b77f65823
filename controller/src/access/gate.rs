//! What is needed to judge calls: the policy, what operators are granted, what callers use, and what was refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use fulcrum_intent::access::Grants;
use fulcrum_runtime::listener::Peer;
use tokio::sync::watch;
use tonic::Status;

use super::caller::Caller;
use super::decide::{Policy, decide};
use super::methods::Row;
use super::refusals::{Refusal, Refusals};
use super::usage::{self, Usage};
use crate::api::errors;
use crate::raft::IntentState;

/// Judges the calls of a controller.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    states: watch::Receiver<Arc<IntentState>>,
    refusals: Refusals,
    usage: Mutex<Usage>,
}

impl Gate {
    /// By this policy and the access rules of each state of the intent.
    pub fn new(policy: Policy, states: watch::Receiver<Arc<IntentState>>) -> Arc<Self> {
        let (refusals, usage) = (Refusals::default(), Mutex::default());
        Arc::new(Self { policy, states, refusals, usage })
    }

    /// What callers are held to.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What was refused lately.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What an operator of that name may do.
    pub fn grants(&self, operator: &str) -> Grants {
        Grants::of(operator, &self.states.borrow().resources, &self.policy.admins)
    }

    /// Whether a caller is told secrets of the intent.
    pub fn shows_secrets(&self, caller: &Caller) -> bool {
        match caller {
            // They were let in because no identity is asked for.
            Caller::PlainText | Caller::Unnamed { .. } => true,
            Caller::Nobody => false,
            Caller::Named { identity, .. } => self.grants(&identity.name).is_admin_everywhere(),
        }
    }

    /// Lets a call in or refuses it. With `bounded`, callers have an account.
    ///
    /// # Errors
    /// What the caller is told.
    pub(super) fn admit(
        self: &Arc<Self>,
        rows: &[Row],
        bounded: bool,
        path: &str,
        peer: Option<&Peer>,
    ) -> Result<(Caller, Option<Pass>), Status> {
        let caller = Caller::of(peer, &self.policy.trust_domain);
        let decided = decide(rows, path, &caller, &self.policy, |operator| self.grants(operator));
        let admitted = decided
            .map_err(|refused| refused.status())
            .and_then(|()| if bounded { self.begin(&caller, peer) } else { Ok(None) });
        match admitted {
            Ok(pass) => Ok((caller, pass)),
            Err(status) => {
                self.note(&caller, peer, path, status.message());
                Err(status)
            }
        }
    }

    /// Notes a call that was refused.
    pub fn note(&self, caller: &Caller, peer: Option<&Peer>, path: &str, reason: &str) {
        self.refusals.note(Refusal {
            time: SystemTime::now(),
            who: caller.who(),
            address: peer.map(|peer| peer.address.ip().to_string()).unwrap_or_default(),
            // A caller may write anything there.
            method: path.trim_start_matches('/').chars().take(100).collect(),
            reason: reason.to_owned(),
            count: 1,
        });
    }

    fn begin(
        self: &Arc<Self>,
        caller: &Caller,
        peer: Option<&Peer>,
    ) -> Result<Option<Pass>, Status> {
        let (account, allowance) = match (caller, peer) {
            (Caller::PlainText, _) | (_, None) => return Ok(None),
            (Caller::Nobody, Some(peer)) => (peer.address.ip().to_string(), usage::NOBODY),
            (Caller::Named { .. }, Some(_)) => (caller.who(), usage::NAMED),
            // Many may share one certificate, as all agents could before there were identities.
            (Caller::Unnamed { .. }, Some(peer)) => {
                (format!("{} of {}", caller.who(), peer.address.ip()), usage::NAMED)
            }
        };
        let begun = self.usage().begin(&account, allowance, Instant::now());
        begun.map_err(|exceeded| errors::too_much(&caller.who(), &exceeded.to_string()))?;
        Ok(Some(Pass { gate: Arc::clone(self), account }))
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let in, until it is over.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    account: String,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.usage().end(&self.account);
    }
}
