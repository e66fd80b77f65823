//! `lvsctl join`

use std::path::PathBuf;

use fulcrum_runtime::tls::TlsFiles;
use fulcrum_session::credentials::{self, CredentialsError, Token};

use crate::cli::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::out;
use crate::text::{Node, to_json, to_yaml};

/// By which token, and where the certificate goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// File with the token that `lvsctl token create` printed; - reads it from the standard input.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Directory for ca.pem, cert.pem and key.pem. It is made if it is not there; a key.pem that is there is used.
    directory: PathBuf,
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { token_file, directory } = arguments;
    let text = if token_file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&token_file)
    };
    let shown = token_file.display();
    let text = text.map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let token: Token = text.parse().map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let path = |name: &str| directory.join(name);
    let files = TlsFiles { ca: path("ca.pem"), cert: path("cert.pem"), key: path("key.pem") };
    let joined = credentials::join(&token, &global.endpoint, &files).await;
    let who = joined.map_err(|error| {
        let exit = match &error {
            CredentialsError::Refused { .. } | CredentialsError::AnotherAuthority { .. } => {
                Exit::Denied
            }
            CredentialsError::Transport(_) => Exit::Unreachable,
            CredentialsError::Authority(_)
            | CredentialsError::Tls(_)
            | CredentialsError::File { .. }
            | CredentialsError::Token(_)
            | CredentialsError::Certificate(_) => Exit::Unhealthy,
        };
        Failure::new(exit, format!("no certificate was given: {error}"))
    })?;
    let told = |path: &PathBuf| path.display().to_string();
    let node = Node::Map(vec![
        ("identity".to_owned(), Node::Text(who.clone())),
        ("ca".to_owned(), Node::Text(told(&files.ca))),
        ("cert".to_owned(), Node::Text(told(&files.cert))),
        ("key".to_owned(), Node::Text(told(&files.key))),
    ]);
    out::print(&match global.output.unwrap_or(Output::Table) {
        Output::Json => to_json(&node),
        Output::Yaml => to_yaml(&node),
        Output::Table => format!(
            "you are {who}\nexport FULCRUM_TLS_CA={} FULCRUM_TLS_CERT={} FULCRUM_TLS_KEY={}\n",
            told(&files.ca),
            told(&files.cert),
            told(&files.key)
        ),
    })?;
    Ok(Exit::Ok)
}
