//! The configuration file of the real-server agent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use fulcrum_model::Name;
use fulcrum_runtime::local_socket::MAX_PATH_BYTES;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::transport::check_plaintext;
use serde::Deserialize;

use crate::certificates::Configured;
use crate::restart::actions::{ActionFile, Actions, ServerFile};

/// How this agent runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's name, as `RealServer` resources give it.
    pub name: Name,
    /// Controllers as `host:port`, tried in order: those of the own site first.
    pub controllers: Vec<String>,
    /// Holds the plan, the epoch and the journal of what we did to the host.
    pub state_dir: PathBuf,
    /// The local socket.
    pub socket: PathBuf,
    /// TLS towards the controllers; plain text when none.
    pub tls: Option<TlsFiles>,
    /// File with a join token, used while there is no certificate yet.
    pub join_token: Option<PathBuf>,
    /// Commands that this host offers to orders.
    pub actions: Actions,
    /// Ports whose certificates are looked at, beside those of the Tomcats.
    pub certificates: Vec<Configured>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    controllers: Vec<String>,
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default = "default_socket")]
    socket: PathBuf,
    #[serde(default)]
    insecure: bool,
    tls: Option<TlsFiles>,
    join_token: Option<PathBuf>,
    #[serde(default)]
    actions: BTreeMap<String, ActionFile>,
    #[serde(default)]
    servers: BTreeMap<String, ServerFile>,
    #[serde(default)]
    certificates: Vec<CertificateFile>,
}

/// As the configuration spells a port whose certificate is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateFile {
    address: SocketAddr,
    server_name: Option<String>,
}

/// Where state is kept unless the file says otherwise.
pub fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/fulcrum/realserver")
}

fn default_socket() -> PathBuf {
    PathBuf::from("/run/fulcrum/realserver.sock")
}

/// Reads the configuration. TLS files are relative to the directory of the configuration file.
///
/// # Errors
/// Names the file, the field, the value and the remedy.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let file: File = fulcrum_runtime::config::load(path)?;
    let shown = path.display();
    let name = file.name.parse().with_context(|| {
        format!(
            "{shown}: name = {:?}: write the agent's name as RealServer resources give it",
            file.name
        )
    })?;
    if file.controllers.is_empty() {
        bail!(
            "{shown}: controllers = []: name at least one controller as \"host:port\", own site's first"
        );
    }
    for endpoint in &file.controllers {
        check_plaintext(endpoint, file.tls.as_ref(), file.insecure)
            .with_context(|| format!("{shown}: controllers"))?;
    }
    for (field, path) in [("state_dir", &file.state_dir), ("socket", &file.socket)] {
        if !path.is_absolute() {
            bail!("{shown}: {field} = {:?}: write an absolute path", path.display());
        }
    }
    if file.socket.as_os_str().len() > MAX_PATH_BYTES {
        bail!(
            "{shown}: socket = {:?}: a socket's path has at most {MAX_PATH_BYTES} bytes: shorten it",
            file.socket.display()
        );
    }
    let beside = path.parent().unwrap_or(Path::new("."));
    let tls = file.tls.map(|tls| TlsFiles {
        ca: beside.join(tls.ca),
        cert: beside.join(tls.cert),
        key: beside.join(tls.key),
    });
    let actions = Actions::new(file.actions, file.servers)
        .map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
    let certificates = file.certificates.into_iter();
    let certificates = certificates
        .map(|one| Configured { address: one.address, host: one.server_name })
        .collect();
    let join_token = file.join_token.map(|token| beside.join(token));
    let File { controllers, state_dir, socket, .. } = file;
    Ok(Config { name, controllers, state_dir, socket, tls, join_token, actions, certificates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_the_field_and_the_remedy() {
        let cases = [
            ("name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]", None),
            ("name = \"Web 1\"\ncontrollers = [\"127.0.0.1:7400\"]", Some("name = \"Web 1\"")),
            ("name = \"web1\"\ncontrollers = []", Some("name at least one controller")),
            ("name = \"web1\"\ncontrollers = [\"10.0.0.1:7400\"]", Some("controllers")),
            (
                "name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]\nstate_dir = \"x\"",
                Some("absolute"),
            ),
            (
                "name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]\n[actions]\nrestart = [\"true\"]",
                None,
            ),
            (
                "name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]\n[actions]\nrestart = []",
                Some("[actions] restart = []"),
            ),
            (
                "name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]\nsocket = \"web.sock\"",
                Some("socket = \"web.sock\": write an absolute path"),
            ),
            (
                "name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]\n[[certificates]]\naddress = \"[::1]:993\"\nserver_name = \"mail.example\"",
                None,
            ),
            (
                "name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]\n[[certificates]]\naddress = \"mail:993\"",
                Some("address"),
            ),
            (
                "name = \"web1\"\ncontrollers = [\"127.0.0.1:7400\"]\nstatedir = \"/x\"",
                Some("statedir"),
            ),
        ];
        for (text, expected) in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("realserver.toml");
            std::fs::write(&path, text).unwrap();
            match (load(&path), expected) {
                (Ok(config), None) => {
                    assert_eq!(config.state_dir, default_state_dir());
                    assert_eq!(config.socket, default_socket());
                }
                (Err(error), Some(words)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(words), "{error}");
                }
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }
}
