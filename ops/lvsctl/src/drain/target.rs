//! What a drain names, and how its order is named.

use crate::exit::{Exit, Failure};
use crate::order::Cluster;
use crate::suggest::suggest;

/// What can be drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A real server, of new connections.
    RealServer(String),
    /// A director, of VIPs.
    Director(String),
}

/// Reads `NAME`, `real-server/NAME` or `director/NAME`.
///
/// # Errors
/// [`Exit::NotFound`] when there is none, [`Exit::Usage`] when there are both.
pub(crate) fn read_target(cluster: &Cluster, text: &str) -> Result<Target, Failure> {
    let (kind, name) = match text.split_once('/') {
        None => (None, text),
        Some((kind @ ("real-server" | "director"), name)) => (Some(kind), name),
        Some((kind, _)) => {
            let text =
                format!("{kind:?} cannot be drained; write real-server/NAME or director/NAME");
            return Err(Failure::usage(text));
        }
    };
    let is_real_server = kind != Some("director") && cluster.real_servers.contains_key(name);
    let is_director = kind != Some("real-server") && cluster.directors.contains(name);
    match (is_real_server, is_director) {
        (true, false) => Ok(Target::RealServer(name.to_owned())),
        (false, true) => Ok(Target::Director(name.to_owned())),
        (true, true) => {
            let text = format!(
                "{name} is a real server and a director; write real-server/{name} or director/{name}"
            );
            Err(Failure::usage(text))
        }
        (false, false) => Err(unknown(cluster, kind, name)),
    }
}

fn unknown(cluster: &Cluster, kind: Option<&str>, name: &str) -> Failure {
    let real_servers = cluster.real_servers.keys().filter(|_| kind != Some("director"));
    let directors = cluster.directors.iter().filter(|_| kind != Some("real-server"));
    let known: Vec<&str> = directors.chain(real_servers).map(String::as_str).collect();
    let what = match kind {
        Some("director") => "director",
        Some(_) => "real server",
        None => "real server or director",
    };
    let remedy = match suggest(name, known.iter().copied()) {
        Some(similar) => format!("did you mean {similar}?"),
        None => "`lvsctl get real-servers` and `lvsctl get directors` list them".to_owned(),
    };
    Failure::new(Exit::NotFound, format!("there is no {what} {name:?}: {remedy}"))
}

/// The name of the order for a real server, or for one in one virtual server: that of the one there is, or one made of both
/// names, with a number where that is taken.
pub(crate) fn name_for(cluster: &Cluster, real_server: &str, of: Option<&str>) -> String {
    let is_same = |drain: &fulcrum_proto::v1::Drain| {
        drain.real_server == real_server && drain.virtual_server == of.unwrap_or_default()
    };
    if let Some((name, _)) = cluster.drains.iter().find(|(_, drain)| is_same(drain)) {
        return name.clone();
    }
    let base = of.map_or_else(|| real_server.to_owned(), |of| format!("{real_server}.{of}"));
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone())
        .chain(numbered)
        .find(|name| !cluster.drains.contains_key(name))
        .unwrap_or(base)
}

/// The orders for a real server: all of them, or those of one virtual server.
pub(crate) fn orders_of(cluster: &Cluster, real_server: &str, of: Option<&str>) -> Vec<String> {
    let orders = cluster.drains.iter().filter(|(_, drain)| {
        drain.real_server == real_server && of.is_none_or(|of| drain.virtual_server == of)
    });
    orders.map(|(name, _)| name.clone()).collect()
}
