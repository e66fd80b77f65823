//! Configuration files of Fulcrum's programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::pki::{self, Files};
use crate::net::topology::{CONTROLLERS, Node};
use crate::peers::tomcat;

/// Ports of the controllers.
const API_PORT: u16 = 7400;
const RAFT_PORT: u16 = 7401;

/// The API endpoint of a controller.
pub(crate) fn api(node: Node) -> String {
    format!("{}:{API_PORT}", node.address)
}

/// A controller among its peers.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its number in Raft.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: String,
    /// Its API endpoint, host:port.
    pub(crate) api: String,
    /// Its endpoint for other controllers, host:port.
    pub(crate) raft: String,
}

/// The seed's controllers.
pub(crate) fn peers() -> Vec<Peer> {
    (1..)
        .zip(CONTROLLERS.iter())
        .map(|(id, node)| Peer {
            id,
            name: node.name.to_owned(),
            api: api(*node),
            raft: format!("{}:{RAFT_PORT}", node.address),
        })
        .collect()
}

/// A controller's file.
pub(crate) fn controller(
    name: &str,
    peers: &[Peer],
    data_dir: &Path,
    tls: Option<&Files>,
) -> String {
    let mut text = format!(
        "name = \"{name}\"\nsite = \"main\"\ndata_dir = \"{}\"\n{}",
        data_dir.display(),
        transport(tls)
    );
    for peer in peers {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[controllers]]\nid = {}\nname = \"{}\"\napi = \"{}\"\nraft = \"{}\"\n",
            peer.id, peer.name, peer.api, peer.raft
        );
    }
    text
}

/// A director's local socket.
pub(crate) fn socket(node: Node, dir: &Path) -> PathBuf {
    dir.join(node.name).join("director.sock")
}

/// An agent's file; `part` is `director` or `realserver`.
pub(crate) fn agent(node: Node, dir: &Path, part: &str) -> String {
    let home = dir.join(node.name);
    let controllers: Vec<String> =
        CONTROLLERS.iter().map(|peer| format!("\"{}\"", api(*peer))).collect();
    let tls = pki::files(dir, node.name);
    let (socket, actions) = if part == "director" {
        (socket(node, dir), String::new())
    } else {
        let restart = tomcat::restart_command(node, dir);
        let mut actions = format!("\n[actions]\nrestart = [\"{}\"]\n", restart.display());
        if tls.is_some() {
            // Nobody else speaks TLS here.
            let address = api(CONTROLLERS[0]);
            let _ = write!(actions, "\n[[certificates]]\naddress = \"{address}\"\n");
        }
        (home.join("realserver.sock"), actions)
    };
    format!(
        "name = \"{}\"\ncontrollers = [{}]\nstate_dir = \"{}\"\nsocket = \"{}\"\n{}{actions}",
        node.name,
        controllers.join(", "),
        home.join(part).display(),
        socket.display(),
        transport(tls.as_ref())
    )
}

/// Plain text, or TLS. The last keys of a file before its tables.
fn transport(tls: Option<&Files>) -> String {
    match tls {
        None => "insecure = true\n".to_owned(),
        Some(Files { ca, cert, key }) => format!(
            "\n[tls]\nca = \"{}\"\ncert = \"{}\"\nkey = \"{}\"\n",
            ca.display(),
            cert.display(),
            key.display()
        ),
    }
}
