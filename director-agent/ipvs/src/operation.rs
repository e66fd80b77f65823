//! One edit of an IPVS table, and what it does to one.

use std::collections::btree_map::Entry;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::{
    Destination, DestinationKey, DestinationSettings, Destinations, Flags, Netmask, Table,
    VirtualServer, VirtualServerKey, VirtualServerSettings,
};

/// One edit of the kernel's table: one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Add a virtual server without real servers.
    AddVirtualServer {
        /// Which.
        key: VirtualServerKey,
        /// How it balances.
        settings: VirtualServerSettings,
    },
    /// Change how a virtual server balances. Connections go on.
    EditVirtualServer {
        /// Which.
        key: VirtualServerKey,
        /// How it balances from now on.
        settings: VirtualServerSettings,
    },
    /// Delete a virtual server.
    DeleteVirtualServer {
        /// Which.
        key: VirtualServerKey,
    },
    /// Add a real server to a virtual server.
    AddDestination {
        /// Of which virtual server.
        virtual_server: VirtualServerKey,
        /// Which.
        key: DestinationKey,
        /// How it takes part.
        settings: DestinationSettings,
    },
    /// Change how a real server takes part, its weight above all. Connections go on.
    EditDestination {
        /// Of which virtual server.
        virtual_server: VirtualServerKey,
        /// Which.
        key: DestinationKey,
        /// How it takes part from now on.
        settings: DestinationSettings,
    },
    /// Delete a real server from a virtual server.
    DeleteDestination {
        /// Of which virtual server.
        virtual_server: VirtualServerKey,
        /// Which.
        key: DestinationKey,
    },
}

/// Counters to add one to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Adds an entry.
    Add,
    /// Edits an entry.
    Edit,
    /// Deletes an entry.
    Delete,
}

impl Operation {
    /// The virtual server that it touches.
    pub fn virtual_server(&self) -> &VirtualServerKey {
        match self {
            Self::AddVirtualServer { key, .. }
            | Self::EditVirtualServer { key, .. }
            | Self::DeleteVirtualServer { key } => key,
            Self::AddDestination { virtual_server, .. }
            | Self::EditDestination { virtual_server, .. }
            | Self::DeleteDestination { virtual_server, .. } => virtual_server,
        }
    }

    /// Parts operations where the virtual server that they touch is another one than before.
    pub fn by_virtual_server(operations: &[Self]) -> impl Iterator<Item = &[Self]> {
        operations.chunk_by(|a, b| a.virtual_server() == b.virtual_server())
    }

    /// The entry that it touches: a virtual server, or a real server of one.
    pub fn entry(&self) -> (VirtualServerKey, Option<DestinationKey>) {
        match self {
            Self::AddVirtualServer { key, .. }
            | Self::EditVirtualServer { key, .. }
            | Self::DeleteVirtualServer { key } => (*key, None),
            Self::AddDestination { virtual_server, key, .. }
            | Self::EditDestination { virtual_server, key, .. }
            | Self::DeleteDestination { virtual_server, key } => (*virtual_server, Some(*key)),
        }
    }

