//! `lvsctl token`

use std::time::{Duration, SystemTime};

use fulcrum_proto::convert::{duration_from_text, to_hex};
use fulcrum_proto::v1;
use fulcrum_runtime::authority;
use fulcrum_session::credentials::Token;

use crate::cli::{Global, Output};
use crate::connect::{self, Controllers};
use crate::exit::{Exit, Failure};
use crate::order::refused;
use crate::out;
use crate::text::{Node, to_json, to_yaml};

/// Longest time that a token may wait to be used.
const MAX_TTL: Duration = Duration::from_hours(30 * 24);

/// What to do with tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token by which one program or person gets a certificate, once, and print it. Those that wait are told by
    /// `lvsctl get join-tokens`; `lvsctl delete join-token NAME` takes one back.
    Create(Create),
}

/// Whose certificate, and until when.
#[derive(Debug, clap::Args)]
struct Create {
    /// Whose: director/NAME, realserver/NAME, controller/NAME or operator/NAME.
    identity: String,
    /// How long the token is good, such as 1h; up to 720h.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// A DNS name or IP address for a controller's certificate, as the others reach it. May be given several times.
    #[arg(long, value_name = "NAME|IP")]
    address: Vec<String>,
    /// Why, for the history.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    duration_from_text(text)
        .filter(|ttl| (Duration::from_secs(1)..=MAX_TTL).contains(ttl))
        .ok_or_else(|| "write a number and its unit, 1s to 720h, such as 1h".to_owned())
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let Command::Create(create) = arguments.command;
    let Some(tls) = global.tls()? else {
        return Err(Failure::usage(
            "a token holds the fingerprint of the controllers' authority: give --tls-ca, --tls-cert and --tls-key",
        ));
    };
    let authority =
        authority::first_certificate(&tls.ca).map_err(|error| Failure::usage(error.to_string()))?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let token = Token {
        name: format!("{}-{}", create.identity.replace('/', "-"), &id[..8]),
        secret: authority::secret(),
        authority: authority::digest(&authority),
    };
    let expires = SystemTime::now() + create.ttl;
    let spec = v1::JoinToken {
        identity: create.identity.clone(),
        secret_sha256: to_hex(&authority::digest(&token.secret)),
        expires: Some(expires.into()),
        addresses: create.address,
    };
    let metadata = v1::Metadata { name: token.name.clone(), ..v1::Metadata::default() };
    let request = v1::CreateResourceRequest {
        resource: Some(v1::Resource {
            metadata: Some(metadata),
            spec: Some(v1::resource::Spec::JoinToken(spec)),
        }),
        request_id: uuid::Uuid::new_v4().to_string(),
        reason: create.reason,
        ..v1::CreateResourceRequest::default()
    };
    let controllers = Controllers::new(&global.endpoint, Some(&tls))?;
    controllers
        .ask(|channel| {
            let request = request.clone();
            async move { connect::intent(channel).create_resource(request).await }
        })
        .await
        .map_err(|refusal| refused(refusal, "no token was made"))?;
    let until = prost_types::Timestamp::from(expires).to_string();
    let node = Node::Map(vec![
        ("name".to_owned(), Node::Text(token.name.clone())),
        ("identity".to_owned(), Node::Text(create.identity)),
        ("expires".to_owned(), Node::Text(until)),
        ("token".to_owned(), Node::Text(token.to_string())),
    ]);
    // The token alone, so that it can be written to a file.
    out::print(&match global.output.unwrap_or(Output::Table) {
        Output::Json => to_json(&node),
        Output::Yaml => to_yaml(&node),
        Output::Table => format!("{token}\n"),
    })?;
    Ok(Exit::Ok)
}
