//! `lvsctl ipvs`

mod connections;
mod host;

use fulcrum_proto::ipvsadm::{self, Columns, Format};
use fulcrum_proto::v1;

use self::host::Part;
use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::ipvs::{Listing, count, groups, side_by_side, summary};
use crate::out;
use crate::suggest::suggest;
use crate::text::{Node, message_to_node, to_json, to_yaml};

/// Whose table, and what of it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = SIDE_BY_SIDE)]
pub(crate) struct Arguments {
    /// Only these directors' tables, in this order; of all of them when not given.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "socket")]
    director: Vec<String>,
    /// Traffic so far.
    #[arg(long, group = "columns")]
    stats: bool,
    /// Traffic per second.
    #[arg(long, group = "columns")]
    rate: bool,
    /// Numbers of connections between which real servers take new ones.
    #[arg(long, group = "columns")]
    thresholds: bool,
    /// Clients that are bound to a real server; with --connections, what their persistence engine goes by.
    #[arg(long, group = "columns")]
    persistent_conn: bool,
    /// What packets are wrapped in on their way to a real server.
    #[arg(long, group = "columns")]
    tun_info: bool,
    /// How long connections are kept, in seconds: of idle TCP connections, of closed ones, of idle UDP flows.
    #[arg(long, group = "columns")]
    timeout: bool,
    /// The kernel's sync daemons.
    #[arg(long, group = "columns")]
    daemon: bool,
    /// Connections, one a line. They are read on the director itself: with --socket.
    #[arg(short, long, conflicts_with_all = ["stats", "rate", "thresholds", "tun_info", "timeout", "daemon", "save"])]
    connections: bool,
    /// One director's table as rules that `ipvsadm -R` takes; thresholds too, which `ipvsadm -S` forgets.
    #[arg(short = 'S', long, conflicts_with = "columns")]
    save: bool,
    /// Large numbers with all of their digits.
    #[arg(long)]
    exact: bool,
    /// What ipvsadm prints, to the letter: each director by itself, and not a word on what is wanted.
    #[arg(long)]
    plain: bool,
}

const SIDE_BY_SIDE: &str = "\
Directors that have virtual servers in common stand side by side: what is the same once, weights, connections and \
traffic of each in columns of its own. Behind a line stands in which way they differ from each other, and from what is \
wanted: `# d2: weight 0 instead of 5`. A director alone is listed as ipvsadm does it, with these notes. The exit code is \
1 when something differs from what is wanted, unless --plain or --save is given.";

impl Arguments {
    fn part(&self) -> Option<Part> {
        match self {
            Self { timeout: true, .. } => Some(Part::Timeouts),
            Self { daemon: true, .. } => Some(Part::Daemons),
            _ => None,
        }
    }

    fn columns(&self) -> Columns {
        match self {
            Self { stats: true, .. } => Columns::Stats,
            Self { rate: true, .. } => Columns::Rate,
            Self { thresholds: true, .. } => Columns::Thresholds,
            Self { persistent_conn: true, .. } => Columns::PersistentConnections,
            Self { tun_info: true, .. } => Columns::Tunnels,
            _ => Columns::Weights,
        }
    }
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let format = global.output.unwrap_or(Output::Table);
    if arguments.connections {
        return connections::run(global, arguments.persistent_conn, format).await;
    }
    let listings = if let Some(socket) = &global.socket {
        let status = super::status::ask_director(socket).await?;
        let observed = status.observed.unwrap_or_default();
        vec![Listing { director: status.name, attached: true, observed }]
    } else {
        let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
        choose(listings(super::status::ask(&controllers).await?), &arguments.director)?
    };
    if arguments.save {
        out::print(&save(&listings, format)?)?;
        return Ok(Exit::Ok);
    }
    // Whoever has named one director knows whose table it is.
    let is_named = global.socket.is_some() || arguments.director.len() == 1;
    if let Some(part) = arguments.part() {
        out::print(&host::render(&listings, part, !is_named, format))?;
        return Ok(Exit::Ok);
    }
    out::print(&render(&listings, !is_named, &arguments, format))?;
    warn(&listings, &arguments);
    let is_different = listings.iter().any(|listing| count(listing) > 0);
    Ok(if is_different && !arguments.plain { Exit::Unhealthy } else { Exit::Ok })
}

