//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fulcrum_runtime::tls::TlsFiles;

use crate::exit::Failure;
use crate::verbs::{
    apply, audit, backup, ca, completion, confirm, controller, delete, doctor, drain, events,
    explain, freeze, get, handover, history, import, ipvs, join, label, rollback, rollout, thaw,
    token, undrain, wait,
};

/// Where a `--dev` controller listens.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:7400";

/// Operate an LVS cluster run by Fulcrum.
#[derive(Debug, Parser)]
#[command(name = "lvsctl", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 unhealthy or different, 2 usage or bad input, 3 unreachable, 4 not found, 5 conflict or held, \
6 denied, 7 timed out.";

/// What every verb understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Controllers as host:port, tried in this order.
    #[arg(
        long,
        global = true,
        env = "FULCRUM_ENDPOINT",
        value_delimiter = ',',
        default_value = DEFAULT_ENDPOINT,
        value_name = "HOST:PORT"
    )]
    pub(crate) endpoint: Vec<String>,
    /// Ask or order an agent on this host by its local socket, without any controller: status, doctor, drain, undrain, freeze
    /// and thaw of a director or a real-server agent, and ipvs of a director.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Certificates of those who may sign a controller's, in PEM.
    #[arg(long, global = true, env = "FULCRUM_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Your certificate, in PEM.
    #[arg(long, global = true, env = "FULCRUM_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Your certificate's key, in PEM.
    #[arg(long, global = true, env = "FULCRUM_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// How to print: a table for people, or the same spelling as manifests for programs.
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// JSON; one object a line where there is a stream of them.
    Json,
    /// YAML; a document for each where there is a stream of them.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write manifests as the cluster's intent, all of them or none.
    Apply(apply::Arguments),
    /// Delete resources by name, all of them or none.
    Delete(delete::Arguments),
    /// Set and take away labels of a resource, and leave all else of it as it is.
    Label(label::Arguments),
    /// Print resources as manifests that apply takes back.
    Get(get::Arguments),
    /// Tell the kept revisions: who changed what, when and why.
    History(history::Arguments),
    /// Tell what was written and what was refused, oldest first: who, from where, when and why.
    Audit(audit::Arguments),
    /// Write a new revision with the intent as it was at an earlier one.
    Rollback(rollback::Arguments),
    /// Keep a change that waits to be confirmed (--confirm-within).
    Confirm(confirm::Arguments),
    /// Tell how the cluster is: who is Active, which weights and why, what is wrong.
    Status,
    /// Look at every precondition of the cluster, host by host: what is well, what is wrong, and the remedy.
    Doctor(doctor::Arguments),
    /// Tell why a real server has its weight, or a VIP its director: who decided what, on whose word, since when.
    Explain(explain::Arguments),
    /// Print the directors' IPVS tables as ipvsadm does, several side by side, with what differs from what is wanted.
    Ipvs(ipvs::Arguments),
    /// Print manifests that ask for what another program's rules say, for review and apply.
    Import(import::Arguments),
    /// Tell what happened: who became Active, what is out of rotation, what was held or undone, and why.
    Events(events::Arguments),
    /// Look after the controllers themselves: who leads, how far each is, who should lead.
    Controller(controller::Arguments),
    /// Write a backup of the intent with its history, while everything goes on; `fulcrum-controller restore` takes it.
    Backup(backup::Arguments),
    /// Follow what changes, line by line, until interrupted.
    Watch,
    /// Wait until every agent has applied a revision.
    Wait(wait::Arguments),
    /// Make another director Active in a VRRP instance until told otherwise, without losing connections.
    Handover(handover::Arguments),
    /// Let a real server take no new connections, or free a director of every VIP, as before an upgrade.
    Drain(drain::Arguments),
    /// Use a drained real server or director again.
    Undrain(undrain::Arguments),
    /// Restart the real servers of a pool batch by batch, without a failed request.
    Rollout(rollout::Arguments),
    /// Let an agent leave everything as it is for a while, by its local socket: what you do by hand stays.
    Freeze(freeze::Arguments),
    /// Let a frozen agent go on, by its local socket.
    Thaw(thaw::Arguments),
    /// Tell who the controllers take you for, and what you may do.
    Whoami,
    /// Make tokens by which programs and people get their certificates.
    Token(token::Arguments),
    /// Get a certificate by a token.
    Join(join::Arguments),
    /// Make an authority for a new cluster, and its first certificates, without any controller.
    Ca(ca::Arguments),
    /// Print a script that completes lvsctl's command line in your shell.
    Completion(completion::Arguments),
}

impl Verb {
    /// Its name, for the trace.
    pub(crate) fn span(&self) -> tracing::Span {
        match self {
            Self::Apply(_) => tracing::info_span!("lvsctl apply"),
            Self::Delete(_) => tracing::info_span!("lvsctl delete"),
            Self::Label(_) => tracing::info_span!("lvsctl label"),
            Self::Get(_) => tracing::info_span!("lvsctl get"),
            Self::History(_) => tracing::info_span!("lvsctl history"),
            Self::Audit(_) => tracing::info_span!("lvsctl audit"),
            Self::Rollback(_) => tracing::info_span!("lvsctl rollback"),
            Self::Confirm(_) => tracing::info_span!("lvsctl confirm"),
            Self::Status => tracing::info_span!("lvsctl status"),
            Self::Doctor(_) => tracing::info_span!("lvsctl doctor"),
            Self::Explain(_) => tracing::info_span!("lvsctl explain"),
            Self::Ipvs(_) => tracing::info_span!("lvsctl ipvs"),
            Self::Import(_) => tracing::info_span!("lvsctl import"),
            Self::Events(_) => tracing::info_span!("lvsctl events"),
            Self::Controller(_) => tracing::info_span!("lvsctl controller"),
            Self::Backup(_) => tracing::info_span!("lvsctl backup"),
            Self::Watch => tracing::info_span!("lvsctl watch"),
            Self::Wait(_) => tracing::info_span!("lvsctl wait"),
            Self::Handover(_) => tracing::info_span!("lvsctl handover"),
            Self::Drain(_) => tracing::info_span!("lvsctl drain"),
            Self::Undrain(_) => tracing::info_span!("lvsctl undrain"),
            Self::Rollout(_) => tracing::info_span!("lvsctl rollout"),
            Self::Freeze(_) => tracing::info_span!("lvsctl freeze"),
            Self::Thaw(_) => tracing::info_span!("lvsctl thaw"),
            Self::Whoami => tracing::info_span!("lvsctl whoami"),
            Self::Token(_) => tracing::info_span!("lvsctl token"),
            Self::Join(_) => tracing::info_span!("lvsctl join"),
            Self::Ca(_) => tracing::info_span!("lvsctl ca"),
            Self::Completion(_) => tracing::info_span!("lvsctl completion"),
        }
    }
}

impl Global {
    /// The TLS files: all three or none.
    pub(crate) fn tls(&self) -> Result<Option<TlsFiles>, Failure> {
        match (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            (None, None, None) => Ok(None),
            (Some(ca), Some(cert), Some(key)) => {
                Ok(Some(TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() }))
            }
            _ => Err(Failure::usage(
                "TLS needs all three of --tls-ca, --tls-cert and --tls-key; give the missing ones, or none for plain text",
            )),
        }
    }
}
