//! Tables that scenarios fill: a namespace with one of its own, and what the kernel says of it.

use std::net::SocketAddrV4;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::text;
use crate::net::namespace;
use crate::net::topology::{self, Node, SWITCH, ip_batch, port_of};
use crate::say;

/// Time that the kernel is given to take a large table down: it does so by itself after its namespace has gone.
const TAKE_DOWN: Duration = Duration::from_secs(3);

/// A network namespace with a table that was never used, until dropped.
#[derive(Debug)]
pub(super) struct Bare;

impl Bare {
    /// Its name.
    pub(super) const NAME: &'static str = "scale";

    /// Makes it, with `lo` up: the kernel takes no real server without.
    pub(super) fn new() -> Result<Self> {
        ip_batch(None, &[format!("netns add {}", Self::NAME)])?;
        let bare = Self;
        ip_batch(Some(Self::NAME), &["link set lo up".to_owned()])?;
        Ok(bare)
    }

    /// The same in place of a node, with its address on the segment. The node's own port is down meanwhile.
    pub(super) fn in_place_of(node: Node) -> Result<InPlace> {
        let bare = Self::new()?;
        let place = InPlace { node, bare };
        let name = Self::NAME;
        let port = port_of(name);
        let switch = [
            format!("link set {} down", port_of(node.name)),
            format!("link add {port} type veth peer name eth0 netns {name}"),
            format!("link set {port} master lan0 up"),
        ];
        ip_batch(Some(SWITCH), &switch)?;
        let own = [format!("addr add {}/24 dev eth0", node.address), "link set eth0 up".to_owned()];
        ip_batch(Some(name), &own)?;
        for other in topology::nodes().filter(|other| *other != node) {
            ip_batch(Some(other.name), &["neigh flush dev eth0".to_owned()])?;
        }
        Ok(place)
    }
}

/// A namespace in place of a node, until dropped.
#[derive(Debug)]
pub(super) struct InPlace {
    node: Node,
    pub(super) bare: Bare,
}

impl Drop for InPlace {
    fn drop(&mut self) {
        let up = format!("link set {} up", port_of(self.node.name));
        if let Err(error) = ip_batch(Some(SWITCH), &[up]) {
            say!("{} stays off the segment: {error:#}", self.node.name);
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // A namespace that stays shows when the next one is made.
        let _ = ip_batch(None, &[format!("netns del {}", Self::NAME)]);
        std::thread::sleep(TAKE_DOWN);
    }
}

/// Takes the whole table of a node away, for those of other namespaces: the kernel keeps the virtual servers of all of them in the
/// same 256 lists, and looks through one at each addition.
pub(super) fn clear(node: Node) -> Result<()> {
    crate::process::run("ip", &["netns", "exec", node.name, "ipvsadm", "-C"])?;
    std::thread::sleep(TAKE_DOWN);
    Ok(())
}

/// Entries of a node's table: virtual servers and real servers.
///
/// By netlink, for `/proc/net/ip_vs` leaves virtual servers out where several namespaces have large tables: between two reads it
/// goes on by a position that counts those of all of them, and looks for it among its own (`ip_vs_info_seq_next` and
/// `ip_vs_info_array` of Linux 6.1).
pub(crate) fn entries(node: &str) -> Result<usize> {
    let output = namespace::inside(node, || {
        let mut command = Command::new("ipvsadm");
        command.arg("-Ln").stdin(Stdio::null()).output().context("cannot run ipvsadm")
    })?;
    if !output.status.success() {
        bail!("ipvsadm -Ln on {node} ended with {}: {}", output.status, text(&output.stderr));
    }
    // Three lines of headings.
    Ok(text(&output.stdout).lines().skip(3).count())
}

/// Fails unless a node's table has so many entries.
pub(super) fn require_entries(node: &str, wanted: usize) -> Result<()> {
    let found = entries(node)?;
    if found != wanted {
        bail!("the table of {node} has {found} entries instead of {wanted}");
    }
    Ok(())
}

/// A virtual server by TCP in a node's table, as ipvsadm prints it; none when there is none. The kernel is asked for this one
/// alone, so that looking costs the same in any table.
pub(crate) fn virtual_server(node: &str, vip: SocketAddrV4) -> Result<Option<String>> {
    let output = namespace::inside(node, || {
        Command::new("ipvsadm")
            .args(["-Ln", "-t", &vip.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("cannot run ipvsadm")
    })?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}
