//! Who calls.

use fulcrum_runtime::identity;
use tonic::Request;

/// Stands for a client without a certificate, as over plain text.
const ANONYMOUS: &str = "anonymous";

/// The holder of the client's verified certificate; `anonymous` where none was given or it names nobody.
pub fn who<T>(request: &Request<T>) -> String {
    let certificates = request.peer_certs();
    let leaf = certificates.as_ref().and_then(|chain| chain.first());
    leaf.and_then(|leaf| identity::holder(leaf)).unwrap_or_else(|| ANONYMOUS.to_owned())
}
