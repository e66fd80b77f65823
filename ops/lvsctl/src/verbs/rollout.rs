//! `lvsctl rollout`

use std::time::Duration;

use fulcrum_proto::convert::{duration_from_text, duration_to_text};

use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::order::{self, Cluster};
use crate::out;
use crate::rollout::{
    Gate, Machine, Options, Rollout, Share, View, aborted, ask, batches, drive, find, obstacles,
};
use crate::suggest::suggest;
use crate::text::{Node, to_json, to_yaml};

/// What to do with a pool.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    order: Order,
}

const HELP: &str = "\
A rolling restart drains a batch of real servers, waits until no connection and no request is left, has each agent run the \
command `restart` of its own configuration, waits until the real servers are seen to serve, and uses them again; then the \
next batch. It stops at the first that is bad, which stays drained, and leaves the others alone. All that it must remember \
stands in the intent: after Ctrl-C, kill -9 or the loss of this machine `lvsctl rollout resume` goes on from anywhere.";

#[derive(Debug, clap::Subcommand)]
enum Order {
    /// Restart the real servers of a pool, batch by batch, without a failed request.
    Restart(Begin),
    /// Go on with a rollout that stopped or lost its lvsctl; what had failed is tried again.
    Resume(Named),
    /// Tell how far a rollout is.
    Status(Named),
    /// End a rollout where it is: use again what it drained, and delete its orders.
    Abort(End),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The pool.
    pool: String,
}

#[derive(Debug, clap::Args)]
struct End {
    /// The pool.
    pool: String,
    /// End it even while a restart may be under way: new connections then reach a program that stops.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct Begin {
    /// The pool.
    pool: String,
    /// How many may be out of rotation at once: a number, or a share such as 25% (rounded down, at least one).
    #[arg(long, default_value = "1", value_name = "N|N%")]
    max_unavailable: Share,
    /// What must hold of one that was restarted before it counts as done.
    #[arg(long, default_value = "healthy")]
    gate: Gate,
    /// Longest wait until its connections have ended; then it stops, or with --force cuts them.
    #[arg(long, default_value = "10m", value_parser = parse, value_name = "DURATION")]
    drain_timeout: Duration,
    /// Longest wait for the command, and again until it is seen to serve, and until it is used.
    #[arg(long, default_value = "5m", value_parser = parse, value_name = "DURATION")]
    health_timeout: Duration,
    /// Pause between two batches.
    #[arg(long, default_value = "0s", value_parser = parse, value_name = "DURATION")]
    pause_between: Duration,
    /// The agents' command, by its key under [actions] in their configuration.
    #[arg(long, default_value = "restart", value_name = "NAME")]
    action: String,
    /// Why, for whoever reads the status.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Cut what is left after --drain-timeout, and begin although a real server or a director is missing.
    #[arg(long)]
    force: bool,
    /// Mean it, even where a batch leaves a virtual server less than half of its weight.
    #[arg(long)]
    allow_drastic: bool,
    /// Tell what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Longest that can be asked for.
const MAX_DURATION: Duration = Duration::from_hours(24);

fn parse(text: &str) -> Result<Duration, String> {
    duration_from_text(text)
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| "write a number and its unit, at most 24h, such as 10m".to_owned())
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let format = global.output.unwrap_or(Output::Table);
    let (cluster, _) = ask(&controllers).await?;
    match arguments.order {
        Order::Restart(arguments) => begin(&controllers, format, &cluster, arguments).await,
        Order::Resume(Named { pool }) => {
            let rollout = under_way(&cluster, &pool)?;
            let view = view(&cluster, &pool, Some(&rollout))?;
            let machine = Machine::resumed(rollout.options.clone(), &view);
            drive(&controllers, format, rollout, machine).await
        }
        Order::Status(Named { pool }) => status(format, &cluster, &pool),
        Order::Abort(End { pool, force }) => abort(&controllers, &cluster, &pool, force).await,
    }
}

async fn begin(
    controllers: &Controllers,
    format: Output,
    cluster: &Cluster,
    arguments: Begin,
) -> Result<Exit, Failure> {
    let Begin { pool, .. } = &arguments;
    let view = view(cluster, pool, None)?;
    if find(cluster, pool).is_some() {
        let text = format!(
            "a rollout of {pool} is under way: `lvsctl rollout status {pool}` tells how far it is, `lvsctl rollout resume \
             {pool}` goes on with it, `lvsctl rollout abort {pool}` ends it"
        );
        return Err(Failure::new(Exit::Conflict, text));
    }
    let options = options(&arguments);
    let obstacles = obstacles(&view, &options);
    if !obstacles.is_empty() {
        let text = format!(
            "cannot restart {pool}; nothing was changed:\n  {}\nMend this first, or mean it with --force where that says so.",
            obstacles.join("\n  ")
        );
        return Err(Failure::new(Exit::Conflict, text));
    }
    let text = outlook(&view, &options);
    if arguments.dry_run {
        return told(format, &text, || planned(&view, &options)).map(|()| Exit::Ok);
    }
    if format == Output::Table {
        eprint!("{text}");
    }
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let rollout = Rollout { id, pool: pool.clone(), options: options.clone() };
    drive(controllers, format, rollout, Machine::new(options)).await
}

