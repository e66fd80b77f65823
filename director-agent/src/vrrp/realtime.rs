//! Lets the VRRP thread run before others when the host is busy: an advert that waits for the
//! processor looks like a dead director to its peers.

use std::io;

use nix::libc;

/// Real-time priority, of 1 to 99: before every usual thread, below those of the kernel.
const PRIORITY: libc::c_int = 10;
/// The thread's niceness where real time is not permitted, of -20 to 19: before usual work, and before a large IPVS table.
const NICE: i32 = -20;

/// Raises the calling thread as far as the host permits.
pub(super) fn raise() {
    match set_fifo() {
        Ok(()) => tracing::debug!(priority = PRIORITY, "VRRP runs in real time"),
        Err(error) => {
            tracing::info!(
                %error,
                "VRRP does not run in real time: CAP_SYS_NICE or LimitRTPRIO= would let it"
            );
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::info!(%error, "VRRP runs at normal priority");
            }
        }
    }
}

/// `SCHED_FIFO` for this thread alone: children get the usual scheduling again.
#[expect(unsafe_code, reason = "no safe wrapper among our dependencies sets a thread's policy")]
fn set_fifo() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 names the calling thread, and `parameter` is a whole sched_param that outlives the
    // call, which only reads it (sched_setscheduler(2)).
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
