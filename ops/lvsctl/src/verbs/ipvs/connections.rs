//! `lvsctl --socket PATH ipvs --connections`

use fulcrum_proto::ipvsadm::{connection_line, connections_title};
use fulcrum_proto::v1;
use tokio_stream::StreamExt;

use crate::cli::{Global, Output};
use crate::connect::{self, Refusal};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{message_to_node, to_json_line, to_yaml};

/// Prints connections as they come, page by page: there may be millions.
pub(super) async fn run(
    global: &Global,
    with_engine: bool,
    format: Output,
) -> Result<Exit, Failure> {
    let Some(socket) = &global.socket else {
        return Err(Failure::usage(
            "connections are read on the director itself, not through controllers: on its host, \
             `lvsctl --socket /run/fulcrum/director.sock ipvs --connections`",
        ));
    };
    let failed =
        |status| Refusal::Answered(Box::new(status)).failure("cannot list the connections");
    let mut client = connect::director(socket).await?;
    let request = v1::ListIpvsConnectionsRequest {};
    let mut pages = client.list_ipvs_connections(request).await.map_err(failed)?.into_inner();
    if format == Output::Table {
        out::print(&connections_title(with_engine))?;
    }
    while let Some(page) = pages.next().await {
        let page = page.map_err(failed)?;
        let lines = page.connections.iter().map(|found| line(found, with_engine, format));
        if !out::print_part(&lines.collect::<String>())? {
            break;
        }
    }
    Ok(Exit::Ok)
}

fn line(found: &v1::IpvsConnection, with_engine: bool, format: Output) -> String {
    let node = || message_to_node("fulcrum.v1.IpvsConnection", found);
    match format {
        Output::Table => connection_line(with_engine, found),
        Output::Json => to_json_line(&node()) + "\n",
        Output::Yaml => format!("---\n{}", to_yaml(&node())),
    }
}
