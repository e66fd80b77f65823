//! What can go wrong with the kernel's table, each with its remedy.

use std::io;

use fulcrum_ipvs::Operation;
use fulcrum_ipvs::codec::{Malformed, Refusal};
use nix::errno::Errno;

/// Why the kernel's table cannot be read or written at all.
#[derive(Debug, thiserror::Error)]
pub enum IpvsError {
    /// `EPERM`.
    #[error(
        "the kernel refuses access to IPVS: it needs CAP_NET_ADMIN in the initial user namespace; under systemd, put \
         AmbientCapabilities=CAP_NET_ADMIN into the unit, otherwise start the program as root"
    )]
    MissingCapability,
    /// No family `IPVS`, and it could not be loaded.
    #[error(
        "the kernel has no IPVS ({reason}): load it with `modprobe ip_vs`, for good by a line `ip_vs` in \
         /etc/modules-load.d/fulcrum.conf; a kernel without that module needs the package that holds it"
    )]
    MissingModule {
        /// What the attempt to load it said.
        reason: String,
    },
    /// A system call on the netlink socket failed.
    #[error("cannot {doing} over netlink: {source}")]
    Socket {
        /// What was to be done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The kernel did not answer in time.
    #[error("the kernel did not answer the request to {doing} within {waited_ms} ms")]
    NoAnswer {
        /// What was to be done.
        doing: &'static str,
        /// How long was waited.
        waited_ms: u128,
    },
    /// The kernel refused to be read.
    #[error("the kernel refused to {doing}: {}", words(.refusal))]
    Refused {
        /// What was to be done.
        doing: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// The kernel's answer does not hold together.
    #[error("cannot {doing}: {source}")]
    Malformed {
        /// What was to be done.
        doing: &'static str,
        /// What is wrong.
        source: Malformed,
    },
    /// The driver's thread could not be started.
    #[error("cannot start the IPVS driver's thread: {0}")]
    Thread(#[source] io::Error),
    /// The driver has ended.
    #[error("the IPVS driver has ended")]
    Stopped,
}

/// Why a wanted table is not in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpvsRefused {
    /// The kernel refused an operation.
    #[error("the kernel refused to {operation}: {reason}")]
    Kernel {
        /// What it refused.
        operation: String,
        /// Its errno.
        errno: i32,
        /// Why, with the remedy where one is known.
        reason: String,
    },
    /// The kernel could not be asked.
    #[error("the kernel could not be asked: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// The driver has ended.
    #[error("the IPVS driver has ended")]
    Stopped,
}

impl IpvsRefused {
    /// Explains a refusal by what was asked.
    pub(super) fn of(operation: &Operation, refusal: &Refusal) -> Self {
        let remedy = remedy(operation, refusal.errno);
        Self::Kernel {
            operation: operation.to_string(),
            errno: refusal.errno,
            reason: format!("{}{remedy}", words(refusal)),
        }
    }
}

/// The kernel's own text if it gave one, and the errno's.
fn words(refusal: &Refusal) -> String {
    let errno = Errno::from_raw(refusal.errno);
    if refusal.text.is_empty() {
        format!("{} ({errno:?})", errno.desc())
    } else {
        format!("{}: {} ({errno:?})", refusal.text, errno.desc())
    }
}

/// What to do, where the errno of that operation tells it (`net/netfilter/ipvs/ip_vs_ctl.c`).
fn remedy(operation: &Operation, errno: i32) -> String {
    match (operation, Errno::from_raw(errno)) {
        (
            Operation::AddVirtualServer { settings, .. }
            | Operation::EditVirtualServer { settings, .. },
            Errno::ENOENT,
        ) => {
            let scheduler = &settings.scheduler;
            format!(
                "; the kernel has no scheduler {scheduler}: load its module with `modprobe ip_vs_{scheduler}`, or \
                 choose another scheduler"
            )
        }
        (_, Errno::EPERM) => {
            "; this process has lost CAP_NET_ADMIN: restart it with that capability".to_owned()
        }
        (
            Operation::AddDestination { key, .. } | Operation::EditDestination { key, .. },
            Errno::EINVAL,
        ) => {
            let address = key.address;
            format!(
                "; {address} is no unicast address in this network namespace, or its interface lo is down: look at \
                 `ip route get {address}` and `ip link show lo`"
            )
        }
        (
            Operation::AddVirtualServer { .. } | Operation::AddDestination { .. },
            Errno::EAFNOSUPPORT,
        ) => "; the kernel's IPVS has no IPv6".to_owned(),
        (Operation::AddVirtualServer { .. } | Operation::AddDestination { .. }, Errno::ENOMEM) => {
            "; the kernel is out of memory".to_owned()
        }
        (Operation::AddVirtualServer { .. } | Operation::AddDestination { .. }, Errno::EEXIST) => {
            "; it is there and cannot be read: look at `ipvsadm -Ln`".to_owned()
        }
        // Every other errno speaks for itself.
        (_, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use fulcrum_ipvs::{AddressFamily, VirtualServerKey, VirtualServerSettings};
    use fulcrum_model::Scheduler;

    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let vip = "192.168.1.150".parse().expect("an address");
        let operation = Operation::AddVirtualServer {
            key: VirtualServerKey::tcp(vip, 80),
            settings: VirtualServerSettings::new(Scheduler::Twos, AddressFamily::V4),
        };
        for (errno, text, expected) in [
            (
                2,
                "",
                "the kernel refused to add virtual server TCP 192.168.1.150:80 with scheduler twos: No such file or \
                 directory (ENOENT); the kernel has no scheduler twos: load its module with `modprobe \
                 ip_vs_twos`, or choose another scheduler",
            ),
            (
                22,
                "bad attribute",
                "the kernel refused to add virtual server TCP 192.168.1.150:80 with scheduler twos: bad attribute: \
                 Invalid argument (EINVAL)",
            ),
        ] {
            let refusal = Refusal { errno, text: text.to_owned() };
            assert_eq!(IpvsRefused::of(&operation, &refusal).to_string(), expected);
        }
    }
}
