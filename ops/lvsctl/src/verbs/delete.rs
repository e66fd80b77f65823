//! `lvsctl delete`

use fulcrum_proto::v1;

use super::get::parse_kind;
use super::writing::Writing;
use crate::cli::Global;
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::order::refused;

/// What to delete, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kind: site, director, vrrp-instance, real-server, pool, virtual-server, handover, drain, restart, notification-policy, access-rule or join-token.
    #[arg(value_parser = parse_kind)]
    kind: v1::Kind,
    /// The resources' names. All go, or none.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    writing: Writing,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    if arguments.kind == v1::Kind::Unspecified {
        return Err(Failure::usage(
            "name one kind: to delete all that a set does not hold, apply it with --prune",
        ));
    }
    let controllers = Controllers::new(&global.endpoint, global.tls()?.as_ref())?;
    let kind = i32::from(arguments.kind);
    for name in &arguments.names {
        // Apply takes what is gone already for deleted. A person who mistypes a name wants to know.
        let request = v1::GetRequest { kind, name: name.clone(), stale: false };
        let ask = |channel| {
            let request = request.clone();
            async move { connect::intent(channel).get(request).await }
        };
        let found = controllers.ask(ask).await;
        found.map_err(|refusal| refusal.failure("nothing was deleted"))?;
    }
    let names = arguments.names.iter().cloned();
    let request = v1::ApplyRequest {
        delete: names.map(|name| v1::ResourceName { kind, name }).collect(),
        ..arguments.writing.request()
    };
    let answer =
        controllers.apply(&request).await.map_err(|refusal| refused(refusal, "cannot delete"))?;
    arguments.writing.end(global, &controllers, &answer).await
}
