//! `lvsctl explain`

use std::time::SystemTime;

use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::paint::Paint;
use crate::suggest::suggest;
use crate::text::{to_json, to_yaml};
use crate::verbs::status::ask;
use crate::{out, status};

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A real server by its name or RIP, a virtual server or a VRRP instance by its name, or a VIP.
    subject: String,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    if global.socket.is_some() {
        let words = "explain asks controllers, who know what agents told; ask one agent alone with lvsctl --socket PATH status";
        return Err(Failure::usage(words));
    }
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let topology = ask(&controllers).await?;
    let subject = arguments.subject;
    let chains = status::explain(&topology, &subject, SystemTime::now());
    if chains.is_empty() {
        let known = status::subjects(&topology);
        let hint = match suggest(&subject, known.iter().map(String::as_str)) {
            Some(name) => format!("did you mean {name}?"),
            None => "give a real server, a virtual server, a VRRP instance, a RIP or a VIP of the intent".to_owned(),
        };
        return Err(Failure::new(Exit::NotFound, format!("nothing is called {subject:?}: {hint}")));
    }
    match global.output.unwrap_or(Output::Table) {
        Output::Table => out::print(&status::chains_to_text(&chains, Paint::detect()))?,
        Output::Json => out::print(&to_json(&status::chains_to_node(&chains)))?,
        Output::Yaml => out::print(&to_yaml(&status::chains_to_node(&chains)))?,
    }
    Ok(Exit::Ok)
}
