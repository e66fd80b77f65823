//! `lvsctl drain`

mod director;
pub(crate) mod local;

use std::path::Path;
use std::time::Duration;

use fulcrum_proto::convert::{duration_from_text, duration_to_wire};
use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

use crate::cli::Global;
use crate::connect::Controllers;
use crate::drain::{Goal, Target, Wish, follow, name_for, read_target};
use crate::exit::{Exit, Failure};
use crate::local::{Order, parse_duration};
use crate::order::{Change, Cluster, Waiting, write};
use crate::verbs::status;

/// What to free.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// A real server or a director: its name, or real-server/NAME or director/NAME where both have one of the name.
    target: String,
    /// Of this virtual server only; of every one that uses the real server when not given.
    #[arg(long, value_name = "VIRTUAL-SERVER")]
    of: Option<String>,
    /// What is left of its connections is cut after this long, such as 10m, and its entries leave the directors' tables.
    #[arg(long, value_name = "DURATION", value_parser = parse_grace)]
    grace: Option<Duration>,
    /// Why, for whoever reads the status.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Who you are, for whoever reads the status.
    #[arg(
        long,
        visible_alias = "owner",
        env = "USER",
        default_value = "lvsctl",
        value_name = "NAME"
    )]
    requested_by: String,
    /// Mean it, even where it leaves a virtual server less than half of its weight; with --socket, where it leaves one without a
    /// real server, or another owner's order stands.
    #[arg(long, visible_alias = "force")]
    allow_drastic: bool,
    /// With --socket: how long, such as 15m, which is the default; 24h at most. Then the order ends by itself.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    waiting: Waiting,
}

const HELP: &str = "\
A real server that is drained has weight 0 on every director, whatever happens there, until `lvsctl undrain`. It is done \
when the directors that forward count no connection of it, active or inactive: the kernel counts a closed connection as \
inactive for up to two minutes.

With --socket the order is given at the agent on this host, without any controller: a director gives the real server weight 0 \
in its own table; a real-server agent says so to directors. It ends by itself.

A director that is drained hands each VIP to the best of the others and takes none until `lvsctl undrain`.";

fn parse_grace(text: &str) -> Result<Duration, String> {
    duration_from_text(text).ok_or_else(|| "write a number and its unit, such as 10m".to_owned())
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    if let Some(socket) = &global.socket {
        return at_agent(global, socket, arguments).await;
    }
    if arguments.duration.is_some() {
        let text = "--for is of orders at an agent (--socket): an order of the intent stands until undrain";
        return Err(Failure::usage(text));
    }
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let cluster = Cluster::new(&status::ask(&controllers).await?);
    match read_target(&cluster, &arguments.target)? {
        Target::RealServer(name) => {
            real_server(global, &controllers, &cluster, name, arguments).await
        }
        Target::Director(name) => {
            if arguments.of.is_some() || arguments.grace.is_some() {
                let text =
                    format!("--of and --grace are of real servers, and {name} is a director");
                return Err(Failure::usage(text));
            }
            let Arguments { reason, waiting, .. } = arguments;
            director::run(global, &controllers, &cluster, (&name, &reason), waiting).await
        }
    }
}

async fn at_agent(global: &Global, socket: &Path, arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { target, of, grace, reason, requested_by, allow_drastic, duration, .. } =
        arguments;
    if of.is_some() || grace.is_some() {
        let text = "--of and --grace are of the intent: an order at an agent (--socket) is of the whole real server";
        return Err(Failure::usage(text));
    }
    let order = Order { owner: requested_by, reason, duration, force: allow_drastic };
    local::drain(global, socket, &target, order).await
}

async fn real_server(
    global: &Global,
    controllers: &Controllers,
    cluster: &Cluster,
    name: String,
    arguments: Arguments,
) -> Result<Exit, Failure> {
    let Arguments { of, grace, reason, requested_by, allow_drastic, waiting, .. } = arguments;
    let order = v1::Drain {
        real_server: name.clone(),
        virtual_server: of.clone().unwrap_or_default(),
        reason,
        requested_by,
        grace: grace.map(duration_to_wire),
    };
    let resource = name_for(cluster, &name, of.as_deref());
    let mut change = Change::default();
    change.allow_drastic = allow_drastic;
    change.put(resource, Spec::Drain(order));
    let doing = format!("cannot drain {name}");
    let revision = write(controllers, change, &doing).await?;
    let goal = Goal { real_server: name, virtual_server: of, wish: Wish::Drained, revision };
    follow(controllers, global, waiting, &goal).await
}
