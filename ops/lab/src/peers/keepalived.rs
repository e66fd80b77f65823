//! keepalived, Debian's, with the seed's configuration: the other column of every comparison.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

use super::router::{RouterSettings, VIPS6};
use crate::net::topology::{DIRECTORS, Node, PORT, VIP, WEBS};
use crate::process::Launch;
use crate::settings::{PRIORITY, PRIORITY_BACKUP, Settings, VRID};

/// Where it writes the number of the process that runs VRRP.
const ROUTER_PID: &str = "v.pid";

/// What starts it on a director, with VRRP and the real servers' checks.
pub(crate) fn launch(node: Node, settings: &Settings, dir: &Path) -> Result<Launch> {
    launch_with(node, &config(node, settings), dir)
}

/// What starts it as a VRRP router and no more.
pub(crate) fn launch_router(settings: &RouterSettings, dir: &Path) -> Result<Launch> {
    launch_with(settings.node, &router_config(settings), dir)
}

fn launch_with(node: Node, config: &str, dir: &Path) -> Result<Launch> {
    let home = home(node, dir);
    fs::create_dir_all(&home)?;
    // Files of an instance that was killed would keep the next one from starting.
    for pid_file in ["k.pid", ROUTER_PID, "c.pid"] {
        let _ = fs::remove_file(home.join(pid_file));
    }
    let (file, args) = arguments(&home);
    fs::write(file, config)?;
    Ok(Launch {
        node: Some(node.name),
        label: "keepalived".to_owned(),
        program: "keepalived".into(),
        args,
        env: Vec::new(),
    })
}

/// Its configuration file and its arguments, with all its files in `home`.
pub(crate) fn arguments(home: &Path) -> (PathBuf, Vec<String>) {
    let file = |name: &str| home.join(name).to_string_lossy().into_owned();
    let arguments = [
        "--dont-fork".to_owned(),
        "--no-syslog".to_owned(),
        "--log-console".to_owned(),
        "--log-detail".to_owned(),
        format!("--use-file={}", file("keepalived.conf")),
        format!("--pid={}", file("k.pid")),
        format!("--vrrp_pid={}", file(ROUTER_PID)),
        format!("--checkers_pid={}", file("c.pid")),
    ];
    (home.join("keepalived.conf"), arguments.to_vec())
}

/// The process of a director's keepalived that runs VRRP.
pub(crate) fn router_pid(node: Node, dir: &Path) -> Result<Pid> {
    let path = home(node, dir).join(ROUTER_PID);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let pid = text.trim().parse().with_context(|| format!("{} has no number", path.display()))?;
    Ok(Pid::from_raw(pid))
}

fn home(node: Node, dir: &Path) -> PathBuf {
    dir.join(node.name).join("keepalived")
}

/// The seed's keepalived.conf as it is meant, with these settings.
pub(crate) fn config(node: Node, settings: &Settings) -> String {
    let is_first = node == DIRECTORS[0];
    let (state, priority) =
        if is_first { ("MASTER", PRIORITY) } else { ("BACKUP", PRIORITY_BACKUP) };
    let authentication = match settings.vrrp_version {
        2 => "    authentication {\n        auth_type PASS\n        auth_pass 1111\n    }\n",
        _ => "",
    };
    let check = &settings.check;
    let mut text = format!(
        "global_defs {{\n    router_id {}\n    vrrp_version {}\n}}\n\
         vrrp_instance VI_1 {{\n    state {state}\n    interface eth0\n    virtual_router_id {VRID}\n    \
         priority {priority}\n    advert_int {}\n{authentication}    virtual_ipaddress {{\n        {VIP}\n    }}\n}}\n\
         virtual_server {VIP} {PORT} {{\n    delay_loop {}\n    lb_algo rr\n    lb_kind DR\n    protocol TCP\n",
        node.name,
        settings.vrrp_version,
        settings.advert.as_secs_f64(),
        check.interval.as_secs_f64(),
    );
    let (kind, page) = if check.is_http {
        (
            "HTTP_GET",
            "            url {\n                path /\n                status_code 200\n            }\n",
        )
    } else {
        ("TCP_CHECK", "")
    };
    for web in WEBS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "    real_server {} {PORT} {{\n        weight 1\n        {kind} {{\n{page}            \
             connect_timeout {}\n            retry {}\n            delay_before_retry {}\n            \
             connect_port {PORT}\n        }}\n    }}\n",
            web.address,
            check.timeout.as_secs_f64(),
            check.retries,
            check.retry_delay.as_secs_f64(),
        );
    }
    text.push_str("}\n");
    text
}

/// A router's file.
fn router_config(settings: &RouterSettings) -> String {
    let mut text = format!(
        "global_defs {{\n    router_id {}\n    vrrp_version {}\n}}\nvrrp_instance VI_1 {{\n    \
         state BACKUP\n    interface eth0\n    virtual_router_id {VRID}\n    priority {}\n    \
         advert_int {}\n",
        settings.node.name,
        settings.version,
        settings.priority,
        settings.advert.as_secs_f64(),
    );
    // Writing to a String cannot fail.
    if let Some(password) = settings.password {
        let _ = writeln!(
            text,
            "    authentication {{\n        auth_type PASS\n        auth_pass {password}\n    }}"
        );
    }
    if settings.is_unicast {
        let (own, other) = (settings.node.address, settings.other.address);
        let _ = writeln!(
            text,
            "    unicast_src_ip {own}\n    unicast_peer {{\n        {other}\n    }}"
        );
    }
    if settings.has_virtual_mac {
        text.push_str("    use_vmac\n");
    }
    let vips = if settings.is_ipv6 {
        VIPS6.map(|vip| format!("        {vip}/64\n")).concat()
    } else {
        format!("        {VIP}\n")
    };
    let _ = write!(text, "    virtual_ipaddress {{\n{vips}    }}\n}}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{FAST, SEED};

    #[test]
    fn the_seeds_file() {
        let text = config(DIRECTORS[0], &SEED);
        for line in [
            "state MASTER",
            "priority 100",
            "advert_int 1\n",
            "auth_pass 1111",
            "delay_loop 6",
            "connect_timeout 10",
            "retry 3",
            "delay_before_retry 8",
            "real_server 192.168.1.139 80",
        ] {
            assert!(text.contains(line), "{line}");
        }
        let fast = config(DIRECTORS[1], &FAST);
        assert!(fast.contains("advert_int 0.1\n") && fast.contains("priority 90"));
        assert!(!fast.contains("auth_pass"));
    }
}
