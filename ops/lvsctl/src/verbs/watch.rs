//! `lvsctl watch`

use std::time::{Duration, SystemTime};

use fulcrum_proto::v1;
use fulcrum_proto::v1::watch_topology_response::Event;
use fulcrum_runtime::backoff::Backoff;
use tokio_stream::StreamExt;

use crate::cli::{Global, Output};
use crate::connect::Controllers;
use crate::exit::{Exit, Failure};
use crate::out;
use crate::status::clock;
use crate::text::{message_to_node, to_json_line, to_yaml};
use crate::watch::Seen;

/// First and longest pause before the controllers are asked again after a stream has ended: a watch outlives upgrades.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let format = global.output.unwrap_or(Output::Table);
    let mut seen = Seen::default();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut has_begun = false;
    loop {
        match controllers.watch_topology().await {
            // The first answer tells whether this can work at all.
            Err(refusal) if !has_begun => return Err(refusal.failure("cannot watch")),
            Err(refusal) => eprintln!("lvsctl: {}", refusal.failure("still trying to watch")),
            Ok(mut stream) => {
                has_begun = true;
                seen.begin();
                while let Some(Ok(response)) = stream.next().await {
                    backoff.reset();
                    if let Some(event) = &response.event {
                        out::print(&tell(&mut seen, event, &response, format))?;
                    }
                }
                eprintln!("lvsctl: the controller ended the stream; asking again");
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

fn tell(
    seen: &mut Seen,
    event: &Event,
    response: &v1::WatchTopologyResponse,
    format: Output,
) -> String {
    let node = || message_to_node("fulcrum.v1.WatchTopologyResponse", response);
    match format {
        Output::Json => to_json_line(&node()) + "\n",
        Output::Yaml => format!("---\n{}", to_yaml(&node())),
        Output::Table => {
            let at = clock(SystemTime::now());
            let lines = seen.take(event).into_iter().map(|line| format!("{at} {line}\n"));
            lines.collect()
        }
    }
}
