//! The kernel's sync daemons: at most one of each role in a network namespace.

use std::net::Ipv4Addr;

use super::attribute::{Attributes, array, put, put_nested, read_u32};
use super::decode::{DecodeError, missing, nested, text, unknown};
use super::encode::{ACK, DUMP, REQUEST, message, put_text};
use super::{command, command_attribute, daemon_attribute as daemon};

/// Which part a sync daemon plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DaemonRole {
    /// Tells connections.
    Master,
    /// Takes connections in.
    Backup,
}

impl DaemonRole {
    /// `IP_VS_STATE_MASTER` and `IP_VS_STATE_BACKUP`.
    fn number(self) -> u32 {
        match self {
            Self::Master => 1,
            Self::Backup => 2,
        }
    }

    /// As ipvsadm calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Backup => "backup",
        }
    }
}

/// A sync daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncDaemon {
    /// Its part.
    pub role: DaemonRole,
    /// Interface of its messages.
    pub interface: String,
    /// Sync identifier; a backup with 0 takes in every identifier.
    pub sync_id: u8,
}

/// Appends the request to start a sync daemon with the kernel's own group and port; refused with
/// `EEXIST` when there is one of its role.
pub fn start_daemon(buffer: &mut Vec<u8>, family: u16, sequence: u32, wanted: &SyncDaemon) {
    message(buffer, family, sequence, REQUEST | ACK, command::NEW_DAEMON, |buffer| {
        put_nested(buffer, command_attribute::DAEMON, |buffer| {
            put(buffer, daemon::STATE, &wanted.role.number().to_ne_bytes());
            put_text(buffer, daemon::MCAST_IFN, &wanted.interface);
            put(buffer, daemon::SYNC_ID, &u32::from(wanted.sync_id).to_ne_bytes());
        });
    });
}

/// Appends the request to stop the sync daemon of that role; refused with `ESRCH` when there is none.
pub fn stop_daemon(buffer: &mut Vec<u8>, family: u16, sequence: u32, role: DaemonRole) {
    message(buffer, family, sequence, REQUEST | ACK, command::DEL_DAEMON, |buffer| {
        put_nested(buffer, command_attribute::DAEMON, |buffer| {
            put(buffer, daemon::STATE, &role.number().to_ne_bytes());
        });
    });
}

/// Appends the request for a dump of the sync daemons.
pub fn dump_daemons(buffer: &mut Vec<u8>, family: u16, sequence: u32) {
    message(buffer, family, sequence, REQUEST | DUMP, command::GET_DAEMON, |_| {});
}

/// A sync daemon, from the attributes of an answer to `GET_DAEMON`, and its group.
///
/// # Errors
/// [`DecodeError`] tells what the entry lacks.
pub fn sync_daemon(attributes: &[u8]) -> Result<(SyncDaemon, Option<Ipv4Addr>), DecodeError> {
    let nested = nested(attributes, command_attribute::DAEMON, "IPVS_CMD_ATTR_DAEMON")?;
    let (mut state, mut interface, mut sync_id, mut group) = (None, None, None, None);
    for attribute in Attributes::new(nested) {
        let (kind, value) = attribute?;
        match kind {
            daemon::STATE => state = Some(read_u32(value, 0)?),
            daemon::MCAST_IFN => interface = Some(text(value)),
            daemon::SYNC_ID => sync_id = Some(read_u32(value, 0)?),
            daemon::MCAST_GROUP => group = Some(Ipv4Addr::from(array::<4>(value, 0)?)),
            // Lengths, ports and what a later kernel adds.
            _ => {}
        }
    }
    let state = state.ok_or_else(|| missing("IPVS_DAEMON_ATTR_STATE"))?;
    let role = [DaemonRole::Master, DaemonRole::Backup]
        .into_iter()
        .find(|role| role.number() == state)
        .ok_or_else(|| unknown("IPVS_DAEMON_ATTR_STATE", state))?;
    let sync_id = sync_id.ok_or_else(|| missing("IPVS_DAEMON_ATTR_SYNC_ID"))?;
    let sync_id =
        u8::try_from(sync_id).map_err(|_| unknown("IPVS_DAEMON_ATTR_SYNC_ID", sync_id))?;
    let interface = interface.ok_or_else(|| missing("IPVS_DAEMON_ATTR_MCAST_IFN"))?;
    Ok((SyncDaemon { role, interface, sync_id }, group))
}
