//! The seed's cluster as data, and its namespaces.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::mac::Mac;
use crate::say;

/// The kernel's defaults of what a director's program may change (Documentation/networking/ipvs-sysctl.rst).
const IPVS_DEFAULTS: [(&str, &str); 4] = [
    ("conn_reuse_mode", "1"),
    ("expire_nodest_conn", "0"),
    ("expire_quiescent_template", "0"),
    ("sloppy_tcp", "0"),
];

/// A host of the cluster: a network namespace whose `eth0` stands on the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name, and that of its namespace.
    pub(crate) name: &'static str,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

const fn node(name: &'static str, last: u8) -> Node {
    Node { name, address: Ipv4Addr::new(192, 168, 1, last) }
}

/// The directors, the one of higher priority first.
pub(crate) const DIRECTORS: [Node; 2] = [node("d1", 135), node("d2", 136)];
/// The Tomcat hosts.
pub(crate) const WEBS: [Node; 2] = [node("web1", 138), node("web2", 139)];
/// The controllers.
pub(crate) const CONTROLLERS: [Node; 3] = [node("c1", 131), node("c2", 132), node("c3", 133)];
/// Where the page is reloaded.
pub(crate) const CLIENT: Node = node("client", 200);
/// Where the OTLP collector listens.
pub(crate) const COLLECTOR: Node = node("otel", 130);
/// Where ARP is watched: a host of its own, so that the client's cache learns nothing from what is asked.
pub(crate) const WITNESS: Node = node("witness", 201);
/// Where a page is served from when no Tomcat can.
pub(crate) const SORRY: Node = node("sorry", 140);
/// A host that does what it should not.
pub(crate) const INTRUDER: Node = node("intruder", 202);
/// The address that clients use.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 150);
/// The port that clients use.
pub(crate) const PORT: u16 = 80;
/// The namespace that holds the bridge.
pub(crate) const SWITCH: &str = "lan";

/// All nodes.
pub(crate) fn nodes() -> impl Iterator<Item = Node> {
    let others = [CLIENT, COLLECTOR, SORRY, WITNESS, INTRUDER];
    DIRECTORS.into_iter().chain(WEBS).chain(CONTROLLERS).chain(others)
}

/// The bridge's port that a node hangs on.
pub(crate) fn port_of(node: &str) -> String {
    format!("p-{node}")
}

/// Makes the namespaces, the bridge, and each node's `lo` and `eth0`.
pub(crate) fn bring_up() -> Result<()> {
    let mut names = vec![SWITCH.to_owned()];
    names.extend(nodes().map(|node| node.name.to_owned()));
    let adds: Vec<String> = names.iter().map(|name| format!("netns add {name}")).collect();
    ip_batch(None, &adds).context("cannot make network namespaces")?;
    for name in &names {
        // Neighbour discovery of IPv6 would be noise on the segment; a kernel without IPv6 has no such file.
        let _ = set_sysctl(name, "net/ipv6/conf/all/disable_ipv6", "1");
        let _ = set_sysctl(name, "net/ipv6/conf/default/disable_ipv6", "1");
    }
    let mut switch = vec![
        "link set lo up".to_owned(),
        "link add lan0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0".to_owned(),
        "link set lan0 up".to_owned(),
    ];
    for node in nodes() {
        let port = port_of(node.name);
        switch.push(format!("link add {port} type veth peer name eth0 netns {}", node.name));
        switch.push(format!("link set {port} master lan0 up"));
    }
    ip_batch(Some(SWITCH), &switch).context("cannot make the bridge")?;
    for node in nodes() {
        let lines = [
            "link set lo up".to_owned(),
            format!("addr add {}/24 dev eth0", node.address),
            "link set eth0 up".to_owned(),
        ];
        ip_batch(Some(node.name), &lines)
            .with_context(|| format!("cannot set up node {}", node.name))?;
    }
    say!("network is up: {} nodes on one bridge", nodes().count());
    Ok(())
}

/// Devices with IPv6 where a scenario wants it: those that are made later, and those that are there.
const IPV6_DEVICES: [&str; 3] = ["default", "eth0", "lo"];

/// Gives nodes IPv6, with addresses that are usable at once.
pub(crate) fn enable_ipv6(nodes: &[Node]) -> Result<()> {
    for node in nodes {
        for device in IPV6_DEVICES {
            set_sysctl(node.name, &format!("net/ipv6/conf/{device}/accept_dad"), "0")?;
            // Off and on: what forgets a director's addresses forgets the link-local one as well.
            set_sysctl(node.name, &format!("net/ipv6/conf/{device}/disable_ipv6"), "1")?;
            set_sysctl(node.name, &format!("net/ipv6/conf/{device}/disable_ipv6"), "0")?;
        }
    }
    Ok(())
}

