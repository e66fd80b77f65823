//! `lvsctl --socket PATH drain` and `undrain`: by an order at the agent itself.

use std::path::Path;
use std::time::SystemTime;

use fulcrum_proto::v1;

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::local::{self, Answer, Order, release};
use crate::status;

/// Real servers alone are drained so; their names may be written as in `lvsctl drain`.
fn name(target: &str) -> Result<String, Failure> {
    if target.starts_with("director/") {
        return Err(Failure::usage(
            "a director is drained by intent, not by a socket: stop its agent, and it hands its VIPs over",
        ));
    }
    Ok(target.strip_prefix("real-server/").unwrap_or(target).to_owned())
}

/// Drains a real server at the agent behind the socket.
pub(crate) async fn drain(
    global: &Global,
    socket: &Path,
    target: &str,
    order: Order,
) -> Result<Exit, Failure> {
    let real_server = name(target)?;
    let order = Some(order.to_wire());
    let (at_agent, for_agent) = (real_server.clone(), order.clone());
    let answer = local::ask(
        socket,
        &format!("cannot drain {real_server}"),
        async |mut director| {
            let request = v1::DrainLocallyRequest { real_server: real_server.clone(), order };
            director.drain_locally(request).await
        },
        async |mut agent| {
            let request = v1::DrainServerRequest { real_server: at_agent, order: for_agent };
            agent.drain_server(request).await
        },
    )
    .await?;
    let line = |drain: &Option<v1::LocalDrain>| {
        drain.as_ref().map(|drain| status::local_drain(drain, SystemTime::now()))
    };
    match answer {
        Answer::Director(told) => {
            let of = told.virtual_servers.join(", ");
            let text = line(&told.drain).map(|line| format!("{line}\n  in {of}\n"));
            let text = text.unwrap_or_default();
            let name = "fulcrum.v1.DrainLocallyResponse";
            local::print(global, name, &told, &text, &told.warnings)?;
        }
        Answer::RealServer(told) => {
            let text = line(&told.drain).map(|line| format!("{line}\n")).unwrap_or_default();
            let name = "fulcrum.v1.DrainServerResponse";
            local::print(global, name, &told, &text, &told.warnings)?;
        }
    }
    Ok(Exit::Ok)
}

/// Ends that.
pub(crate) async fn undrain(
    global: &Global,
    socket: &Path,
    target: &str,
    (owner, force): (&str, bool),
) -> Result<Exit, Failure> {
    let real_server = name(target)?;
    let release = Some(release(owner, force));
    let (at_agent, for_agent) = (real_server.clone(), release.clone());
    let answer = local::ask(
        socket,
        &format!("cannot undrain {real_server}"),
        async |mut director| {
            let real_server = real_server.clone();
            director.undrain_locally(v1::UndrainLocallyRequest { real_server, release }).await
        },
        async |mut agent| {
            let request = v1::UndrainServerRequest { real_server: at_agent, release: for_agent };
            agent.undrain_server(request).await
        },
    )
    .await?;
    let line = |ended: &Option<v1::LocalDrain>| match ended {
        Some(v1::LocalDrain { owner, .. }) => {
            format!("{real_server} is no longer drained here; {owner} had drained it\n")
        }
        None => format!("{real_server} was not drained here\n"),
    };
    match answer {
        Answer::Director(told) => {
            let name = "fulcrum.v1.UndrainLocallyResponse";
            local::print(global, name, &told, &line(&told.ended), &[])?;
        }
        Answer::RealServer(told) => {
            let name = "fulcrum.v1.UndrainServerResponse";
            local::print(global, name, &told, &line(&told.ended), &[])?;
        }
    }
    Ok(Exit::Ok)
}
