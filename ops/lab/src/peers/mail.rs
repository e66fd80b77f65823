//! A real mail server: Debian's aiosmtpd, which puts what it takes into a Maildir.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::net::topology::SORRY;
use crate::process::{Launch, Process, wait_until};

/// The program of Debian's package python3-aiosmtpd.
const PROGRAM: &str = "/usr/bin/aiosmtpd";
/// Its port.
pub(crate) const PORT: u16 = 25;
/// How long it may take to begin.
const READY: Duration = Duration::from_mins(1);

/// A running mail server, on the host that serves a page when no Tomcat can.
#[derive(Debug)]
pub(crate) struct MailServer {
    mails: PathBuf,
    process: Process,
}

impl MailServer {
    /// Starts it, with an empty mailbox in `dir`, and waits until that is there.
    pub(crate) fn start(dir: &Path, logs: &Path) -> Result<Self> {
        let mails = dir.join("mail");
        // One of a run before is not to be read.
        let _ = fs::remove_dir_all(&mails);
        let listen = format!("{}:{PORT}", SORRY.address);
        let mailbox = mails.to_string_lossy().into_owned();
        let args = ["-n", "-l", &listen, "-c", "aiosmtpd.handlers.Mailbox", &mailbox];
        let launch = Launch {
            node: Some(SORRY.name),
            label: "aiosmtpd".to_owned(),
            program: PROGRAM.into(),
            args: args.map(str::to_owned).to_vec(),
            env: Vec::new(),
        };
        let mut server = Self { mails, process: Process::start(logs, launch)? };
        wait_until("the mail server has its mailbox", READY, || {
            if !server.process.is_running() {
                anyhow::bail!("it ended:\n{}", server.process.tail(10));
            }
            Ok(server.mails.join("new").is_dir().then_some(()))
        })?;
        Ok(server)
    }

    /// All mails that it took, whole.
    pub(crate) fn mails(&self) -> Result<Vec<String>> {
        let mut mails = Vec::new();
        for entry in fs::read_dir(self.mails.join("new"))? {
            mails.push(fs::read_to_string(entry?.path())?);
        }
        Ok(mails)
    }
}