/// The directors that have told of their table.
fn listings(topology: v1::Topology) -> Vec<Listing> {
    topology
        .agents
        .into_iter()
        .filter_map(|agent| {
            let observed = agent.director?;
            Some(Listing { director: agent.name, attached: agent.attached, observed })
        })
        .collect()
}

/// Those that are wanted, in that order; all when none is named.
fn choose(listings: Vec<Listing>, wanted: &[String]) -> Result<Vec<Listing>, Failure> {
    if wanted.is_empty() {
        return Ok(listings);
    }
    let chosen = wanted.iter().map(|wanted| {
        let found = listings.iter().find(|listing| &listing.director == wanted);
        found.cloned().ok_or_else(|| unknown(wanted, &listings))
    });
    chosen.collect()
}

fn unknown(wanted: &str, listings: &[Listing]) -> Failure {
    let known: Vec<&str> = listings.iter().map(|listing| listing.director.as_str()).collect();
    let remedy = match suggest(wanted, known.iter().copied()) {
        Some(name) => format!("did you mean {name}?"),
        None if known.is_empty() => "no director has told of its table yet".to_owned(),
        None => format!("there are {}", known.join(", ")),
    };
    Failure::new(Exit::NotFound, format!("no table of a director {wanted:?}: {remedy}"))
}

/// What the listing itself does not say, on standard error.
fn warn(listings: &[Listing], arguments: &Arguments) {
    if listings.is_empty() {
        eprintln!("lvsctl: no director has told of its table yet");
    }
    for listing in listings.iter().filter(|listing| !listing.attached) {
        eprintln!(
            "lvsctl: director {} is not attached: this is what it told last; on its host, \
             `lvsctl --socket /run/fulcrum/director.sock ipvs` tells what is",
            listing.director
        );
    }
    if let Some(summary) = summary(listings).filter(|_| !arguments.plain) {
        eprintln!("lvsctl: {summary}");
    }
}

/// One director's rules.
fn save(listings: &[Listing], format: Output) -> Result<String, Failure> {
    if format != Output::Table {
        return Err(Failure::usage(
            "--save prints ipvsadm's rules: leave -o out, or --save for every field of every entry",
        ));
    }
    match listings {
        [listing] => Ok(ipvsadm::save(&listing.observed.ipvs)),
        [] => Err(Failure::new(Exit::NotFound, "no director has told of its table yet")),
        _ => {
            let names: Vec<&str> = listings.iter().map(|found| found.director.as_str()).collect();
            let names = names.join(", ");
            Err(Failure::usage(format!("--save takes one director of {names}: add --director")))
        }
    }
}

fn render(listings: &[Listing], with_names: bool, arguments: &Arguments, format: Output) -> String {
    if format != Output::Table {
        let node = Node::List(listings.iter().map(to_node).collect());
        return if format == Output::Json { to_json(&node) } else { to_yaml(&node) };
    }
    let (columns, exact) = (arguments.columns(), arguments.exact);
    let alone = |listing: &Listing| {
        let Listing { director, observed, .. } = listing;
        let format = Format { columns, exact, marks: !arguments.plain };
        let table = ipvsadm::listing(format, observed.ipvs_kernel.as_ref(), &observed.ipvs);
        if with_names { format!("director {director}\n{table}") } else { table }
    };
    let tables: Vec<String> = if arguments.plain {
        listings.iter().map(alone).collect()
    } else {
        let groups = groups(listings).into_iter();
        let together = groups.map(|group| match group.as_slice() {
            [listing] => alone(listing),
            group => side_by_side(columns, exact, group),
        });
        together.collect()
    };
    tables.join("\n")
}

