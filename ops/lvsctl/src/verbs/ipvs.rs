//! `lvsctl ipvs`

use fulcrum_proto::{ipvsadm, v1};

use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::out;
use crate::suggest::suggest;
use crate::text::{Node, message_to_node, to_json, to_yaml};

/// Whose table.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this director's table, exactly as `ipvsadm -Ln` prints it there.
    #[arg(long, value_name = "NAME", conflicts_with = "socket")]
    director: Option<String>,
}

/// A director's table as it was told last.
struct Listing {
    director: String,
    attached: bool,
    observed: v1::DirectorObserved,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    if let Some(socket) = &global.socket {
        let status = super::status::ask_director(socket).await?;
        let listing = Listing {
            director: status.name,
            attached: true,
            observed: status.observed.unwrap_or_default(),
        };
        out::print(&render(&[listing], false, global.output.unwrap_or(Output::Table)))?;
        return Ok(Exit::Ok);
    }
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let topology = super::status::ask(&controllers).await?;
    let mut listings = listings(topology);
    if let Some(wanted) = &arguments.director {
        let known: Vec<String> = listings.iter().map(|found| found.director.clone()).collect();
        listings.retain(|found| &found.director == wanted);
        if listings.is_empty() {
            return Err(unknown(wanted, &known));
        }
    }
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
    let with_names = arguments.director.is_none();
    out::print(&render(&listings, with_names, global.output.unwrap_or(Output::Table)))?;
    Ok(Exit::Ok)
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

fn unknown(wanted: &str, known: &[String]) -> Failure {
    let remedy = match suggest(wanted, known.iter().map(String::as_str)) {
        Some(name) => format!("did you mean {name}?"),
        None if known.is_empty() => "no director has told of its table yet".to_owned(),
        None => format!("there are {}", known.join(", ")),
    };
    Failure::new(Exit::NotFound, format!("no table of a director {wanted:?}: {remedy}"))
}

fn render(listings: &[Listing], with_names: bool, format: Output) -> String {
    if format == Output::Table {
        let tables = listings.iter().map(|Listing { director, observed, .. }| {
            let table = ipvsadm::listing(observed.ipvs_kernel.as_ref(), &observed.ipvs);
            if with_names { format!("director {director}\n{table}") } else { table }
        });
        return tables.collect::<Vec<_>>().join("\n");
    }
    let nodes = listings.iter().map(|Listing { director, observed, .. }| {
        let table =
            observed.ipvs.iter().map(|ipvs| message_to_node("fulcrum.v1.IpvsVirtualServer", ipvs));
        Node::Map(vec![
            ("director".to_owned(), Node::text(director)),
            ("ipvs".to_owned(), Node::List(table.collect())),
        ])
    });
    let node = Node::List(nodes.collect());
    if format == Output::Json { to_json(&node) } else { to_yaml(&node) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_carry_their_directors_names_unless_one_was_asked_for() {
        let listing = |name: &str| Listing {
            director: name.to_owned(),
            attached: true,
            observed: v1::DirectorObserved::default(),
        };
        let table = "Prot LocalAddress:Port Scheduler Flags\n  \
                     -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n";
        let both = render(&[listing("d1"), listing("d2")], true, Output::Table);
        assert_eq!(both, format!("director d1\n{table}\ndirector d2\n{table}"));
        assert_eq!(render(&[listing("d1")], false, Output::Table), table);
        assert_eq!(render(&[listing("d1")], true, Output::Yaml), "- director: d1\n  ipvs: []\n");
    }

    #[test]
    fn an_unknown_director_gets_a_suggestion() {
        let known = ["d1".to_owned(), "director-2".to_owned()];
        let failure = unknown("director2", &known);
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(failure.text, "no table of a director \"director2\": did you mean director-2?");
    }
}
