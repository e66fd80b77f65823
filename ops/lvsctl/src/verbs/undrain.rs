//! `lvsctl undrain`

use fulcrum_proto::v1;

use crate::cli::Global;
use crate::connect::Controllers;
use crate::drain::{self, Target, orders_of, read_target};
use crate::exit::{Exit, Failure};
use crate::handover::{self, Goal, Wish, drainer};
use crate::order::{Change, Cluster, Waiting, write};
use crate::out;
use crate::verbs::drain::local;
use crate::verbs::status;

/// What to use again.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The real server or director that was drained, as in `lvsctl drain`.
    target: String,
    /// In this virtual server only; whatever was drained when not given.
    #[arg(long, value_name = "VIRTUAL-SERVER")]
    of: Option<String>,
    /// With --socket: who you are.
    #[arg(
        long,
        visible_alias = "owner",
        env = "USER",
        default_value = "lvsctl",
        value_name = "NAME"
    )]
    requested_by: String,
    /// With --socket: end another owner's order, too.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    if let Some(socket) = &global.socket {
        if arguments.of.is_some() {
            let text = "--of is of the intent: an order at an agent (--socket) is of the whole real server";
            return Err(Failure::usage(text));
        }
        let Arguments { target, requested_by, force, .. } = &arguments;
        return local::undrain(global, socket, target, (requested_by, *force)).await;
    }
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let cluster = Cluster::new(&status::ask(&controllers).await?);
    match read_target(&cluster, &arguments.target)? {
        Target::RealServer(name) => {
            real_server(global, &controllers, &cluster, name, arguments).await
        }
        Target::Director(name) => director(global, &controllers, &cluster, &name, arguments).await,
    }
}

async fn real_server(
    global: &Global,
    controllers: &Controllers,
    cluster: &Cluster,
    name: String,
    arguments: Arguments,
) -> Result<Exit, Failure> {
    let Arguments { of, waiting, .. } = arguments;
    let orders = orders_of(cluster, &name, of.as_deref());
    if orders.is_empty() {
        out::print(&format!("{name} was not drained\n"))?;
        return Ok(Exit::Ok);
    }
    let doing = format!("cannot undrain {name}");
    let mut change = Change::default();
    for name in orders {
        change.delete(v1::Kind::Drain, name);
    }
    let revision = write(controllers, change, &doing).await?;
    let wish = drain::Wish::InRotation;
    let goal = drain::Goal { real_server: name, virtual_server: of, wish, revision };
    drain::follow(controllers, global, waiting, &goal).await
}

async fn director(
    global: &Global,
    controllers: &Controllers,
    cluster: &Cluster,
    director: &str,
    arguments: Arguments,
) -> Result<Exit, Failure> {
    if arguments.of.is_some() {
        let text = format!("--of is of real servers, and {director} is a director");
        return Err(Failure::usage(text));
    }
    let by = drainer(director);
    let orders: Vec<_> =
        cluster.handovers.iter().filter(|(_, order)| order.requested_by == by).collect();
    if orders.is_empty() {
        out::print(&format!("nothing was drained from {director}\n"))?;
        return Ok(Exit::Ok);
    }
    let names = orders.iter().map(|(name, _)| (*name).clone()).collect();
    let doing = format!("cannot undrain {director}");
    let revision = handover::write(controllers, Vec::new(), names, &doing).await?;
    let goals: Vec<Goal> = orders
        .iter()
        .flat_map(|(_, order)| cluster.moved_with(&order.vrrp_instance))
        .map(|(instance, _)| Goal { instance: instance.to_owned(), wish: Wish::Highest, revision })
        .collect();
    handover::follow(controllers, global, arguments.waiting, &goals).await
}
