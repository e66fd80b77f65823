//! Writing orders.

use std::collections::BTreeMap;

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;
use tonic::Code;
use tonic_types::StatusExt;

use crate::connect::{Controllers, Refusal};
use crate::exit::{Exit, Failure};

/// Orders to write and to delete, all or none.
#[derive(Debug, Default)]
pub(crate) struct Change {
    resources: Vec<v1::Resource>,
    delete: Vec<v1::ResourceName>,
    /// It is meant, even where it leaves less than half of a pool.
    pub(crate) allow_drastic: bool,
    /// Refuse unless the intent is at this revision; 0 when it does not matter.
    pub(crate) if_revision: u64,
}

impl Change {
    /// Adds an order to write.
    pub(crate) fn put(&mut self, name: String, spec: Spec) {
        self.put_labelled(name, BTreeMap::new(), spec);
    }

    /// Adds an order with labels.
    pub(crate) fn put_labelled(
        &mut self,
        name: String,
        labels: BTreeMap<String, String>,
        spec: Spec,
    ) {
        let metadata = Some(v1::Metadata { name, labels, ..v1::Metadata::default() });
        self.resources.push(v1::Resource { metadata, spec: Some(spec) });
    }

    /// What it writes.
    #[cfg(test)]
    pub(crate) fn resources(&self) -> &[v1::Resource] {
        &self.resources
    }

    /// What it deletes.
    #[cfg(test)]
    pub(crate) fn deleted(&self) -> Vec<(v1::Kind, &str)> {
        self.delete.iter().map(|it| (it.kind(), it.name.as_str())).collect()
    }

    /// Adds an order to delete.
    pub(crate) fn delete(&mut self, kind: v1::Kind, name: String) {
        self.delete.push(v1::ResourceName { kind: kind.into(), name });
    }
}

/// Writes a change. The revision afterwards.
pub(crate) async fn write(
    controllers: &Controllers,
    change: Change,
    doing: &str,
) -> Result<u64, Failure> {
    send(controllers, change).await.map_err(|refusal| refused(refusal, doing))
}

/// Writes a change, for who has an answer to a refusal. The revision afterwards.
pub(crate) async fn send(controllers: &Controllers, change: Change) -> Result<u64, Refusal> {
    let Change { resources, delete, allow_drastic, if_revision } = change;
    let request = v1::ApplyRequest {
        resources,
        delete,
        allow_drastic,
        if_revision,
        // The same on every controller that is tried: it is written once.
        request_id: uuid::Uuid::new_v4().to_string(),
        ..v1::ApplyRequest::default()
    };
    controllers.apply(&request).await.map(|answer| answer.revision)
}

/// Every field that was refused, without its place in a request that nobody saw.
pub(crate) fn refused(refusal: Refusal, doing: &str) -> Failure {
    let details = match &refusal {
        Refusal::Answered(status) => status.get_details_bad_request(),
        Refusal::Silent(_) => None,
    };
    let Some(details) = details else {
        let is_held = is_held(&refusal);
        let mut failure = refusal.failure(doing);
        if is_held {
            failure.text.push_str("\nIf it is meant, give --allow-drastic.");
        }
        return failure;
    };
    let lines = details.field_violations.into_iter().map(|violation| {
        let field = violation.field.split_once("].").map_or(violation.field.as_str(), |(_, f)| f);
        format!("\n  {field}: {}", violation.description)
    });
    Failure::new(Exit::Usage, format!("{doing}; nothing was changed:{}", lines.collect::<String>()))
}

/// Whether the change is held as too drastic.
pub(crate) fn is_held(refusal: &Refusal) -> bool {
    let Refusal::Answered(status) = refusal else { return false };
    status.code() == Code::FailedPrecondition
        && status.get_details_error_info().is_some_and(|info| info.reason == "PLAN_HELD")
}
