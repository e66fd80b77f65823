//! Every request that deletes from a director's IPVS table, heard on an `nlmon` device: it copies all netlink messages
//! of its namespace, so a deletion cannot hide between two samples of the table, even when the entry is added again.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::deletion::{Deletion, GENLMSGHDR, NLATTR, NLMSGHDR, attribute, deletions};
use super::table::Table;
use crate::net::namespace;
use crate::net::topology::ip_batch;

/// `AF_NETLINK`, and `NETLINK_GENERIC` of linux/netlink.h.
const AF_NETLINK: i32 = 16;
const NETLINK_GENERIC: u16 = 16;
/// `ETH_P_ALL` in network byte order: only sockets for all protocols hear what a device sends, as nlmon does.
const ETH_P_ALL_BE: i32 = 3_u16.to_be() as i32;
/// Classic BPF (`linux/bpf_common.h`, linux/filter.h): load the device's ARPHRD type, jump if equal, return.
const BPF_LD_W_ABS: u16 = 0x20;
const BPF_JMP_JEQ_K: u16 = 0x15;
const BPF_RET_K: u16 = 0x06;
const SKF_AD_HATYPE: u32 = 0xffff_f000 + 28;
/// `ARPHRD_NETLINK` of `linux/if_arp.h`: the nlmon device.
const ARPHRD_NETLINK: u32 = 824;
/// `NLM_F_REQUEST` of linux/netlink.h.
pub(super) const NLM_F_REQUEST: u16 = 1;
/// The controller of generic netlink: family, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_NAME` and _ID (linux/genetlink.h).
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// How long the ear blocks before it looks whether it shall stop.
const LOOK_UP_EVERY: Duration = Duration::from_millis(200);

/// Hears the deletions in one director's namespace until dropped.
#[derive(Debug)]
pub(crate) struct EditEar {
    heard: Arc<Mutex<Vec<(Instant, Deletion)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EditEar {
    /// Makes the namespace's `nlmon` device and listens. Fails where the kernel has none.
    pub(crate) fn at(director: &str) -> Result<Self> {
        let add = ["link add lab-nlmon type nlmon".to_owned(), "link set lab-nlmon up".to_owned()];
        ip_batch(Some(director), &add).context("the kernel has no nlmon device")?;
        let (mut socket, family) =
            namespace::inside(director, || Ok((open_ear()?, ipvs_family()?)))?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0_u8; 1 << 18];
            while !stopped.load(Ordering::Relaxed) {
                // A timeout brings us back to look at `stopped`.
                let Ok(length) = socket.read(&mut buffer) else { continue };
                let found = deletions(&buffer[..length], family);
                let now = Instant::now();
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(found.into_iter().map(|deletion| (now, deletion)));
            }
        });
        Ok(Self { heard, stop, thread: Some(thread) })
    }

    /// Entries of `table` that the kernel was asked to delete since `since`.
    pub(crate) fn deleted_of(&self, table: &Table, since: Instant) -> usize {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|(at, _)| *at >= since).map(|(_, it)| it.entries_of(table)).sum()
    }
}

impl Drop for EditEar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread only counts; what it counted was used already.
            let _ = thread.join();
        }
    }
}

/// A socket that hears the nlmon device of the calling thread's namespace, and no other.
fn open_ear() -> Result<Socket> {
    let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ETH_P_ALL_BE)))?;
    socket.attach_filter(&[
        SockFilter::new(BPF_LD_W_ABS, 0, 0, SKF_AD_HATYPE),
        SockFilter::new(BPF_JMP_JEQ_K, 0, 1, ARPHRD_NETLINK),
        SockFilter::new(BPF_RET_K, 0, 0, u32::MAX),
        SockFilter::new(BPF_RET_K, 0, 0, 0),
    ])?;
    // What came before the filter stood is dropped.
    socket.set_nonblocking(true)?;
    while socket.read(&mut [0; 64]).is_ok() {}
    socket.set_nonblocking(false)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_read_timeout(Some(LOOK_UP_EVERY))?;
    Ok(socket)
}

/// A socket of generic netlink that waits for an answer for so long.
pub(super) fn generic_netlink(patience: Duration) -> Result<Socket> {
    let protocol = Protocol::from(i32::from(NETLINK_GENERIC));
    let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket)
}

/// Asks the kernel for the number of the IPVS family.
pub(super) fn ipvs_family() -> Result<u16> {
    let mut socket = generic_netlink(Duration::from_secs(2))?;
    let name = b"IPVS\0\0\0\0"; // padded to 4
    let attribute_bytes = u16::try_from(NLATTR + 5)?;
    let total = u32::try_from(NLMSGHDR + GENLMSGHDR + NLATTR + name.len())?;
    let mut message = Vec::new();
    message.extend(total.to_ne_bytes());
    message.extend(GENL_ID_CTRL.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([CTRL_CMD_GETFAMILY, 1, 0, 0]);
    message.extend(attribute_bytes.to_ne_bytes());
    message.extend(CTRL_ATTR_FAMILY_NAME.to_ne_bytes());
    message.extend(name);
    socket.send(&message)?;
    let mut answer = vec![0_u8; 8192];
    let length = socket.read(&mut answer).context("no answer about the IPVS family")?;
    let attributes = answer.get(NLMSGHDR + GENLMSGHDR..length).unwrap_or_default();
    if let Some([low, high, ..]) = attribute(attributes, CTRL_ATTR_FAMILY_ID) {
        return Ok(u16::from_ne_bytes([*low, *high]));
    }
    bail!("the kernel has no generic netlink family IPVS: is ip_vs loaded?")
}
