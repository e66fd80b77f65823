//! Passing a write on to the leader.

use std::time::Duration;

use fulcrum_proto::internal::v1::forward_write_request::Write;
use fulcrum_proto::internal::v1::raft_service_client::RaftServiceClient;
use fulcrum_proto::internal::v1::{
    ForwardApplyRequest, ForwardRollbackRequest, ForwardWriteRequest,
};
use fulcrum_proto::v1;
use fulcrum_runtime::trace;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Asked, is_transport};
use crate::api::errors;
use crate::raft::Forwarded;

/// Longest time that the leader is given for one write: its own wait for a majority and the queue before it.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(10);

/// How a write is passed on: by a call that a leader of an older release knows where it understands the write as a whole, and by one
/// that it does not know where it would pass over what matters.
enum Call {
    Apply(v1::ApplyRequest),
    Rollback(v1::RollbackRequest),
    /// With what the leader does not know if it is too old.
    Write(Write, &'static str),
}

fn call(write: Forwarded) -> Call {
    match write {
        Forwarded::Apply(apply) if apply.confirm_within.is_some() => {
            Call::Write(Write::Apply(apply), "confirm_within")
        }
        Forwarded::Apply(apply) => Call::Apply(apply),
        Forwarded::Rollback(rollback) if rollback.confirm_within.is_some() => {
            Call::Write(Write::Rollback(rollback), "confirm_within")
        }
        Forwarded::Rollback(rollback) => Call::Rollback(rollback),
        Forwarded::Confirm(confirm) => Call::Write(Write::Confirm(confirm), "confirmation"),
    }
}

/// Asks the leader.
///
/// # Errors
/// As the leader answered; one that broke on the way has a source.
pub(super) async fn forward(
    mut leader: RaftServiceClient<Channel>,
    asked: &Asked,
) -> Result<v1::ApplyResponse, Status> {
    let who = asked.who.clone();
    let (answer, unknown) = match call(asked.write.clone()) {
        Call::Apply(apply) => {
            let request = passed_on(ForwardApplyRequest { apply: Some(apply), who });
            (leader.forward_apply(request).await.map(|answer| answer.into_inner().apply), "apply")
        }
        Call::Rollback(rollback) => {
            let request = passed_on(ForwardRollbackRequest { rollback: Some(rollback), who });
            let answer = leader.forward_rollback(request).await;
            (answer.map(|answer| answer.into_inner().apply), "rollback")
        }
        Call::Write(write, unknown) => {
            let request = passed_on(ForwardWriteRequest { write: Some(write), who });
            let answer = leader.forward_write(request).await;
            (answer.map(|answer| answer.into_inner().apply), unknown)
        }
    };
    match answer {
        Ok(answer) => answer.ok_or_else(|| Status::internal("the leader's answer is empty")),
        Err(status) if status.code() == Code::Unimplemented => Err(errors::old_leader(unknown)),
        Err(status) if is_transport(&status) => Err(status),
        // As the leader said it, without the headers of the way between.
        Err(status) => {
            let details = status.details().to_vec().into();
            Err(Status::with_details(status.code(), status.message(), details))
        }
    }
}

fn passed_on<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(FORWARD_TIMEOUT);
    trace::inject(request.metadata_mut());
    request
}
