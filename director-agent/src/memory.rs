//! What of this program stays in the host's memory at all costs, and what goes back to the host.
//!
//! The program itself, its libraries and what it has at its start are locked: an advert must not wait for a page of them
//! from the disk. What comes later is not: a plan of 100,000 real servers takes three times its room on its way to the
//! kernel, and locked memory cannot be given back.

use std::io;
use std::time::Duration;

use caps::{CapSet, Capability};
use nix::libc;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use rustix::mm::{MlockAllFlags, mlockall};

/// Why memory is not locked.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// The host does not permit it.
    #[error("CAP_IPC_LOCK or LimitMEMLOCK=infinity would let it")]
    NotPermitted,
    /// The kernel refuses.
    #[error(transparent)]
    Refused(#[from] io::Error),
}

/// Room at the end of a heap that the C library may keep, and least size of what it takes from the kernel by itself, in
/// bytes. Left alone, it would raise both to tens of MiB after the first large plan.
const KEEP: libc::c_int = 1 << 20;
const LARGE: libc::c_int = 256 << 10;
/// Largest size of what it keeps for the next request of that size without joining it to free neighbours, in bytes: none,
/// for the end of a heap is looked at only when something joins it.
const UNJOINED: libc::c_int = 0;

/// Locks what the program has now, and sees to it that memory which is free later goes back to the host. To be called before
/// the first thread starts: threads' memory comes later.
///
/// # Errors
/// [`NotLocked`]; the program works without it, too.
pub fn prepare() -> Result<(), NotLocked> {
    keep_little();
    // Under a limit the kernel might refuse what is touched later.
    let is_unlimited =
        getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY);
    let is_capable = caps::has_cap(None, CapSet::Effective, Capability::CAP_IPC_LOCK);
    if !is_unlimited && !is_capable.unwrap_or(false) {
        return Err(NotLocked::NotPermitted);
    }
    // Pages are locked as they are touched: code that never runs costs nothing.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT).map_err(io::Error::from)?;
    Ok(())
}

fn keep_little() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no safe wrapper among our dependencies sets up malloc")]
    // SAFETY: mallopt(3) takes any number for these; a refusal leaves the defaults.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEEP);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_MXFAST, UNJOINED);
    }
}

/// What a large plan is followed by: reports, looks at the table. Their memory is free after so long, too.
const SETTLE: Duration = Duration::from_secs(5);

/// Gives free memory back to the host once what goes on has settled.
pub async fn give_back_soon() {
    tokio::time::sleep(SETTLE).await;
    // Nobody waits for it; a panic of it is reported by the runtime.
    let _ = tokio::task::spawn_blocking(give_back).await;
}

/// Gives free memory back to the host that lies between what is in use: large plans and tables leave it behind. Some
/// milliseconds of work after a large one.
fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no safe wrapper among our dependencies trims the heap")]
    // SAFETY: malloc_trim(3) takes any padding and only hands free pages back, under malloc's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
