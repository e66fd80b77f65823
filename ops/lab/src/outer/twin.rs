//! A second machine on the first one's segment, which can be paused as a hypervisor pauses a guest.
//!
//! The scenario, inside the first machine, writes orders into a directory that both sides see; this side carries them
//! out and says so there.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::uml::{Boot, Clock, Machine};
use crate::twin::{DIRECTORY, DONE, ORDER, Order};

/// Room for one director.
const MEMORY_MIB: u64 = 384;
/// Hardware address of the second machine's end of the wire.
const MAC: &str = "02:00:00:00:00:02";
/// How often orders are looked for: short against an advert interval.
const POLL: Duration = Duration::from_millis(2);

/// A wire between two machines: what one end sends, the other receives, whole frames.
pub(super) fn wire() -> Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::Unix, SockType::Datagram);
    socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC).context("cannot make a wire")
}

/// Carries out orders until `ended`; then the second machine ends.
pub(super) fn serve(out: &Path, end: &OwnedFd, ended: &AtomicBool) -> Result<()> {
    let dir = out.join(DIRECTORY);
    fs::create_dir_all(&dir)?;
    let mut machine: Option<Machine> = None;
    let mut served = 0;
    let result = loop {
        if ended.load(Ordering::Acquire) {
            break Ok(());
        }
        let text = fs::read_to_string(dir.join(ORDER)).unwrap_or_default();
        let Some((number, order)) = Order::parse(&text).filter(|(number, _)| *number > served)
        else {
            std::thread::sleep(POLL);
            continue;
        };
        served = number;
        let done = carry_out(order, &mut machine, &dir, end);
        let told = done.and_then(|()| Ok(fs::write(dir.join(DONE), number.to_string())?));
        if told.is_err() {
            break told;
        }
    };
    if let Some(machine) = machine {
        machine.end();
    }
    result
}

fn carry_out(order: Order, machine: &mut Option<Machine>, dir: &Path, end: &OwnedFd) -> Result<()> {
    use std::os::fd::AsFd as _;
    match (order, machine.take()) {
        (Order::Start, running) => {
            if let Some(running) = running {
                running.end();
            }
            let script = dir.join("init");
            let wire = Some((end.as_fd(), MAC));
            let clock = Clock::Host;
            let boot =
                Boot { script: &script, dir, memory_mib: MEMORY_MIB, clock, wire, label: "" };
            *machine = Some(Machine::start(&boot)?);
        }
        (Order::End, running) => {
            if let Some(running) = running {
                running.end();
            }
        }
        (Order::Pause, Some(running)) => {
            running.signal(Signal::SIGSTOP)?;
            *machine = Some(running);
        }
        (Order::Resume, Some(running)) => {
            running.signal(Signal::SIGCONT)?;
            *machine = Some(running);
        }
        (Order::Pause | Order::Resume, None) => bail!("the second machine does not run"),
    }
    Ok(())
}
