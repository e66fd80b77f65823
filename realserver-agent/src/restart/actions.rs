//! The commands that this host offers to orders, from the agent's own configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use fulcrum_model::Name;
use serde::Deserialize;

/// How long a command may take unless the configuration says otherwise: a Tomcat with many applications stops and starts
/// within it.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);
/// Longest time that may be given.
const MAX_TIMEOUT: Duration = Duration::from_hours(1);

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The program and its arguments, no shell.
    pub command: Vec<String>,
    /// It is killed after so long.
    pub timeout: Duration,
}

/// Commands by name, for every server of the host and for some alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    common: BTreeMap<Name, Action>,
    own: BTreeMap<Name, BTreeMap<Name, Action>>,
}

/// As the configuration spells a command.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum ActionFile {
    /// `["systemctl", "restart", "tomcat10"]`
    Command(Vec<String>),
    /// `{ command = [...], timeout = "10m" }`
    Table {
        /// The program and its arguments.
        command: Vec<String>,
        /// Longest time.
        timeout: Option<String>,
    },
}

/// As the configuration spells what it says of one server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFile {
    /// Its own commands, which go before those for all.
    #[serde(default)]
    pub actions: BTreeMap<String, ActionFile>,
}

impl Actions {
    /// Reads what the configuration says.
    ///
    /// # Errors
    /// The field, the value and the remedy.
    pub fn new(
        common: BTreeMap<String, ActionFile>,
        servers: BTreeMap<String, ServerFile>,
    ) -> Result<Self, String> {
        let mut own = BTreeMap::new();
        for (server, file) in servers {
            let name: Name =
                server.parse().map_err(|error| format!("[servers.{server}]: {error}"))?;
            own.insert(name, actions(&format!("servers.{server}.actions"), file.actions)?);
        }
        Ok(Self { common: actions("actions", common)?, own })
    }

    /// A server's command of that name.
    pub fn of(&self, server: &Name, action: &Name) -> Option<&Action> {
        let own = self.own.get(server).and_then(|own| own.get(action));
        own.or_else(|| self.common.get(action))
    }
}

fn actions(
    place: &str,
    file: BTreeMap<String, ActionFile>,
) -> Result<BTreeMap<Name, Action>, String> {
    let action = |(key, file): (String, ActionFile)| {
        let name: Name = key.parse().map_err(|error| format!("[{place}] {key}: {error}"))?;
        let (command, timeout) = match file {
            ActionFile::Command(command) => (command, None),
            ActionFile::Table { command, timeout } => (command, timeout),
        };
        if command.first().is_none_or(String::is_empty) || command.iter().any(|a| a.contains('\0'))
        {
            return Err(format!(
                "[{place}] {key} = {command:?}: write the program and its arguments, such as [\"systemctl\", \"restart\", \
                 \"tomcat10\"]"
            ));
        }
        let timeout = match timeout {
            None => DEFAULT_TIMEOUT,
            Some(text) => humantime::parse_duration(&text)
                .ok()
                .filter(|timeout| (Duration::from_secs(1)..=MAX_TIMEOUT).contains(timeout))
                .ok_or_else(|| format!("[{place}] {key}: timeout = {text:?}: use 1s to 1h"))?,
        };
        Ok((name, Action { command, timeout }))
    };
    file.into_iter().map(action).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        actions: BTreeMap<String, ActionFile>,
        #[serde(default)]
        servers: BTreeMap<String, ServerFile>,
    }

    fn read(text: &str) -> Result<Actions, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("realserver.toml");
        std::fs::write(&path, text).unwrap();
        let file: File = fulcrum_runtime::config::load(&path).map_err(|error| error.to_string())?;
        Actions::new(file.actions, file.servers)
    }

    #[test]
    fn a_server_has_its_own_command_or_the_common_one() {
        let actions = read(
            "[actions]\nrestart = [\"systemctl\", \"restart\", \"tomcat10\"]\n\
             [servers.web2.actions]\nrestart = { command = [\"/opt/restart\"], timeout = \"90s\" }\n",
        )
        .unwrap();
        let name = |text: &str| -> Name { text.parse().unwrap() };
        let of = |server: &str, action: &str| {
            let action = actions.of(&name(server), &name(action));
            action.map(|action| (action.command.join(" "), action.timeout.as_secs()))
        };
        assert_eq!(of("web1", "restart"), Some(("systemctl restart tomcat10".to_owned(), 300)));
        assert_eq!(of("web2", "restart"), Some(("/opt/restart".to_owned(), 90)));
        assert_eq!(of("web2", "redeploy"), None);
        assert_eq!(read(""), Ok(Actions::default()));
    }

    #[test]
    fn mistakes_name_the_field_and_the_remedy() {
        let cases = [
            ("[actions]\nrestart = []", "[actions] restart = []: write the program"),
            ("[actions]\nrestart = [\"\"]", "write the program"),
            ("[actions]\nRestart = [\"x\"]", "[actions] Restart: a name holds only"),
            (
                "[servers.web2.actions]\nrestart = { command = [\"x\"], timeout = \"2h\" }",
                "[servers.web2.actions] restart: timeout = \"2h\": use 1s to 1h",
            ),
            ("[servers.Web.actions]\nrestart = [\"x\"]", "[servers.Web]: a name holds only"),
            ("[servers.web2]\naction = {}", "unknown field"),
        ];
        for (text, expected) in cases {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
