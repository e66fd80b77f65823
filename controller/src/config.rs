//! The controller's configuration file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fulcrum_model::Name;
use fulcrum_runtime::config::ConfigError;
use fulcrum_runtime::identity::is_trust_domain;
use fulcrum_runtime::tls::TlsFiles;
use serde::Deserialize;

use crate::events::notify::Home;

/// All that a controller is told at its start, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This controller's name, one of `controllers`.
    pub name: String,
    /// The site it stands in.
    pub site: Option<Name>,
    /// Where it keeps the log and its state.
    pub data_dir: PathBuf,
    /// Plain text is allowed beyond loopback.
    pub insecure: bool,
    /// All voters, itself included, in the order of the file.
    pub controllers: Vec<Controller>,
    /// Certificates of every hop; plain text without.
    pub tls: Option<TlsFiles>,
    /// Raft's times.
    pub raft: RaftTimes,
    /// What notifications may use of this host.
    pub notifications: Home,
    /// Who may do what.
    pub access: Access,
}

/// One voter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// Raft's number of it, from 1. Never given to another controller.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its public listener, host:port, for the API and the agents.
    pub api: String,
    /// Its listener for the other controllers, host:port.
    pub raft: String,
}

/// Whether callers must have an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identities {
    /// Who has none is refused.
    Required,
    /// Who has none may do everything.
    Optional,
}

/// The `[access]` section: who may do what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// The trust domain of identities; that of this controller's own certificate when not given.
    pub trust_domain: Option<String>,
    /// Whether callers must have an identity; where this controller's own certificate has one when not given.
    pub identities: Option<Identities>,
    /// Operators who may do everything whatever the access rules say.
    pub admins: Vec<String>,
    /// Private key of the built-in authority, whose certificate is the first of `[tls] ca`. With it this controller gives certificates.
    pub ca_key: Option<PathBuf>,
    /// How long those certificates last, in hours.
    pub certificate_hours: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            trust_domain: None,
            identities: None,
            admins: vec!["admin".to_owned()],
            ca_key: None,
            certificate_hours: 30 * 24,
        }
    }
}

/// Raft's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaftTimes {
    /// Between a leader's heartbeats.
    pub heartbeat_ms: u64,
    /// Least silence of the leader before an election.
    pub election_min_ms: u64,
    /// Greatest silence of the leader before an election.
    pub election_max_ms: u64,
}

impl Default for RaftTimes {
    fn default() -> Self {
        Self { heartbeat_ms: 50, election_min_ms: 150, election_max_ms: 300 }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    site: Option<String>,
    data_dir: PathBuf,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    controllers: Vec<Controller>,
    tls: Option<TlsFiles>,
    #[serde(default)]
    raft: RaftTimes,
    #[serde(default)]
    notifications: Notifications,
    #[serde(default)]
    access: Access,
}

/// What notifications may use of this host.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notifications {
    /// Files with the secrets that policies name.
    secret_dir: Option<PathBuf>,
    /// Programs that policies name.
    command_dir: Option<PathBuf>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigRefused {
    /// The file cannot be read or holds what it should not.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// What it says does not fit together. All problems at once, one a line.
    #[error("the configuration does not fit together:\n  {}", .0.join("\n  "))]
    Content(Vec<String>),
}

impl Config {
    /// Reads and checks a file. Relative paths of `[tls]` are relative to the file's directory.
    ///
    /// # Errors
    /// [`ConfigRefused`] names the file, line and field, or every problem at once.
    pub fn load(path: &Path) -> Result<Self, ConfigRefused> {
        let mut file: File = fulcrum_runtime::config::load(path)?;
        if let (Some(tls), Some(directory)) = (&mut file.tls, path.parent()) {
            for file in [&mut tls.ca, &mut tls.cert, &mut tls.key] {
                *file = directory.join(&*file);
            }
        }
        if let (Some(key), Some(directory)) = (&mut file.access.ca_key, path.parent()) {
            *key = directory.join(&*key);
        }
        check(file)
    }

    /// One controller on loopback without certificates.
    pub fn dev(data_dir: PathBuf) -> Self {
        Self {
            name: "dev".to_owned(),
            site: None,
            data_dir,
            insecure: false,
            controllers: vec![Controller {
                id: 1,
                name: "dev".to_owned(),
                api: "127.0.0.1:7400".to_owned(),
                raft: "127.0.0.1:7401".to_owned(),
            }],
            tls: None,
            raft: RaftTimes::default(),
            notifications: Home::default(),
            access: Access::default(),
        }
    }

