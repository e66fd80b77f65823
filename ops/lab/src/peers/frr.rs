//! FRR's vrrpd, Debian's: a second stranger to speak VRRP with. Its routers live on macvlan devices with the virtual
//! router's MAC, which it finds and does not make.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::{Group, User, chown};

use super::router::{RouterSettings, VIPS6};
use crate::net::mac::Mac;
use crate::net::topology::{VIP, ip_batch};
use crate::process::{Launch, Process, run, wait_until};
use crate::settings::VRID;

/// Where Debian keeps its daemons.
pub(crate) const HOME: &str = "/usr/lib/frr";
/// The user that Debian runs them as.
const USER: &str = "frr";
/// How long zebra may take until it listens.
const LISTEN: Duration = Duration::from_secs(20);

/// A running router.
#[derive(Debug)]
pub(crate) struct Frr {
    node: &'static str,
    device: String,
    // vrrpd ends before zebra.
    vrrpd: Option<Process>,
    zebra: Option<Process>,
}

impl Frr {
    /// Makes its device and starts it.
    pub(crate) fn start(settings: &RouterSettings, dir: &Path, logs: &Path) -> Result<Self> {
        let node = settings.node.name;
        let home = dir.join(node).join("frr");
        // What the one before left, its sockets among it, must not be met.
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home)?;
        fs::write(home.join("zebra.conf"), "")?;
        fs::write(home.join("vrrpd.conf"), config(settings))?;
        let user = User::from_name(USER)?.context("there is no user frr (package frr)")?;
        let group = Group::from_name(USER)?.context("there is no group frr (package frr)")?;
        for path in [home.clone(), home.join("zebra.conf"), home.join("vrrpd.conf")] {
            chown(&path, Some(user.uid), Some(group.gid))?;
        }
        let device = device(settings);
        ip_batch(Some(node), &device_lines(settings, &device))
            .context("cannot make a macvlan device for FRR")?;
        let mut frr = Self { node, device, vrrpd: None, zebra: None };
        let socket = home.join("zserv.api");
        let begin = Instant::now();
        let zebra = frr.zebra.insert(Process::start(logs, launch(node, "zebra", &home))?);
        wait_until("FRR's zebra listens", LISTEN, || {
            if !zebra.is_running() {
                anyhow::bail!("zebra ended after {:?}:\n{}", begin.elapsed(), zebra.tail(10));
            }
            Ok(socket.exists().then_some(()))
        })?;
        frr.vrrpd = Some(Process::start(logs, launch(node, "vrrpd", &home))?);
        Ok(frr)
    }

    /// Ends it and takes its device away.
    pub(crate) fn stop(mut self) -> Result<()> {
        for process in [self.vrrpd.take(), self.zebra.take()].into_iter().flatten() {
            process.kill()?;
        }
        run("ip", &["-n", self.node, "link", "del", &self.device]).map(|_| ())
    }
}

fn launch(node: &'static str, daemon: &str, home: &Path) -> Launch {
    let file = |name: String| home.join(name).to_string_lossy().into_owned();
    let args = [
        format!("--config_file={}", file(format!("{daemon}.conf"))),
        format!("--pid_file={}", file(format!("{daemon}.pid"))),
        format!("--socket={}", file("zserv.api".to_owned())),
        format!("--vty_socket={}", home.display()),
        format!("--user={USER}"),
        format!("--group={USER}"),
        "--log=stdout".to_owned(),
    ];
    Launch {
        node: Some(node),
        label: format!("frr-{daemon}"),
        program: Path::new(HOME).join(daemon),
        args: args.to_vec(),
        env: Vec::new(),
    }
}

fn config(settings: &RouterSettings) -> String {
    let mut text = format!(
        "interface eth0\n vrrp {VRID} version {}\n vrrp {VRID} priority {}\n \
         vrrp {VRID} advertisement-interval {}\n",
        settings.version,
        settings.priority,
        settings.advert.as_millis(),
    );
    // Writing to a String cannot fail.
    if settings.is_ipv6 {
        for vip in VIPS6 {
            let _ = writeln!(text, " vrrp {VRID} ipv6 {vip}");
        }
    } else {
        let _ = writeln!(text, " vrrp {VRID} ip {VIP}");
    }
    text.push_str("exit\n");
    text
}

fn device(settings: &RouterSettings) -> String {
    format!("vrrp{}-{VRID}", if settings.is_ipv6 { 6 } else { 4 })
}

fn device_lines(settings: &RouterSettings, device: &str) -> Vec<String> {
    let mac = Mac::of_virtual_router(settings.is_ipv6);
    let mut lines = vec![
        format!("link add link eth0 name {device} type macvlan mode bridge"),
        format!("link set {device} address {mac}"),
    ];
    if settings.is_ipv6 {
        lines.extend(VIPS6.map(|vip| format!("addr add {vip}/64 dev {device} nodad")));
    } else {
        lines.push(format!("addr add {VIP}/32 dev {device}"));
    }
    lines.push(format!("link set {device} up"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::topology::DIRECTORS;

    #[test]
    fn both_families() {
        let mut settings = RouterSettings {
            node: DIRECTORS[1],
            other: DIRECTORS[0],
            version: 3,
            is_ipv6: false,
            advert: Duration::from_millis(100),
            priority: 90,
            password: None,
            is_unicast: false,
            has_virtual_mac: true,
        };
        let four = config(&settings);
        assert!(four.contains("vrrp 51 version 3\n vrrp 51 priority 90\n"));
        assert!(four.contains("advertisement-interval 100\n vrrp 51 ip 192.168.1.150\n"));
        assert_eq!(device_lines(&settings, "x")[1], "link set x address 00:00:5e:00:01:33");
        settings.is_ipv6 = true;
        let six = config(&settings);
        assert!(six.contains("ipv6 fe80::150\n vrrp 51 ipv6 2001:db8:1::150\n"));
        assert_eq!(device_lines(&settings, "x")[1], "link set x address 00:00:5e:00:02:33");
    }
}
