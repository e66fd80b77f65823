//! What is asked of the applier, and by whom.

use fulcrum_proto::v1;
use fulcrum_runtime::identity::Identity;

use super::single;
use crate::access::Caller;
use crate::raft::Forwarded;

/// A write that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The write.
    pub write: Forwarded,
    /// Who asks, as far as is known.
    pub who: String,
    /// The identity that was shown; none where none was asked of it.
    pub identity: Option<Identity>,
}

impl Asked {
    /// A write that a caller asks for.
    pub fn by(caller: &Caller, write: Forwarded) -> Self {
        Self { write, who: caller.who(), identity: caller.identity().cloned() }
    }

    /// Asks the leader for nothing but its revision, confirmed by a majority: a dry run of a set without resources.
    pub(super) fn probe() -> Self {
        let apply = v1::ApplyRequest { validate_only: true, ..Default::default() };
        Self { write: Forwarded::Apply(apply), who: String::new(), identity: None }
    }

    /// Whether it is the [`Self::probe`].
    pub(super) fn is_probe(&self) -> bool {
        self.write == Self::probe().write
    }

    /// Its id; empty when none was given.
    pub(super) fn request_id(&self) -> &str {
        match &self.write {
            Forwarded::Apply(apply) => &apply.request_id,
            Forwarded::Rollback(rollback) => &rollback.request_id,
            Forwarded::Confirm(confirm) => &confirm.request_id,
            Forwarded::Create(create) => &create.request_id,
            Forwarded::Update(update) => &update.request_id,
            Forwarded::Delete(delete) => &delete.request_id,
        }
    }

    /// Gives it an id where it has none, so that an attempt that was lost on its way to the leader can be repeated.
    pub(super) fn name(&mut self) {
        let validate_only = self.validate_only();
        let id = match &mut self.write {
            Forwarded::Apply(apply) => &mut apply.request_id,
            Forwarded::Rollback(rollback) => &mut rollback.request_id,
            Forwarded::Confirm(confirm) => &mut confirm.request_id,
            Forwarded::Create(create) => &mut create.request_id,
            Forwarded::Update(update) => &mut update.request_id,
            Forwarded::Delete(delete) => &mut delete.request_id,
        };
        if id.is_empty() && !validate_only {
            *id = uuid::Uuid::new_v4().to_string();
        }
    }

    /// Whether nothing is to be written.
    pub(super) fn validate_only(&self) -> bool {
        match &self.write {
            Forwarded::Apply(apply) => apply.validate_only,
            Forwarded::Rollback(rollback) => rollback.validate_only,
            Forwarded::Confirm(_) => false,
            Forwarded::Create(create) => create.validate_only,
            Forwarded::Update(update) => update.validate_only,
            Forwarded::Delete(delete) => delete.validate_only,
        }
    }

    pub(super) fn span(&self) -> tracing::Span {
        match &self.write {
            Forwarded::Apply(apply) => tracing::info_span!(
                "intent.apply",
                request_id = apply.request_id,
                resources = apply.resources.len(),
                validate_only = apply.validate_only,
                prune = apply.prune,
                revision = tracing::field::Empty,
            ),
            Forwarded::Rollback(rollback) => tracing::info_span!(
                "intent.rollback",
                request_id = rollback.request_id,
                to = rollback.revision,
                validate_only = rollback.validate_only,
                revision = tracing::field::Empty,
            ),
            Forwarded::Confirm(confirm) => tracing::info_span!(
                "intent.confirm",
                request_id = confirm.request_id,
                confirms = confirm.revision,
                revision = tracing::field::Empty,
            ),
            Forwarded::Create(_) => self.single("create"),
            Forwarded::Update(_) => self.single("update"),
            Forwarded::Delete(_) => self.single("delete"),
        }
    }
    /// Of a write of one resource.
    fn single(&self, what: &'static str) -> tracing::Span {
        tracing::info_span!(
            "intent.single",
            what,
            request_id = self.request_id(),
            resource = single::key_of(&self.write).map(tracing::field::display),
            validate_only = self.validate_only(),
            revision = tracing::field::Empty,
        )
    }
}
