//! The configuration file of the director agent.

use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use fulcrum_model::Name;
use fulcrum_runtime::config::ConfigError;
use fulcrum_runtime::local_socket::MAX_PATH_BYTES;
use fulcrum_runtime::tls::TlsFiles;
use fulcrum_runtime::transport::{TransportError, check_plaintext};
use nix::unistd::{Gid, Uid, User, geteuid};
use serde::Deserialize;

use crate::track::command::CommandHome;

/// How this director runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of its `Director` resource.
    pub name: Name,
    /// Controllers as `host:port`, tried in order: those of the own site first.
    pub controllers: Vec<String>,
    /// Holds the plan, the latch of ARP safety, the epoch and the journal of entries we made.
    pub state_dir: PathBuf,
    /// The local socket.
    pub socket: PathBuf,
    /// TLS towards the controllers; plain text when none.
    pub tls: Option<TlsFiles>,
    /// File with a join token, used while there is no certificate yet.
    pub join_token: Option<PathBuf>,
    /// The programs that VRRP instances and checks may run; none are run without it.
    pub commands: Option<CommandHome>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read, or has a field that is wrong in form.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// A field's value cannot be used.
    #[error("{path}: {field} = {value:?}: {reason}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What is wrong, with the remedy.
        reason: String,
    },
    /// Plain text beyond loopback, or an endpoint that is none.
    #[error("{path}: controllers: {source}", path = path.display())]
    Endpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TransportError,
    },
}

#[derive(Deserialize, Debug)]
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
    track_command_dir: Option<PathBuf>,
    track_command_user: Option<String>,
}

/// The state directory, unless the file names another.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/fulcrum/director";

fn default_state_dir() -> PathBuf {
    PathBuf::from(DEFAULT_STATE_DIR)
}

fn default_socket() -> PathBuf {
    PathBuf::from("/run/fulcrum/director.sock")
}

/// Reads the configuration. TLS files are relative to the directory of the configuration file. `insecure` allows plain
/// text beyond loopback whatever the file says of it.
///
/// # Errors
/// [`SettingsError`] names the file, the field and the remedy.
pub fn load(path: &Path, insecure: bool) -> Result<Config, SettingsError> {
    let file: File = fulcrum_runtime::config::load(path)?;
    let refuse = |field: &str, value: &str, reason: String| SettingsError::Field {
        path: path.to_owned(),
        field: field.to_owned(),
        value: value.to_owned(),
        reason,
    };
    let name = file.name.parse().map_err(|error| {
        refuse("name", &file.name, format!("{error}; write the name of the Director resource"))
    })?;
    if file.controllers.is_empty() {
        let reason = "name at least one controller as \"host:port\", own site's first";
        return Err(refuse("controllers", "[]", reason.to_owned()));
    }
    for endpoint in &file.controllers {
        check_plaintext(endpoint, file.tls.as_ref(), file.insecure || insecure)
            .map_err(|source| SettingsError::Endpoint { path: path.to_owned(), source })?;
    }
    let paths = [("state_dir", &file.state_dir), ("socket", &file.socket)];
    let command_dir = file.track_command_dir.iter().map(|path| ("track_command_dir", path));
    for (field, value) in paths.into_iter().chain(command_dir) {
        if !value.is_absolute() {
            let reason = "write an absolute path".to_owned();
            return Err(refuse(field, &value.to_string_lossy(), reason));
        }
    }
    if file.socket.as_os_str().len() > MAX_PATH_BYTES {
        let reason = format!("a socket's path has at most {MAX_PATH_BYTES} bytes: shorten it");
        return Err(refuse("socket", &file.socket.to_string_lossy(), reason));
    }
    let user = file
        .track_command_user
        .as_deref()
        .map(|name| ids_of(name).map_err(|reason| refuse("track_command_user", name, reason)));
    let user = user.transpose()?;
    if let (Some(name), None) = (&file.track_command_user, &file.track_command_dir) {
        let reason = "set track_command_dir to the directory of its commands, or leave it out";
        return Err(refuse("track_command_user", name, reason.to_owned()));
    }
    let beside = path.parent().unwrap_or(Path::new("."));
    let tls = file.tls.map(|tls| TlsFiles {
        ca: beside.join(tls.ca),
        cert: beside.join(tls.cert),
        key: beside.join(tls.key),
    });
    Ok(Config {
        name,
        controllers: file.controllers,
        state_dir: file.state_dir,
        socket: file.socket,
        tls,
        join_token: file.join_token.map(|token| beside.join(token)),
        commands: file.track_command_dir.map(|directory| CommandHome { directory, user }),
    })
}

