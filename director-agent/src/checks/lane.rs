//! Where tries run: most on a thread of their own.
//!
//! A try that only waits for the network costs a handful of system calls. Spread over threads, every other one costs a wake-up
//! of another thread on top. So those share one thread, and only tries that compute, by TLS or over a body, have the others.

use std::io;

use fulcrum_model::{HttpCheck, ProbeKind};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Both places.
#[derive(Debug)]
pub(super) struct Lanes {
    waiting: Handle,
    computing: Handle,
    /// Ends the thread.
    _end: Option<DropGuard>,
}

impl Lanes {
    /// Starts the thread. Where the host grants none, all tries run on the runtime that this is called in.
    pub(super) fn start() -> Self {
        let computing = Handle::current();
        match start_thread() {
            Ok((waiting, end)) => Self { waiting, computing, _end: Some(end) },
            Err(error) => {
                tracing::warn!(%error, "checks get no thread of their own, and run beside the rest");
                Self { waiting: computing.clone(), computing, _end: None }
            }
        }
    }

    /// The place for tries of that kind.
    pub(super) fn of(&self, probe: &ProbeKind) -> &Handle {
        if computes(probe) { &self.computing } else { &self.waiting }
    }
}

fn start_thread() -> io::Result<(Handle, DropGuard)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let end = CancellationToken::new();
    let ended = end.clone();
    std::thread::Builder::new()
        .name("checks".to_owned())
        .spawn(move || runtime.block_on(ended.cancelled()))?;
    Ok((handle, end.drop_guard()))
}

fn computes(probe: &ProbeKind) -> bool {
    match probe {
        ProbeKind::Tcp(tls) => tls.is_some(),
        ProbeKind::Http(HttpCheck { pages, host: _, tls }) => {
            tls.is_some()
                || pages.iter().any(|page| page.digest.is_some() || page.body_regex.is_some())
        }
        ProbeKind::Grpc(_) | ProbeKind::Command(_) => true,
        ProbeKind::Udp(_)
        | ProbeKind::Icmp
        | ProbeKind::Dns(_)
        | ProbeKind::Smtp(_)
        | ProbeKind::Redis(_)
        | ProbeKind::Mysql
        | ProbeKind::File(_) => false,
    }
}