    /// Whether it adds, edits or deletes.
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::AddVirtualServer { .. } | Self::AddDestination { .. } => OperationKind::Add,
            Self::EditVirtualServer { .. } | Self::EditDestination { .. } => OperationKind::Edit,
            Self::DeleteVirtualServer { .. } | Self::DeleteDestination { .. } => {
                OperationKind::Delete
            }
        }
    }

    /// Does to `table` what the kernel would do to its own. An entry that was written has unknown connections.
    ///
    /// # Errors
    /// [`ApplyError`] where the kernel would refuse; the table is then as before.
    pub fn apply(&self, table: &mut Table) -> Result<(), ApplyError> {
        let servers = &mut table.virtual_servers;
        match self {
            Self::AddVirtualServer { key, settings } => match servers.entry(*key) {
                Entry::Occupied(_) => Err(ApplyError::Exists),
                Entry::Vacant(entry) => {
                    let destinations = Destinations::default();
                    let settings = settings.clone();
                    let server = VirtualServer { settings, destinations, foreign: false };
                    entry.insert(Arc::new(server));
                    Ok(())
                }
            },
            Self::EditVirtualServer { key, settings } => {
                virtual_server_of(table, key)?.settings = settings.clone();
                Ok(())
            }
            Self::DeleteVirtualServer { key } => {
                servers.remove(key).map(|_| ()).ok_or(ApplyError::NoVirtualServer)
            }
            Self::AddDestination { virtual_server, key, settings } => {
                let destinations = &mut virtual_server_of(table, virtual_server)?.destinations;
                if destinations.contains_key(key) {
                    return Err(ApplyError::Exists);
                }
                destinations.insert(*key, written(*settings));
                Ok(())
            }
            Self::EditDestination { virtual_server, key, settings } => {
                let server = virtual_server_of(table, virtual_server)?;
                if !server.destinations.contains_key(key) {
                    return Err(ApplyError::NoDestination);
                }
                server.destinations.insert(*key, written(*settings));
                Ok(())
            }
            Self::DeleteDestination { virtual_server, key } => {
                let server = virtual_server_of(table, virtual_server)?;
                server.destinations.remove(key).map(|_| ()).ok_or(ApplyError::NoDestination)
            }
        }
    }
}

fn written(settings: DestinationSettings) -> Destination {
    Destination { settings, connections: None }
}

fn virtual_server_of<'a>(
    table: &'a mut Table,
    key: &VirtualServerKey,
) -> Result<&'a mut VirtualServer, ApplyError> {
    let found = table.virtual_servers.get_mut(key).ok_or(ApplyError::NoVirtualServer)?;
    Ok(Arc::make_mut(found))
}

/// Why a table cannot take an operation; each is an errno of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// `EEXIST`.
    #[error("it exists already")]
    Exists,
    /// `ESRCH`.
    #[error("there is no such virtual server")]
    NoVirtualServer,
    /// `ENOENT`.
    #[error("the virtual server has no such real server")]
    NoDestination,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddVirtualServer { key, settings } => {
                write!(f, "add virtual server {key} with {settings}")
            }
            Self::EditVirtualServer { key, settings } => {
                write!(f, "edit virtual server {key} to {settings}")
            }
            Self::DeleteVirtualServer { key } => write!(f, "delete virtual server {key}"),
            Self::AddDestination { virtual_server, key, settings } => {
                write!(f, "add real server {key} to {virtual_server} with {settings}")
            }
            Self::EditDestination { virtual_server, key, settings } => {
                write!(f, "edit real server {key} of {virtual_server} to {settings}")
            }
            Self::DeleteDestination { virtual_server, key } => {
                write!(f, "delete real server {key} from {virtual_server}")
            }
        }
    }
}

impl fmt::Display for VirtualServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scheduler {}", self.scheduler)?;
        if self.flags.contains(Flags::PERSISTENT) {
            write!(f, ", persistence {} s", self.persistence_timeout_s)?;
        }
        match self.netmask {
            Netmask::V4(Ipv4Addr::BROADCAST) | Netmask::V6(128) => {}
            Netmask::V4(mask) => write!(f, ", netmask {mask}")?,
            Netmask::V6(prefix_length) => write!(f, ", netmask /{prefix_length}")?,
        }
        let others = self.flags.without(Flags::PERSISTENT);
        if others != Flags::NONE {
            write!(f, ", flags {:#06x}", others.bits())?;
        }
        if let Some(engine) = &self.persistence_engine {
            write!(f, ", persistence engine {engine}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DestinationSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weight {}, forwarding {}", self.weight, self.forwarding)?;
        if (self.upper_threshold, self.lower_threshold) != (0, 0) {
            write!(f, ", thresholds {} and {}", self.upper_threshold, self.lower_threshold)?;
        }
        Ok(())
    }
}
