//! Rules as `ipvsadm -S` prints them and `ipvsadm -R` takes them, read as the table that they make.
//!
//! Long and short options, rules that edit and delete, comments behind `#`, and lines of a shell's script that begin with
//! ipvsadm's own name. What is not understood is told and left out; nothing is lost without a word.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::rule::{self, Rule};
use super::{DestinationKey, ServerKey};
use crate::v1;

/// What turns names into numbers, for rules that were saved without `-n`.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The address of a host's name: IPv6 when the second argument says so, IPv4 otherwise.
    pub host: &'a dyn Fn(&str, bool) -> Option<IpAddr>,
    /// The port of a service's name.
    pub service: &'a dyn Fn(&str, v1::Protocol) -> Option<u16>,
}

impl Names<'_> {
    /// No name means anything.
    pub fn none() -> Names<'static> {
        Names { host: &|_, _| None, service: &|_, _| None }
    }
}

/// What rules say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The table that they make, in ipvsadm's order.
    pub virtual_servers: Vec<NumberedServer>,
    /// What they say that this table does not hold, in the order of lines.
    pub mistakes: Vec<Mistake>,
}

/// A virtual server with the lines that it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedServer {
    /// Line of the rule that adds it, from 1.
    pub line: usize,
    /// Without counters; real servers in order.
    pub virtual_server: v1::IpvsVirtualServer,
    /// Line of each of its real servers' rules.
    pub destination_lines: Vec<usize>,
}

/// A rule that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its line, from 1.
    pub line: usize,
    /// Why, with the remedy.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Reads rules, a line each.
pub fn parse(text: &str, names: &Names<'_>) -> Rules {
    let mut table = Table::default();
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> =
            line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        let words = match words.split_first() {
            Some((first, rest)) if is_program(first) => rest,
            Some(_) => &words,
            None => continue,
        };
        let line = index + 1;
        if let Err(text) = rule::read(words, names).and_then(|rule| table.obey(line, rule)) {
            mistakes.push(Mistake { line, text });
        }
    }
    Rules { virtual_servers: table.into_servers(), mistakes }
}

/// ipvsadm itself, with or without its directory.
fn is_program(word: &str) -> bool {
    word.rsplit('/').next() == Some("ipvsadm")
}

/// The table as the rules so far have made it.
#[derive(Default)]
struct Table(BTreeMap<ServerKey, Entry>);

struct Entry {
    line: usize,
    virtual_server: v1::IpvsVirtualServer,
    destinations: BTreeMap<DestinationKey, (usize, v1::IpvsDestination)>,
}

impl Table {
    fn obey(&mut self, line: usize, rule: Rule) -> Result<(), String> {
        match rule {
            Rule::Clear => self.0.clear(),
            Rule::Add(virtual_server) => {
                let key = ServerKey::of(&virtual_server);
                if let Some(before) = self.0.get(&key) {
                    return Err(format!("line {} added it before: leave one out", before.line));
                }
                let destinations = BTreeMap::new();
                self.0.insert(key, Entry { line, virtual_server, destinations });
            }
            Rule::Edit(server) => {
                let entry = self.entry(&server)?;
                entry.virtual_server = server;
            }
            Rule::Delete(server) => {
                self.entry(&server)?;
                self.0.remove(&ServerKey::of(&server));
            }
            Rule::AddServer(server, destination) => {
                let key = DestinationKey::of(&destination);
                let destinations = &mut self.entry(&server)?.destinations;
                if let Some((before, _)) = destinations.get(&key) {
                    return Err(format!("line {before} added it before: leave one out"));
                }
                destinations.insert(key, (line, destination));
            }
            Rule::EditServer(server, destination) => {
                let destinations = &mut self.entry(&server)?.destinations;
                let found = destinations.get_mut(&DestinationKey::of(&destination));
                found.ok_or("no rule before adds this real server: use -a")?.1 = destination;
            }
            Rule::DeleteServer(server, destination) => {
                let destinations = &mut self.entry(&server)?.destinations;
                let found = destinations.remove(&DestinationKey::of(&destination));
                found.ok_or("no rule before adds this real server: leave it out")?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, server: &v1::IpvsVirtualServer) -> Result<&mut Entry, String> {
        let entry = self.0.get_mut(&ServerKey::of(server));
        entry.ok_or_else(|| "no rule before adds this virtual server: add it with -A".to_owned())
    }

    fn into_servers(self) -> Vec<NumberedServer> {
        let servers = self.0.into_values().map(|entry| {
            let Entry { line, mut virtual_server, destinations } = entry;
            let (destination_lines, destinations) = destinations.into_values().unzip();
            virtual_server.destinations = destinations;
            NumberedServer { line, virtual_server, destination_lines }
        });
        servers.collect()
    }
}
