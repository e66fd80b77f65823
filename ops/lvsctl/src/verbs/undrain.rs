//! `lvsctl undrain`

use crate::cli::Global;
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::handover::{Cluster, Goal, Waiting, Wish, drainer, follow, write};
use crate::out;
use crate::verbs::status;

/// Which director to use again.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The director that was drained.
    director: String,
    #[command(flatten)]
    waiting: Waiting,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let cluster = Cluster::new(&status::ask(&controllers).await?);
    let Arguments { director, waiting } = arguments;
    let by = drainer(&director);
    let orders: Vec<_> =
        cluster.handovers.iter().filter(|(_, order)| order.requested_by == by).collect();
    if orders.is_empty() {
        out::print(&format!("nothing was drained from {director}\n"))?;
        return Ok(Exit::Ok);
    }
    let names = orders.iter().map(|(name, _)| (*name).clone()).collect();
    let doing = format!("cannot undrain {director}");
    let revision = write(&controllers, Vec::new(), names, &doing).await?;
    let goals: Vec<Goal> = orders
        .iter()
        .flat_map(|(_, order)| cluster.moved_with(&order.vrrp_instance))
        .map(|(instance, _)| Goal { instance: instance.to_owned(), wish: Wish::Highest, revision })
        .collect();
    follow(&controllers, global, waiting, &goals).await
}