fn options(arguments: &Begin) -> Options {
    let reason = match arguments.reason.as_str() {
        "" => format!("rolling restart of {}", arguments.pool),
        reason => reason.to_owned(),
    };
    Options {
        max_unavailable: arguments.max_unavailable,
        gate: arguments.gate,
        drain_timeout: arguments.drain_timeout,
        health_timeout: arguments.health_timeout,
        pause_between: arguments.pause_between,
        action: arguments.action.clone(),
        reason,
        force: arguments.force,
        allow_drastic: arguments.allow_drastic,
    }
}

/// What it will do, for people.
fn outlook(view: &View, options: &Options) -> String {
    let batches = batches(view, &Machine::new(options.clone()), options);
    let mut text = format!(
        "restarts {} real servers of {} in {} batches, each drained first (at most {}):\n",
        view.servers.len(),
        view.pool,
        batches.len(),
        duration_to_text(options.drain_timeout)
    );
    for batch in batches {
        text = format!("{text}  {}\n", batch.join(", "));
    }
    text
}

fn planned(view: &View, options: &Options) -> Node {
    let batches = batches(view, &Machine::new(options.clone()), options);
    let batches =
        batches.iter().map(|batch| Node::List(batch.iter().map(|name| Node::text(name)).collect()));
    Node::Map(vec![
        ("pool".to_owned(), Node::text(&view.pool)),
        ("batches".to_owned(), Node::List(batches.collect())),
    ])
}

fn view(cluster: &Cluster, pool: &str, rollout: Option<&Rollout>) -> Result<View, Failure> {
    View::new(cluster, pool, rollout, 0).ok_or_else(|| {
        let remedy = match suggest(pool, cluster.pools.keys().map(String::as_str)) {
            Some(similar) => format!("did you mean {similar}?"),
            None => "`lvsctl get pools` lists them".to_owned(),
        };
        Failure::new(Exit::NotFound, format!("there is no pool {pool:?}: {remedy}"))
    })
}

fn under_way(cluster: &Cluster, pool: &str) -> Result<Rollout, Failure> {
    find(cluster, pool).ok_or_else(|| {
        let text =
            format!("no rollout of {pool} is under way: it was never begun, or it has ended");
        Failure::new(Exit::NotFound, text)
    })
}

fn status(format: Output, cluster: &Cluster, pool: &str) -> Result<Exit, Failure> {
    let rollout = under_way(cluster, pool)?;
    let view = view(cluster, pool, Some(&rollout))?;
    let machine = Machine::new(rollout.options.clone());
    let mut text = format!("rollout {} of {pool}: {}\n", rollout.id, rollout.options.reason);
    let mut nodes = Vec::new();
    for server in &view.servers {
        let phase = machine.phase(server).word();
        let detail = server.restart.as_ref().map_or("", |restart| restart.detail.as_str());
        let waits_for = machine.waits_for(&view, server);
        let said: Vec<&str> = waits_for
            .iter()
            .map(String::as_str)
            .chain(Some(detail).filter(|it| !it.is_empty() && waits_for.is_empty()))
            .collect();
        let said = said.join("; ");
        let sep = if said.is_empty() { "" } else { ": " };
        text = format!("{text}  {}: {phase}{sep}{said}\n", server.name);
        nodes.push(Node::Map(vec![
            ("real_server".to_owned(), Node::text(&server.name)),
            ("phase".to_owned(), Node::text(phase)),
            ("detail".to_owned(), Node::text(&said)),
        ]));
    }
    told(format, &text, || {
        Node::Map(vec![
            ("id".to_owned(), Node::text(&rollout.id)),
            ("pool".to_owned(), Node::text(pool)),
            ("real_servers".to_owned(), Node::List(nodes)),
        ])
    })?;
    Ok(Exit::Ok)
}

async fn abort(
    controllers: &Controllers,
    cluster: &Cluster,
    pool: &str,
    force: bool,
) -> Result<Exit, Failure> {
    let rollout = under_way(cluster, pool)?;
    let change = aborted(&rollout, cluster, force).map_err(|under_way| {
        let text = format!(
            "cannot end the rollout of {pool} now; nothing was changed:\n  {}\nTry again when it has ended (`lvsctl rollout \
             status {pool}`), or mean it with --force.",
            under_way.join("\n  ")
        );
        Failure::new(Exit::Conflict, text)
    })?;
    order::write(controllers, change, &format!("cannot end the rollout of {pool}")).await?;
    out::print(&format!("the rollout of {pool} is ended; what it drained is used again\n"))?;
    Ok(Exit::Ok)
}

fn told(format: Output, text: &str, node: impl FnOnce() -> Node) -> Result<(), Failure> {
    match format {
        Output::Table => out::print(text),
        Output::Json => out::print(&to_json(&node())),
        Output::Yaml => out::print(&to_yaml(&node())),
    }
}
