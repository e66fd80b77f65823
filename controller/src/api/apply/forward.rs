//! Passing a write on to the leader.

use std::time::Duration;

use fulcrum_proto::internal::v1::forward_write_request::Write;
use fulcrum_proto::internal::v1::raft_service_client::RaftServiceClient;
use fulcrum_proto::internal::v1::{
    Envelope, ForwardApplyRequest, ForwardRollbackRequest, ForwardTransferRequest,
    ForwardWriteRequest, ForwardWriteResponse,
};
use fulcrum_proto::v1;
use fulcrum_runtime::trace;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Asked, is_transport};
use crate::api::errors;
use crate::raft::{Answered, Forwarded, Transferred};

/// Longest time that the leader is given for one write: its own wait for a majority and the queue before it.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(10);

/// What an older leader does not know.
const SINGLE: &str = "write of a single resource";

/// How a write is passed on: by a call that a leader of an older release knows where it understands the write as a whole, and by one
/// that it does not know where it would pass over what matters.
enum Call {
    Apply(v1::ApplyRequest),
    Rollback(v1::RollbackRequest),
    /// With what the leader does not know if it is too old.
    Write(Box<Write>, &'static str),
}

fn call(write: Forwarded) -> Call {
    let other = |write: Write, unknown: &'static str| Call::Write(Box::new(write), unknown);
    match write {
        Forwarded::Apply(apply) if apply.confirm_within.is_some() => {
            other(Write::Apply(apply), "confirm_within")
        }
        // It would prune what others own.
        Forwarded::Apply(apply) if !apply.owner.is_empty() => other(Write::Apply(apply), "owner"),
        Forwarded::Apply(apply) => Call::Apply(apply),
        Forwarded::Rollback(rollback) if rollback.confirm_within.is_some() => {
            other(Write::Rollback(rollback), "confirm_within")
        }
        Forwarded::Rollback(rollback) => Call::Rollback(rollback),
        Forwarded::Confirm(confirm) => other(Write::Confirm(confirm), "confirmation"),
        Forwarded::Create(create) => other(Write::Create(create), SINGLE),
        Forwarded::Update(update) => other(Write::Update(update), SINGLE),
        Forwarded::Delete(delete) => other(Write::Delete(delete), SINGLE),
    }
}

/// Asks the leader.
///
/// # Errors
/// As the leader answered; one that broke on the way has a source.
pub(super) async fn forward(
    mut leader: RaftServiceClient<Channel>,
    asked: &Asked,
) -> Result<Answered, Status> {
    let who = asked.who.clone();
    let identity = asked.identity.as_ref().map(ToString::to_string).unwrap_or_default();
    let (answer, unknown) = match call(asked.write.clone()) {
        Call::Apply(apply) => {
            let request = passed_on(ForwardApplyRequest { apply: Some(apply), who, identity });
            let answer = leader.forward_apply(request).await;
            (answer.map(|answer| (answer.into_inner().apply, None)), "apply")
        }
        Call::Rollback(rollback) => {
            let request =
                passed_on(ForwardRollbackRequest { rollback: Some(rollback), who, identity });
            let answer = leader.forward_rollback(request).await;
            (answer.map(|answer| (answer.into_inner().apply, None)), "rollback")
        }
        Call::Write(write, unknown) => {
            let request = passed_on(ForwardWriteRequest { write: Some(*write), who, identity });
            let answer = leader.forward_write(request).await;
            let both = |ForwardWriteResponse { apply, resource }| (apply, resource);
            (answer.map(|answer| both(answer.into_inner())), unknown)
        }
    };
    match answer {
        Ok((Some(apply), resource)) => Ok(Answered { apply, resource }),
        Ok((None, _)) => Err(Status::internal("the leader's answer is empty")),
        Err(status) => Err(as_said(status, unknown)),
    }
}

/// Asks the leader to have another controller lead.
///
/// # Errors
/// As the leader answered.
pub(super) async fn forward_transfer(
    mut leader: RaftServiceClient<Channel>,
    envelope: Option<Envelope>,
    to: Option<u64>,
    who: String,
) -> Result<Transferred, Status> {
    let to_node = to.unwrap_or_default();
    let request = passed_on(ForwardTransferRequest { envelope, to_node, who });
    let answer = leader.forward_transfer(request).await;
    let answer = answer.map_err(|status| as_said(status, "transfer of leadership"))?.into_inner();
    Ok(Transferred {
        from: answer.from_node,
        to: answer.to_node,
        term: answer.term,
        gap: Duration::from_micros(answer.gap_us),
    })
}

/// As the leader said it, without the headers of the way between.
fn as_said(status: Status, unknown: &str) -> Status {
    if status.code() == Code::Unimplemented {
        return errors::old_leader(unknown);
    }
    if is_transport(&status) {
        return status;
    }
    let details = status.details().to_vec().into();
    Status::with_details(status.code(), status.message(), details)
}

fn passed_on<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(FORWARD_TIMEOUT);
    trace::inject(request.metadata_mut());
    request
}
