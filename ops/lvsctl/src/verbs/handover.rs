//! `lvsctl handover`

use fulcrum_proto::v1;

use crate::cli::Global;
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::handover::{Goal, Wish, follow, name_for, order_of, write};
use crate::order::{Cluster, Waiting};
use crate::verbs::status;

/// What to hand over.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whereto").required(true))]
pub(crate) struct Arguments {
    /// The VRRP instance. Those of its sync group move with it.
    instance: String,
    /// The director that shall be Active until the order is taken back.
    #[arg(long, group = "whereto", value_name = "DIRECTOR")]
    to: Option<String>,
    /// Take the order back: priorities decide again.
    #[arg(long, group = "whereto")]
    back: bool,
    /// Why, for whoever reads the status.
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "back")]
    reason: String,
    /// Who you are, for whoever reads the status.
    #[arg(long, env = "USER", default_value = "lvsctl", value_name = "NAME")]
    requested_by: String,
    #[command(flatten)]
    waiting: Waiting,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let topology = status::ask(&controllers).await?;
    let cluster = Cluster::new(&topology);
    let Arguments { instance, to, reason, requested_by, waiting, .. } = arguments;
    if !cluster.instances.contains_key(&instance) {
        return Err(no_such_instance(&cluster, &instance));
    }
    let standing = order_of(&cluster, &instance);
    let (put, delete, wish) = if let Some(to) = to {
        let order = v1::Handover {
            vrrp_instance: standing
                .map_or(instance.clone(), |(_, order)| order.vrrp_instance.clone()),
            to: to.clone(),
            reason,
            requested_by,
        };
        (vec![(name_for(&cluster, &instance), order)], Vec::new(), Wish::Active(to))
    } else {
        let names = standing.map(|(name, _)| name.to_owned());
        (Vec::new(), names.into_iter().collect(), Wish::Highest)
    };
    let doing = format!("cannot hand {instance} over");
    let revision = write(&controllers, put, delete, &doing).await?;
    let goal = Goal { instance, wish, revision };
    follow(&controllers, global, waiting, &[goal]).await
}

fn no_such_instance(cluster: &Cluster, instance: &str) -> Failure {
    let names: Vec<&str> = cluster.instances.keys().map(String::as_str).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let text = format!("there is no VRRP instance {instance:?}; there are {known}");
    Failure::new(Exit::NotFound, text)
}
