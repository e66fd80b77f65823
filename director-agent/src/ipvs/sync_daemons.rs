//! The kernel's sync daemons over the same netlink family. [`crate::sync`] is their one writer.

use fulcrum_ipvs::codec::{self, DaemonRole, SyncDaemon};
use nix::errno::Errno;

use super::IpvsError;
use super::netlink::Kernel;

/// The sync daemons of this network namespace.
pub(crate) struct SyncDaemons(Kernel);

impl SyncDaemons {
    /// Opens netlink.
    ///
    /// # Errors
    /// [`IpvsError`] with the remedy.
    pub(crate) async fn open() -> Result<Self, IpvsError> {
        Ok(Self(Kernel::open().await?))
    }

    /// Those that run: at most one of each role.
    ///
    /// # Errors
    /// [`IpvsError`] when the kernel does not answer.
    pub(crate) async fn list(&mut self) -> Result<Vec<SyncDaemon>, IpvsError> {
        self.0.sync_daemons().await
    }

    /// Starts one.
    ///
    /// # Errors
    /// [`IpvsError`] when the kernel refuses: the interface is missing, or has no IPv4 address.
    pub(crate) async fn start(&mut self, daemon: &SyncDaemon) -> Result<(), IpvsError> {
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::start_daemon(buffer, family, sequence, daemon);
        };
        self.0.exchange("start a sync daemon", request, |_| {}).await
    }

    /// Stops the one of that role; nothing when none runs.
    ///
    /// # Errors
    /// [`IpvsError`] when the kernel refuses.
    pub(crate) async fn stop(&mut self, role: DaemonRole) -> Result<(), IpvsError> {
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::stop_daemon(buffer, family, sequence, role);
        };
        match self.0.exchange("stop a sync daemon", request, |_| {}).await {
            Err(IpvsError::Refused { refusal, .. }) if refusal.errno == Errno::ESRCH as i32 => {
                Ok(())
            }
            result => result,
        }
    }
}

impl Kernel {
    /// Those that run: at most one of each role.
    pub(super) async fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, IpvsError> {
        let mut found = Vec::new();
        let request = |buffer: &mut Vec<u8>, family, sequence| {
            codec::dump_daemons(buffer, family, sequence);
        };
        self.exchange("read the sync daemons", request, |attributes| {
            match codec::sync_daemon(attributes) {
                Ok((daemon, _)) => found.push(daemon),
                Err(error) => tracing::warn!(%error, "a sync daemon cannot be understood"),
            }
        })
        .await?;
        Ok(found)
    }
}