fn to_node(listing: &Listing) -> Node {
    let entries = listing.observed.ipvs.iter();
    let entries = entries.map(|entry| message_to_node("fulcrum.v1.IpvsVirtualServer", entry));
    Node::Map(vec![
        ("director".to_owned(), Node::text(&listing.director)),
        ("ipvs".to_owned(), Node::List(entries.collect())),
    ])
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn arguments(words: &str) -> Arguments {
        let words = ["lvsctl", "ipvs"].into_iter().chain(words.split_whitespace());
        let Verb::Ipvs(arguments) = Cli::parse_from(words).verb else { panic!("ipvs") };
        arguments
    }

    fn listing(name: &str, vips: &[&str]) -> Listing {
        let servers = vips.iter().map(|vip| {
            let (vip, scheduler) = ((*vip).to_owned(), "rr".to_owned());
            v1::IpvsVirtualServer { vip, port: 80, protocol: 6, scheduler, ..Default::default() }
        });
        let observed = v1::DirectorObserved { ipvs: servers.collect(), ..Default::default() };
        Listing { director: name.to_owned(), attached: true, observed }
    }

    #[test]
    fn tables_carry_their_directors_names_unless_one_was_asked_for() {
        let title = "Prot LocalAddress:Port Scheduler Flags\n  \
                     -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n";
        let two = [listing("d1", &[]), listing("d2", &[])];
        let both = format!("director d1\n{title}\ndirector d2\n{title}");
        assert_eq!(render(&two, true, &arguments(""), Output::Table), both);
        let one = [listing("d1", &[])];
        assert_eq!(render(&one, false, &arguments(""), Output::Table), title);
        let yaml = render(&one, true, &arguments(""), Output::Yaml);
        assert_eq!(yaml, "- director: d1\n  ipvs: []\n");
    }

    #[test]
    fn what_directors_share_stands_once_unless_it_is_to_be_plain() {
        let two = [listing("d1", &["10.0.0.1"]), listing("d2", &["10.0.0.1"])];
        let lines = |words| {
            let text = render(&two, true, &arguments(words), Output::Table);
            text.matches("TCP  10.0.0.1:80").count()
        };
        assert_eq!((lines(""), lines("--stats"), lines("--plain")), (1, 1, 2));
    }

    #[test]
    fn rules_are_of_one_director() {
        let one = [listing("d1", &["10.0.0.1"])];
        let saved = save(&one, Output::Table).expect("one director");
        assert_eq!(saved, "-A -t 10.0.0.1:80 -s rr\n");
        let two = [listing("d1", &[]), listing("d2", &[])];
        for (listings, format, expected) in [
            (&two[..], Output::Table, "--save takes one director of d1, d2: add --director"),
            (&[], Output::Table, "no director has told of its table yet"),
            (&one, Output::Json, "--save prints ipvsadm's rules: leave -o out, or --save for"),
        ] {
            let failure = save(listings, format).expect_err("refused");
            assert!(failure.text.starts_with(expected), "{failure}");
        }
    }

    #[test]
    fn directors_are_chosen_in_the_order_given() {
        let both = || vec![listing("d1", &[]), listing("director-2", &[])];
        let names = |wanted: &[&str]| -> Result<Vec<String>, String> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let chosen = choose(both(), &wanted).map_err(|failure| failure.text)?;
            Ok(chosen.into_iter().map(|listing| listing.director).collect())
        };
        let owned = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names(&[]), owned(&["d1", "director-2"]));
        assert_eq!(names(&["director-2", "d1"]), owned(&["director-2", "d1"]));
        let suggested = "no table of a director \"director2\": did you mean director-2?";
        assert_eq!(names(&["d1", "director2"]), Err(suggested.to_owned()));
    }
}
