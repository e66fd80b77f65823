//! What the directors tell, as `lvsctl status` prints it for programs: to the controllers now and then, and at once to who
//! asks by their local sockets.

use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Cluster, config, text};
use crate::net::topology::{DIRECTORS, Node};

/// Entries that a director's agent wrote since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    /// Added.
    pub(crate) added: usize,
    /// Edited.
    pub(crate) edited: usize,
    /// Deleted.
    pub(crate) deleted: usize,
    /// Those of them that put right what another program had changed.
    pub(crate) repaired: usize,
}

impl Writes {
    /// All of them.
    pub(crate) fn all(self) -> usize {
        self.added + self.edited + self.deleted
    }

    /// What came since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            added: self.added.saturating_sub(before.added),
            edited: self.edited.saturating_sub(before.edited),
            deleted: self.deleted.saturating_sub(before.deleted),
            repaired: self.repaired.saturating_sub(before.repaired),
        }
    }

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            added: self.added + other.added,
            edited: self.edited + other.edited,
            deleted: self.deleted + other.deleted,
            repaired: self.repaired + other.repaired,
        }
    }
}

/// What a director told of itself in its last report.
pub(crate) fn of(cluster: &Cluster, director: Node) -> Result<Value> {
    let status = status(cluster, &[])?;
    let agents = status["agents"].as_array().context("the status has no agents")?;
    let agent = agents.iter().find(|agent| agent["name"] == director.name);
    Ok(agent.with_context(|| format!("the status has no {}", director.name))?["director"].clone())
}

/// When the agent of a real server last saw its Tomcat end, by its own clock, which all of the lab's hosts share.
pub(crate) fn exit_seen_at(cluster: &Cluster, real_server: Node) -> Result<Option<SystemTime>> {
    exit_of(&status(cluster, &[])?, real_server.name)
}

fn exit_of(status: &Value, real_server: &str) -> Result<Option<SystemTime>> {
    let evidence = status["evidence"].as_array().context("the status has no evidence")?;
    let servers = evidence.iter().filter_map(|evidence| evidence["servers"].as_array()).flatten();
    let mut servers = servers.filter(|server| server["real_server"] == real_server);
    let Some(at) = servers.find_map(|server| server["exit_seen_at"].as_str()) else {
        return Ok(None);
    };
    let at = humantime::parse_rfc3339(at).with_context(|| format!("exit_seen_at {at:?}"))?;
    Ok(Some(at))
}

/// What a director tells of itself at this moment.
pub(crate) fn local(cluster: &Cluster, director: Node) -> Result<Value> {
    let socket = config::socket(director, &cluster.dir);
    let status = status(cluster, &["--socket", &socket.to_string_lossy()])?;
    Ok(status["observed"].clone())
}

/// What a director's agent wrote since its start, by its own word of this moment.
pub(crate) fn writes(cluster: &Cluster, director: Node) -> Result<Writes> {
    counted(director, &local(cluster, director)?)
}

/// The same by its last report, some seconds old: what a director tells by itself of a large plan is large.
pub(crate) fn writes_reported(cluster: &Cluster, director: Node) -> Result<Writes> {
    counted(director, &of(cluster, director)?)
}

fn counted(director: Node, observed: &Value) -> Result<Writes> {
    let edits = &observed["edits"];
    if edits.is_null() {
        bail!("{} does not tell of its edits: {observed}", director.name);
    }
    // A count of zero is left out.
    let of = |name: &str| {
        let count = edits[name].as_u64().unwrap_or_default();
        usize::try_from(count).context("a count of edits")
    };
    Ok(Writes {
        added: of("added")?,
        edited: of("edited")?,
        deleted: of("deleted")?,
        repaired: of("drift_repaired")?,
    })
}

fn status(cluster: &Cluster, whom: &[&str]) -> Result<Value> {
    let arguments = [whom, &["-o", "json", "status"]].concat();
    // Exit code 1 tells of problems, and the status is printed all the same.
    let output = cluster.lvsctl(&arguments)?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("lvsctl status: {}{}", text(&output.stdout), text(&output.stderr)))
}

/// The sum over both directors.
pub(crate) fn writes_of_both(cluster: &Cluster) -> Result<Writes> {
    let [first, second] = DIRECTORS;
    Ok(writes(cluster, first)?.and(writes(cluster, second)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_exit_is_read_with_its_fraction() {
        let status = json!({"evidence": [
            {"agent": "web1", "servers": [{"real_server": "web1"}]},
            {"agent": "web2", "servers": [
                {"real_server": "web2", "exit_seen_at": "1970-01-01T00:00:07.250000123Z"}
            ]}
        ]});
        let at = SystemTime::UNIX_EPOCH + Duration::new(7, 250_000_123);
        assert_eq!(exit_of(&status, "web2").unwrap(), Some(at));
        assert_eq!(exit_of(&status, "web1").unwrap(), None);
        assert!(exit_of(&json!({}), "web1").is_err());
    }
}