    /// This controller's own entry.
    ///
    /// # Panics
    /// Never for a configuration made by [`Config::load`] or [`Config::dev`]: both make sure that it is there.
    pub fn me(&self) -> &Controller {
        self.controllers
            .iter()
            .find(|controller| controller.name == self.name)
            .expect("a checked configuration lists its own controller")
    }

    /// The other controllers.
    pub fn peers(&self) -> impl Iterator<Item = &Controller> {
        self.controllers.iter().filter(|controller| controller.name != self.name)
    }

    /// The controller of a Raft node number.
    pub fn by_id(&self, id: u64) -> Option<&Controller> {
        self.controllers.iter().find(|controller| controller.id == id)
    }
}

fn check(file: File) -> Result<Config, ConfigRefused> {
    let mut problems = Vec::new();
    let site = file.site.as_deref().and_then(|site| match site.parse::<Name>() {
        Ok(site) => Some(site),
        Err(error) => {
            problems.push(format!("site = {site:?}: {error}"));
            None
        }
    });
    check_controllers(&file, &mut problems);
    check_times(file.raft, &mut problems);
    let Notifications { secret_dir, command_dir } = &file.notifications;
    for (field, directory) in [("secret_dir", secret_dir), ("command_dir", command_dir)] {
        if let Some(directory) = directory.as_ref().filter(|directory| !directory.is_absolute()) {
            let found = directory.display();
            problems.push(format!("[notifications] {field} = \"{found}\": give an absolute path"));
        }
    }
    check_access(&file.access, file.tls.is_some(), &mut problems);
    if !problems.is_empty() {
        return Err(ConfigRefused::Content(problems));
    }
    let File { name, data_dir, insecure, controllers, tls, raft, notifications, access, .. } = file;
    let Notifications { secret_dir, command_dir } = notifications;
    let notifications = Home { secrets: secret_dir, commands: command_dir };
    Ok(Config { name, site, data_dir, insecure, controllers, tls, raft, notifications, access })
}

fn check_controllers(file: &File, problems: &mut Vec<String>) {
    let names: Vec<&str> = file.controllers.iter().map(|c| c.name.as_str()).collect();
    if !names.contains(&file.name.as_str()) {
        problems.push(format!(
            "name = {:?} is none of the [[controllers]] ({}): list this controller too",
            file.name,
            names.join(", ")
        ));
    }
    let (mut ids, mut seen, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for controller in &file.controllers {
        let Controller { id, name, api, raft } = controller;
        if let Err(error) = name.parse::<Name>() {
            problems.push(format!("[[controllers]] name = {name:?}: {error}"));
        }
        if *id == 0 {
            problems.push(format!("[[controllers]] {name}: id = 0, but ids count from 1"));
        }
        if !ids.insert(*id) {
            problems.push(format!("[[controllers]] {name}: id = {id} is taken: give each its own"));
        }
        if !seen.insert(name.as_str()) {
            problems.push(format!("[[controllers]] name = {name:?} is listed twice"));
        }
        for (field, address) in [("api", api), ("raft", raft)] {
            let what = format!("[[controllers]] {name}: {field} = {address:?}");
            if !is_host_and_port(address) {
                problems.push(format!("{what} is no host:port, such as 192.168.1.131:7400"));
            } else if !addresses.insert(address.as_str()) {
                problems.push(format!("{what} is used twice: each listener needs its own"));
            }
        }
    }
}

fn check_times(times: RaftTimes, problems: &mut Vec<String>) {
    let RaftTimes { heartbeat_ms, election_min_ms, election_max_ms } = times;
    if heartbeat_ms == 0 {
        problems.push("[raft] heartbeat_ms = 0: use 1 or more".to_owned());
    }
    // One late heartbeat is no reason for an election.
    if election_min_ms < heartbeat_ms.saturating_mul(2) {
        problems.push(format!(
            "[raft] election_min_ms = {election_min_ms} is less than twice heartbeat_ms = {heartbeat_ms}: one late \
             heartbeat would cost an election"
        ));
    }
    if election_max_ms <= election_min_ms {
        problems.push(format!(
            "[raft] election_max_ms = {election_max_ms} is not above election_min_ms = {election_min_ms}: candidates \
             would collide"
        ));
    }
}

fn check_access(access: &Access, has_tls: bool, problems: &mut Vec<String>) {
    let Access { trust_domain, identities, admins, ca_key, certificate_hours } = access;
    if let Some(domain) = trust_domain.as_ref().filter(|domain| !is_trust_domain(domain)) {
        problems.push(format!(
            "[access] trust_domain = {domain:?}: write 1 to 255 of a-z, 0-9, '.', '-' and '_'"
        ));
    }
    for admin in admins {
        if let Err(error) = admin.parse::<Name>() {
            problems.push(format!("[access] admins: {admin:?}: {error}"));
        }
    }
    if !has_tls && (*identities == Some(Identities::Required) || ca_key.is_some()) {
        problems
            .push("[access] asks for certificates, and without [tls] there are none".to_owned());
    }
    // A year: longer ones are no better than those that nobody renews.
    if !(1..=24 * 366).contains(certificate_hours) {
        problems.push(format!(
            "[access] certificate_hours = {certificate_hours}: a certificate lasts 1 to 8784 hours"
        ));
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_v6 = host.starts_with('[') && host.ends_with(']');
        !host.is_empty()
            && (is_v6 || !host.contains([':', '/', ' ']))
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "c1"
        site = "main"
        data_dir = "/var/lib/fulcrum/controller"
        [[controllers]]
        id = 1
        name = "c1"
        api = "192.168.1.131:7400"
        raft = "192.168.1.131:7401"
        [[controllers]]
        id = 2
        name = "c2"
        api = "[2001:db8::2]:7400"
        raft = "c2.example:7401"
        [tls]
        ca = "ca.pem"
        cert = "/etc/fulcrum/c1.pem"
        key = "c1.key"
    "#;

    fn load(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("controller.toml");
        std::fs::write(&path, text).expect("a writable directory");
        let place = directory.path().display().to_string();
        Config::load(&path).map_err(|error| error.to_string().replace(&place, "DIR"))
    }

    #[test]
    fn a_good_file_is_taken_and_tls_paths_are_resolved() {
        let config = load(GOOD).expect("it is good");
        assert_eq!(config.me().id, 1);
        assert_eq!(config.peers().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["c2"]);
        assert_eq!(config.raft, RaftTimes::default());
        let tls = config.tls.expect("it has [tls]");
        assert!(tls.ca.is_absolute() && tls.ca.ends_with("ca.pem"), "{:?}", tls.ca);
        assert_eq!(tls.cert, PathBuf::from("/etc/fulcrum/c1.pem"));
        assert!(!config.insecure);
    }

    #[test]
    fn bad_files_say_what_to_do() {
        let cases: [(&str, &str, &[&str]); 12] = [
            ("[tls]", "[access]\nadmins = [\"Anna\"]\n[tls]", &["admins", "\"Anna\""]),
            ("[tls]", "[access]\ntrust_domain = \"A/b\"\n[tls]", &["trust_domain", "A/b"]),
            ("[tls]", "[access]\nidentities = \"maybe\"\n[tls]", &["`required`", "`optional`"]),
            ("[tls]", "[access]\ncertificate_hours = 0\n[tls]", &["1 to 8784 hours"]),
            ("data_dir", "data_dirr", &["DIR/controller.toml:4", "did you mean `data_dir`"]),
            ("name = \"c1\"\n        site", "name = \"c9\"\n        site", &["\"c9\"", "c1, c2"]),
            ("id = 2", "id = 1", &["c2: id = 1 is taken"]),
            ("id = 2", "id = 0", &["ids count from 1"]),
            ("name = \"c2\"", "name = \"C_2\"", &["C_2", "a-z"]),
            ("192.168.1.131:7400", "192.168.1.131", &["no host:port"]),
            ("c2.example:7401", "192.168.1.131:7401", &["used twice"]),
            ("site = \"main\"", "site = \"\"", &["site = \"\"", "required"]),
        ];
        for (from, to, expected) in cases {
            let error = load(&GOOD.replacen(from, to, 1)).expect_err("it is bad");
            for part in expected {
                assert!(error.contains(part), "{to}: {error}");
            }
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = format!("{GOOD}\n[raft]\nheartbeat_ms = 100\nelection_max_ms = 120\n")
            .replacen("id = 2", "id = 1", 1);
        let error = load(&text).expect_err("it is bad");
        for part in ["is taken", "twice heartbeat_ms", "candidates"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