/// Takes [`enable_ipv6`] back.
pub(crate) fn disable_ipv6(nodes: &[Node]) -> Result<()> {
    for node in nodes {
        for device in IPV6_DEVICES {
            set_sysctl(node.name, &format!("net/ipv6/conf/{device}/disable_ipv6"), "1")?;
        }
    }
    Ok(())
}

/// Takes away what a director holds in memory only, as a power cut would: VIPs, the IPVS table
/// and its settings.
pub(crate) fn forget_like_a_reboot(director: Node) -> Result<()> {
    ip_batch(
        Some(director.name),
        &[
            "addr flush dev eth0".to_owned(),
            format!("addr add {}/24 dev eth0", director.address),
            "neigh flush dev eth0".to_owned(),
        ],
    )?;
    // Those with virtual MACs, whoever made them.
    let devices = devices(director, &["type", "macvlan"])?.into_iter();
    let lines: Vec<String> = devices.map(|name| format!("link del {name}")).collect();
    if !lines.is_empty() {
        ip_batch(Some(director.name), &lines)?;
    }
    // keepalived sets arp_filter for its virtual MACs, and takes it back only where it is stopped with grace.
    for name in ["arp_ignore", "arp_announce", "arp_filter"] {
        set_sysctl(director.name, &format!("net/ipv4/conf/eth0/{name}"), "0")?;
    }
    // There may be no classifier on the interface, which is no failure.
    let _ =
        crate::process::run("tc", &["-n", director.name, "qdisc", "del", "dev", "eth0", "clsact"]);
    for (name, value) in IPVS_DEFAULTS {
        set_sysctl(director.name, &format!("net/ipv4/vs/{name}"), value)?;
    }
    // What nat needs. Where IPv6 is off, nothing forwards it.
    set_sysctl(director.name, "net/ipv4/ip_forward", "0")?;
    crate::process::run("ip", &["netns", "exec", director.name, "ipvsadm", "-C"]).map(|_| ())
}

/// The names of a node's devices that `which` selects, in the words of `ip link show`.
fn devices(node: Node, which: &[&str]) -> Result<Vec<String>> {
    let show = ["-netns", node.name, "-o", "link", "show"];
    let text = crate::process::run("ip", &[show.as_slice(), which].concat())?;
    // `4: vrrp4-51-3c1e@eth0: <...`.
    let names = text.lines().filter_map(|line| line.split([' ', '@']).nth(1));
    Ok(names.map(ToOwned::to_owned).collect())
}

/// Takes away what agents that were killed left on a real server's host, as a power cut would: VIPs of IPv4, devices of tunnels, and
/// what silences ARP.
pub(crate) fn forget_real_server(web: Node) -> Result<()> {
    // Not the addresses that scenarios gave it.
    let mut lines = vec!["addr flush dev lo label lo:fulcrum".to_owned()];
    let ours = devices(web, &[])?.into_iter().filter(|name| name.starts_with("fulcrum-"));
    lines.extend(ours.map(|name| format!("link del {name}")));
    ip_batch(Some(web.name), &lines)?;
    for device in ["all", "eth0", "lo"] {
        for name in ["arp_ignore", "arp_announce"] {
            set_sysctl(web.name, &format!("net/ipv4/conf/{device}/{name}"), "0")?;
        }
    }
    Ok(())
}

/// The hardware address of a node's `eth0`.
pub(crate) fn mac_of(node: Node) -> Result<Mac> {
    super::packet::FrameSocket::open(node.name, 0).map(|socket| socket.own)
}

/// Writes a sysctl of a node; `name` with slashes.
pub(crate) fn set_sysctl(node: &str, name: &str, value: &str) -> Result<()> {
    super::namespace::inside(node, || {
        // The thread's own view: /proc/sys shows the namespace of the task that opens it.
        let path = format!("/proc/sys/{name}");
        std::fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))
    })
}

/// Feeds lines to one `ip -batch` run, in a namespace or outside.
pub(crate) fn ip_batch(namespace: Option<&str>, lines: &[String]) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-netns", namespace]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip (package iproute2)")?;
    let text = lines.join("\n") + "\n";
    child.stdin.take().context("ip has no standard input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