/// The user and group of that name; an error says why commands cannot run as it, with the remedy.
fn ids_of(name: &str) -> Result<(Uid, Gid), String> {
    let user = User::from_name(name).map_err(|errno| format!("cannot look it up: {errno}"))?;
    let user = user.ok_or_else(|| {
        format!("this host has no such user: `useradd --system --shell /usr/sbin/nologin {name}`")
    })?;
    let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let is_other = user.uid != geteuid();
    if is_other && !(may(Capability::CAP_SETUID) && may(Capability::CAP_SETGID)) {
        return Err("the director may not run anything as another user: leave it out, or add CAP_SETUID and CAP_SETGID to \
                    AmbientCapabilities and CapabilityBoundingSet of its unit"
            .to_owned());
    }
    Ok((user.uid, user.gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("director.toml");
        std::fs::write(&path, text).expect("written");
        load(&path, false)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn a_small_file_is_enough() {
        let config = read("name = \"d1\"\ncontrollers = [\"127.0.0.1:7400\"]\n").expect("valid");
        assert_eq!(config.socket, default_socket());
        assert_eq!(config.state_dir, default_state_dir());
        assert_eq!((config.tls, config.commands), (None, None));
    }

    #[test]
    fn errors_name_field_and_remedy() {
        let base = "name = \"d1\"\ncontrollers = [\"127.0.0.1:7400\"]\n";
        let cases = [
            (
                "name = \"D1\"\ncontrollers = [\"127.0.0.1:7400\"]\n".to_owned(),
                "FILE: name = \"D1\": a name holds only a-z, 0-9, '-' and '.', not 'D'; \
                 write the name of the Director resource",
            ),
            (
                "name = \"d1\"\ncontrollers = []\n".to_owned(),
                "FILE: controllers = \"[]\": name at least one controller as \"host:port\", own site's first",
            ),
            (
                format!("{base}state_dir = \"state\"\n"),
                "FILE: state_dir = \"state\": write an absolute path",
            ),
            (
                format!("{base}track_command_dir = \"checks\"\n"),
                "FILE: track_command_dir = \"checks\": write an absolute path",
            ),
            (
                format!(
                    "{base}track_command_dir = \"/x\"\ntrack_command_user = \"no-such-user\"\n"
                ),
                "FILE: track_command_user = \"no-such-user\": this host has no such user: `useradd ",
            ),
            (
                format!("{base}track_command_user = \"root\"\n"),
                "FILE: track_command_user = \"root\": ",
            ),
            (
                format!("{base}socket = \"/{}\"\n", "s".repeat(107)),
                "a socket's path has at most 107 bytes: shorten it",
            ),
            (
                "name = \"d1\"\ncontrollers = [\"192.168.1.131:7400\"]\n".to_owned(),
                "FILE: controllers: 192.168.1.131:7400 is beyond loopback and would be plain text",
            ),
            (format!("{base}stat_dir = \"/x\"\n"), "did you mean `state_dir`?"),
        ];
        for (text, expected) in cases {
            let error = read(&text).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn tls_files_lie_beside_the_configuration() {
        let text = "name = \"d1\"\ncontrollers = [\"192.168.1.131:7400\"]\n\
                    [tls]\nca = \"ca.pem\"\ncert = \"/etc/d1.pem\"\nkey = \"d1.key\"\n";
        let tls = read(text).expect("valid").tls.expect("given");
        assert!(tls.ca.is_absolute() && tls.ca.ends_with("ca.pem"));
        assert_eq!(tls.cert, Path::new("/etc/d1.pem"));
    }
}
