//! Who calls.

use tonic::Request;

use crate::access::Caller;

/// Who the gate says that calls; nobody where it was not asked.
pub fn caller<T>(request: &Request<T>) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Nobody)
}
