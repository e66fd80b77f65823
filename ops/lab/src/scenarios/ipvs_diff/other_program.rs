//! What somebody does with `ipvsadm` on a director's host.

use anyhow::{Context as _, Result};

use super::random::Random;
use crate::net::topology::{Node, PORT, VIP};
use crate::say;
use crate::watch::ipvsadm::{self, Rules};

/// Somebody, and the entries of his own.
#[derive(Clone, Debug, Default)]
pub(super) struct OtherProgram {
    foreign: Rules,
    acts: usize,
}

impl OtherProgram {
    /// His rules.
    pub(super) fn foreign(&self) -> &Rules {
        &self.foreign
    }

    /// His virtual servers.
    pub(super) fn virtual_servers(&self) -> usize {
        self.foreign.iter().filter(|rule| rule.starts_with("-A")).count()
    }

    /// How often he acted.
    pub(super) fn acts(&self) -> usize {
        self.acts
    }

    /// Does one thing, in turn: changes an entry of ours, deletes one, or adds one. `ours` are the rules of our entries. He
    /// leaves the virtual server alone through which connections go: what he breaks, nobody mends.
    pub(super) fn act(
        &mut self,
        director: Node,
        ours: &Rules,
        random: &mut Random,
    ) -> Result<String> {
        let anchor = format!("{VIP}:{PORT} ");
        let of_kind = |kind: &str| -> Vec<Vec<&str>> {
            let rules = ours.iter().filter(|rule| rule.starts_with(kind));
            let rules = rules.filter(|rule| !rule.contains(&anchor));
            rules.map(|rule| rule.split_whitespace().collect()).collect()
        };
        let (servers, entries) = (of_kind("-A"), of_kind("-a"));
        let server = &servers[random.below(servers.len())];
        let entry = &entries[random.below(entries.len())];
        let act = self.acts % 6;
        self.acts += 1;
        // `-A -t VIP:PORT -s …` and `-a -t VIP:PORT -r RIP:PORT -g -w 1`.
        let (kind, vip) = (server[1], server[2]);
        let place = &entry[1..5];
        let mut words = match act {
            0 => [&["-e"], place, &[entry[5], "-w", "77"]].concat(),
            1 => [&["-d"], place].concat(),
            2 => vec!["-E", kind, vip, "-s", "lblc"],
            3 => vec!["-D", kind, vip],
            4 => vec!["-a", kind, vip, "-r", "10.66.3.1", "-m", "-w", "5"],
            _ => Vec::new(),
        };
        let own = format!("10.99.0.{}:80", self.acts);
        if words.is_empty() {
            words = vec!["-A", "-t", &own, "-s", "wlc"];
            self.foreign.insert(words.join(" "));
            let real_server = ["-a", "-t", &own, "-r", "10.66.3.2:80", "-m", "-w", "3"];
            self.foreign.insert(real_server.join(" "));
            ipvsadm::run(director, &words)?;
            ipvsadm::run(director, &real_server)?;
        } else {
            ipvsadm::run(director, &words).context("another program's edit")?;
        }
        let what = format!("ipvsadm {}", words.join(" "));
        say!("  {what}");
        Ok(what)
    }
}
