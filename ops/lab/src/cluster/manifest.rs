//! The seed's cluster as a manifest, with the settings of a comparison.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::net::topology::{DIRECTORS, PORT, VIP, WEBS};
use crate::peers::router::VIPS6;
use crate::scenarios::interop::Pairing;
use crate::settings::{PRIORITY, PRIORITY_BACKUP, Settings, VRID};

/// The manifest.
pub(crate) fn seed(settings: &Settings) -> String {
    let priorities = [PRIORITY, PRIORITY_BACKUP];
    let mut text = instance(settings.vrrp_version, settings.advert, &[VIP.to_string()], priorities);
    // Writing to a String cannot fail.
    if settings.vrrp_version == 2 {
        let _ = writeln!(text, "  auth_pass: \"1111\"");
    }
    text.push_str(settings.options);
    let check = &settings.check;
    let (kind, pace) = if check.is_http {
        let (interval, timeout) = (duration(check.interval), duration(check.timeout));
        ("http", format!(", interval: {interval}, timeout: {timeout}"))
    } else {
        ("tcp", String::new())
    };
    for web in WEBS {
        let _ = write!(
            text,
            "---\nkind: RealServer\nname: {}\nspec:\n  site: main\n  rip: {}\n  port: {PORT}\n  \
             probe: {{http_path: /{pace}}}\n",
            web.name, web.address
        );
    }
    let more = &settings.balancing;
    let members: Vec<String> =
        WEBS.iter().map(|web| format!("{{real_server: {}{}}}", web.name, more.member)).collect();
    let _ = write!(
        text,
        "---\nkind: Pool\nname: tomcats\nspec:\n  members: [{}]\n  check: {{{kind}: {{}}, interval: {}, \
         timeout: {}, retries: {}, retry_delay: {}}}\n{}",
        members.join(", "),
        duration(check.interval),
        duration(check.timeout),
        check.retries,
        duration(check.retry_delay),
        more.pool,
    );
    let _ = write!(
        text,
        "---\nkind: VirtualServer\nname: web\nspec:\n  vrrp_instance: vi-1\n  vip: {VIP}\n  \
         port: {PORT}\n  protocol: tcp\n  scheduler: rr\n  forwarding: dr\n  pool: tomcats\n{}{}",
        more.virtual_server, more.resources,
    );
    text
}

/// Two directors and one VRRP instance, for an agent beside a router of another program.
pub(crate) fn router(pairing: &Pairing, priorities: [u8; 2]) -> String {
    let vips = if pairing.is_ipv6 {
        VIPS6.map(|vip| format!("\"{vip}/64\"")).to_vec()
    } else {
        vec![VIP.to_string()]
    };
    let mut text = instance(pairing.version, pairing.advert, &vips, priorities);
    // Writing to a String cannot fail.
    if let Some(password) = pairing.password {
        let _ = writeln!(text, "  auth_pass: \"{password}\"");
    }
    if pairing.is_unicast {
        text.push_str("  unicast: true\n");
    }
    if pairing.ours_has_virtual_mac {
        text.push_str("  virtual_mac: true\n");
    }
    text
}

/// Two directors and one VRRP instance of version 3 that holds these addresses.
pub(crate) fn instance_with(advert: Duration, vips: &[Ipv4Addr]) -> String {
    let vips: Vec<String> = vips.iter().map(Ipv4Addr::to_string).collect();
    instance(3, advert, &vips, [PRIORITY, PRIORITY_BACKUP])
}

/// The site, both directors, and an instance whose fields may go on at the end.
fn instance(version: u8, advert: Duration, vips: &[String], priorities: [u8; 2]) -> String {
    let mut text = String::from("kind: Site\nname: main\nspec: {description: the seed's site}\n");
    // Writing to a String cannot fail.
    for director in DIRECTORS {
        let _ = write!(
            text,
            "---\nkind: Director\nname: {}\nspec: {{site: main, dip: {}, interface: eth0}}\n",
            director.name, director.address
        );
    }
    let _ = write!(
        text,
        "---\nkind: VrrpInstance\nname: vi-1\nspec:\n  site: main\n  vrid: {VRID}\n  version: v{version}\n  \
         advert_interval: {}\n  vips: [{}]\n  members:\n",
        duration(advert),
        vips.join(", "),
    );
    for (director, priority) in DIRECTORS.iter().zip(priorities) {
        let _ = writeln!(text, "  - {{director: {}, priority: {priority}}}", director.name);
    }
    text
}

/// `6s` or `100ms`.
fn duration(value: Duration) -> String {
    if value.subsec_millis() == 0 {
        format!("{}s", value.as_secs())
    } else {
        format!("{}ms", value.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{FAST, SEED};

    #[test]
    fn follows_the_settings() {
        let seed = seed(&SEED);
        assert!(seed.contains("advert_interval: 1s") && seed.contains("auth_pass: \"1111\""));
        assert!(seed.contains("interval: 6s, timeout: 10s, retries: 3, retry_delay: 8s"));
        let fast = super::seed(&FAST);
        assert!(fast.contains("version: v3") && fast.contains("advert_interval: 100ms"));
        assert!(!fast.contains("auth_pass"));
    }
}
