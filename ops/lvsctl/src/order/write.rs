//! Writing orders.

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;
use tonic_types::StatusExt;

use crate::connect::{self, Controllers, Refusal};
use crate::exit::{Exit, Failure};

/// Writes and deletes orders, all or none. The revision afterwards.
pub(crate) async fn write(
    controllers: &Controllers,
    put: impl Iterator<Item = (String, Spec)>,
    (kind, delete): (v1::Kind, Vec<String>),
    doing: &str,
) -> Result<u64, Failure> {
    let resources = put.map(|(name, spec)| v1::Resource {
        metadata: Some(v1::Metadata { name, ..v1::Metadata::default() }),
        spec: Some(spec),
    });
    let kind = kind.into();
    let request = v1::ApplyRequest {
        resources: resources.collect(),
        delete: delete.into_iter().map(|name| v1::ResourceName { kind, name }).collect(),
        // The same on every controller that is tried: it is written once.
        request_id: uuid::Uuid::new_v4().to_string(),
        ..v1::ApplyRequest::default()
    };
    let answer = controllers
        .ask(|channel| {
            let request = request.clone();
            async move { connect::intent(channel).apply(request).await }
        })
        .await;
    answer.map(|answer| answer.revision).map_err(|refusal| refused(refusal, doing))
}

/// Every field that was refused, without its place in a request that nobody saw.
fn refused(refusal: Refusal, doing: &str) -> Failure {
    let details = match &refusal {
        Refusal::Answered(status) => status.get_details_bad_request(),
        Refusal::Silent(_) => None,
    };
    let Some(details) = details else { return refusal.failure(doing) };
    let lines = details.field_violations.into_iter().map(|violation| {
        let field = violation.field.split_once("].").map_or(violation.field.as_str(), |(_, f)| f);
        format!("\n  {field}: {}", violation.description)
    });
    Failure::new(Exit::Usage, format!("{doing}; nothing was changed:{}", lines.collect::<String>()))
}
