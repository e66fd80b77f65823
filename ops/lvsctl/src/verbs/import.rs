//! `lvsctl import`

use std::io::Read;
use std::path::{Path, PathBuf};

use fulcrum_proto::ipvsadm::{self, Names};
use fulcrum_proto::v1;

use super::get;
use crate::cli::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::import::{Imported, Resolver, Settings, manifests};
use crate::out;

/// Whose rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// Rules as `ipvsadm -S` prints them, with or without -n, or as scripts have them.
    Ipvsadm(IpvsadmArguments),
}

/// The rules, and what they do not say.
#[derive(Debug, clap::Args)]
#[command(after_long_help = REVIEW)]
struct IpvsadmArguments {
    /// File with the rules; - for standard input.
    #[arg(default_value = "-", value_name = "FILE|-")]
    file: PathBuf,
    /// The site of the real servers.
    #[arg(long, value_name = "NAME")]
    site: String,
    /// The VRRP instance that moves the VIPs.
    #[arg(long, value_name = "NAME")]
    vrrp_instance: String,
    /// How directors check the real servers: tcp, or http with a path such as http/health.
    #[arg(long, value_name = "tcp|http[/PATH]", default_value = "tcp", value_parser = parse_check)]
    check: CheckKind,
    /// Port of real servers that have none, as behind firewall marks: it is checked.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The real servers run Fulcrum's agent: by direct routing and tunnel they get no weight before it has reported.
    #[arg(long)]
    agents: bool,
}

const REVIEW: &str = "\
Manifests of real servers, pools and virtual servers are printed, for review and `lvsctl apply -f -`. Equal sets of real \
servers share a pool. Names are made from addresses, so that the same rules make the same names. What cannot be carried \
over is told on standard error with its line; then the exit code is 1.";

/// The kind of check that the rules' pools get.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CheckKind {
    Tcp,
    Http(String),
}

fn parse_check(text: &str) -> Result<CheckKind, String> {
    match text.split_once('/') {
        None if text == "tcp" => Ok(CheckKind::Tcp),
        None if text == "http" => Ok(CheckKind::Http("/".to_owned())),
        Some(("http", path)) => Ok(CheckKind::Http(format!("/{path}"))),
        None | Some(_) => Err("use tcp, http, or http with a path such as http/health".to_owned()),
    }
}

impl CheckKind {
    /// None for the API's default.
    fn to_wire(&self) -> Option<v1::Check> {
        let Self::Http(path) = self else { return None };
        let http = v1::HttpCheck { path: path.clone(), ..Default::default() };
        Some(v1::Check { probe: Some(v1::check::Probe::Http(http)), ..Default::default() })
    }
}

pub(crate) fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let Source::Ipvsadm(arguments) = arguments.source;
    let text = read(&arguments.file)?;
    let resolver = Resolver::of_this_host();
    let imported = import(&text, &arguments, &resolver);
    let format = global.output.unwrap_or(Output::Yaml);
    out::print(&get::render(&imported.resources, false, format))?;
    for mistake in &imported.mistakes {
        eprintln!("lvsctl: {}:{}: {}", arguments.file.display(), mistake.line, mistake.text);
    }
    match (imported.mistakes.len(), imported.resources.len()) {
        (0, 0) => Err(Failure::usage(format!(
            "no rule in {}: give what `ipvsadm -S -n` prints",
            arguments.file.display()
        ))),
        (0, _) => Ok(Exit::Ok),
        (count, _) => {
            let were = if count == 1 { "1 thing was" } else { &format!("{count} things were") };
            Err(Failure::new(Exit::Unhealthy, format!("{were} not carried over")))
        }
    }
}

fn import(text: &str, arguments: &IpvsadmArguments, resolver: &Resolver) -> Imported {
    let host = |name: &str, is_ipv6: bool| resolver.host(name, is_ipv6);
    let service = |name: &str, protocol: v1::Protocol| resolver.service(name, protocol);
    let rules = ipvsadm::parse(text, &Names { host: &host, service: &service });
    let agent =
        if arguments.agents { v1::AgentRequirement::Required } else { v1::AgentRequirement::None };
    let settings = Settings {
        site: arguments.site.clone(),
        vrrp_instance: arguments.vrrp_instance.clone(),
        check: arguments.check.to_wire(),
        port: arguments.port,
        agent,
    };
    let mut imported = manifests(&rules.virtual_servers, &settings);
    imported.mistakes.extend(rules.mistakes);
    imported.mistakes.sort_by_key(|mistake| mistake.line);
    imported
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    match read {
        Ok(()) => Ok(text),
        Err(error) => Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_spelt_in_one_word() {
        let http = |path: &str| Ok(CheckKind::Http(path.to_owned()));
        for (text, expected) in [
            ("tcp", Ok(CheckKind::Tcp)),
            ("http", http("/")),
            ("http/", http("/")),
            ("http/a/b?c=d", http("/a/b?c=d")),
        ] {
            assert_eq!(parse_check(text), expected, "{text}");
        }
        for text in ["", "tcp/x", "https", "/"] {
            assert!(parse_check(text).is_err(), "{text}");
        }
    }
}
