//! How each fault is brought about.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use super::Scene;
use crate::cluster::text;
use crate::net::packet::FrameSocket;
use crate::net::spoof::{self, Claim, ETH_P_IP};
use crate::net::topology::{self, DIRECTORS, INTRUDER, VIP, ip_batch};
use crate::pair::signal_all;
use crate::process::{run, wait_until};
use crate::settings::VRID;

/// How long a third host sends adverts.
const SPOOFED: Duration = Duration::from_secs(2);
/// How long the status is read for a second owner's name.
const NAMED: Duration = Duration::from_secs(20);
/// What stands between two steps of the clock.
const BETWEEN_STEPS: Duration = Duration::from_secs(3);
/// Seconds of an hour.
const HOUR_S: i64 = 3600;

pub(super) fn kill_agent(scene: &mut Scene<'_>) -> Result<()> {
    scene.stage.pair.signal_router(0, Signal::SIGKILL, scene.stage.paths.dir)
}

pub(super) fn kill_all(_: &mut Scene<'_>) -> Result<()> {
    signal_all(DIRECTORS[0], Signal::SIGKILL)
}

pub(super) fn stop_agent(scene: &mut Scene<'_>) -> Result<()> {
    scene.stage.pair.signal_router(0, Signal::SIGSTOP, scene.stage.paths.dir)
}

pub(super) fn stop_all(_: &mut Scene<'_>) -> Result<()> {
    signal_all(DIRECTORS[0], Signal::SIGSTOP)
}

pub(super) fn resume(_: &mut Scene<'_>) -> Result<()> {
    signal_all(DIRECTORS[0], Signal::SIGCONT)
}

pub(super) fn block(scene: &mut Scene<'_>) -> Result<()> {
    scene.stage.pair.cable(0).block()
}

pub(super) fn unblock(scene: &mut Scene<'_>) -> Result<()> {
    scene.stage.pair.cable(0).unblock()
}

pub(super) fn remove_vip(_: &mut Scene<'_>) -> Result<()> {
    let vip = format!("{VIP}/32");
    run("ip", &["-n", DIRECTORS[0].name, "address", "del", &vip, "dev", "eth0"]).map(|_| ())
}

/// Whether the wall clock is of a machine that the lab booted, so that stepping it disturbs nobody.
pub(super) fn owns_the_clock() -> Result<bool> {
    let text = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    Ok(text.contains("User Mode Linux"))
}

pub(super) fn step_clock(_: &mut Scene<'_>) -> Result<()> {
    step(-2 * HOUR_S)?;
    std::thread::sleep(BETWEEN_STEPS);
    step(HOUR_S)?;
    std::thread::sleep(BETWEEN_STEPS);
    Ok(())
}

pub(super) fn restore_clock(_: &mut Scene<'_>) -> Result<()> {
    step(HOUR_S)
}

fn step(seconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let then = TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, then).context("cannot step the wall clock")
}

pub(super) fn spoof_v3(scene: &mut Scene<'_>) -> Result<()> {
    let interval = scene.stage.pair.settings.advert;
    let hundredths = u8::try_from(interval.as_millis() / 10)?;
    let claim = Claim { version: 3, vrid: VRID, vip: VIP, interval: hundredths, password: None };
    spoof(&claim, interval)
}

pub(super) fn spoof_pass(scene: &mut Scene<'_>) -> Result<()> {
    let interval = scene.stage.pair.settings.advert;
    let password = Some(*b"1111\0\0\0\0");
    let seconds = u8::try_from(interval.as_secs())?;
    spoof(&Claim { version: 2, vrid: VRID, vip: VIP, interval: seconds, password }, interval)
}

/// Takes the VIP on a third host, and waits until the status names that host.
pub(super) fn own_too(scene: &mut Scene<'_>) -> Result<()> {
    let own = [format!("address add {VIP}/32 dev eth0")];
    let mac = topology::mac_of(INTRUDER)?.to_string();
    let begin = Instant::now();
    ip_batch(Some(INTRUDER.name), &own)?;
    let named = wait_until("the status names the second owner", NAMED, || {
        let status = text(&scene.stage.cluster.lvsctl(&["-o", "json", "status"])?.stdout);
        let names = |line: &str| line.contains(&mac) && line.contains(&VIP.to_string());
        Ok(status.lines().any(names).then_some(()))
    });
    // That it was not named is for the judge to say.
    scene.told = named.is_ok().then(|| begin.elapsed());
    Ok(())
}

pub(super) fn disown(_: &mut Scene<'_>) -> Result<()> {
    ip_batch(Some(INTRUDER.name), &[format!("address del {VIP}/32 dev eth0")])
}

fn spoof(claim: &Claim, every: Duration) -> Result<()> {
    let socket = FrameSocket::open(INTRUDER.name, ETH_P_IP)?;
    let frame = spoof::frame(claim, socket.own, INTRUDER.address);
    let mut left = SPOOFED;
    while !left.is_zero() {
        socket.send(&frame)?;
        let pause = every.min(left);
        std::thread::sleep(pause);
        left -= pause;
    }
    Ok(())
}
