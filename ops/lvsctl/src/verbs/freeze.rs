//! `lvsctl freeze`

use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::local::{self, Answer, Order};
use crate::status;

/// What to let be.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Who you are, for whoever finds it frozen.
    #[arg(long, env = "USER", default_value = "lvsctl", value_name = "NAME")]
    owner: String,
    /// Why, for whoever finds it frozen.
    #[arg(long)]
    reason: String,
    /// How long, such as 15m; 24h at most. Then it ends by itself.
    #[arg(long = "for", default_value = "15m", value_name = "DURATION", value_parser = local::parse_duration)]
    duration: Duration,
    /// Take over another owner's freeze.
    #[arg(long)]
    force: bool,
}

const HELP: &str = "\
A director that is frozen edits nothing in IPVS, neither for a new plan nor for a check or an agent, and repairs nothing: what \
you do by hand with ipvsadm stays. VRRP goes on: VIPs move where they must. A real server's host that is frozen keeps its VIPs \
and ARP settings as they are. `lvsctl thaw` or the end of the time brings what was held back.";

/// What to say where there is no socket.
pub(crate) const NEEDS_SOCKET: &str = "one agent is meant: on its host, give its local socket, as in \
     `lvsctl --socket /run/fulcrum/director.sock freeze` (or thaw)";

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let Some(socket) = &global.socket else { return Err(Failure::usage(NEEDS_SOCKET)) };
    let Arguments { owner, reason, duration, force } = arguments;
    let order = Some(Order { owner, reason, duration: Some(duration), force }.to_wire());
    let for_host = order.clone();
    let answer = local::ask(
        socket,
        "cannot freeze",
        async |mut director| director.freeze(v1::FreezeRequest { order }).await,
        async |mut agent| agent.freeze_host(v1::FreezeHostRequest { order: for_host }).await,
    )
    .await?;
    let line = |frozen: &Option<v1::Freeze>| match frozen {
        Some(frozen) => format!("{}\n", status::frozen(frozen, SystemTime::now())),
        None => String::new(),
    };
    match answer {
        Answer::Director(told) => {
            let name = "fulcrum.v1.FreezeResponse";
            local::print(global, name, &told, &line(&told.frozen), &told.warnings)?;
        }
        Answer::RealServer(told) => {
            let name = "fulcrum.v1.FreezeHostResponse";
            local::print(global, name, &told, &line(&told.frozen), &told.warnings)?;
        }
    }
    Ok(Exit::Ok)
}
