//! Faults of hosts, all provoked at once.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::sys::statvfs::statvfs;

use super::faults::{Fault, index_of};
use crate::net::endpoint::{Endpoint, Transport};
use crate::net::topology::{DIRECTORS, INTRUDER, Node, PORT, VIP, WEBS, ip_batch};
use crate::peers::router::RouterSettings;
use crate::peers::{answerer, keepalived};
use crate::process::{Launch, run};

const D1: Node = DIRECTORS[0];
const D2: Node = DIRECTORS[1];
const WEB1: Node = WEBS[0];
const WEB2: Node = WEBS[1];

/// Room that is left on the disk: less than agents want, more than a plan takes.
const LEFT_KIB: u64 = 40 << 10;
/// A second VRRP instance on a bridge of its own, with virtual servers in tunnel and nat.
const SECOND: &str = "---\nkind: VrrpInstance\nname: vi-2\nspec:\n  site: main\n  vrid: 52\n  version: v3\n  \
     advert_interval: 1s\n  vips: [10.9.0.150]\n  members:\n  - {director: d1, priority: 100, interface: br0}\n  \
     - {director: d2, priority: 90, interface: br0}\n\
     ---\nkind: VirtualServer\nname: by-tunnel\nspec:\n  vrrp_instance: vi-2\n  vip: 10.9.0.150\n  port: 80\n  \
     protocol: tcp\n  scheduler: rr\n  forwarding: tunnel\n  pool: tomcats\n\
     ---\nkind: VirtualServer\nname: by-nat\nspec:\n  vrrp_instance: vi-2\n  vip: 10.9.0.150\n  port: 8080\n  \
     protocol: tcp\n  scheduler: rr\n  forwarding: nat\n  pool: tomcats\n";

pub(super) const ALL: &[Fault] = &[
    Fault {
        what: "a second instance on a bridge that snoops, a tunnel without room, nat on one arm",
        told: &[
            ("d1", "multicast-querier"),
            ("d2", "multicast-querier"),
            ("d1", "tunnel-mtu"),
            ("d1", "send-redirects"),
        ],
        begin: |world| {
            for (director, last) in [(D1, 5), (D2, 6)] {
                ip_batch(
                    Some(director.name),
                    &[
                        "link add br0 type bridge mcast_snooping 1 mcast_querier 0".to_owned(),
                        format!("addr add 10.9.0.{last}/24 dev br0"),
                        "link set br0 up".to_owned(),
                    ],
                )?;
                world.set(director, "net/ipv4/conf/eth0/send_redirects", "1")?;
            }
            world.apply_with(SECOND)
        },
        end: |world| {
            let applied = world.apply_with("");
            for director in [D1, D2] {
                world.unset(director)?;
                ip_batch(Some(director.name), &["link del br0".to_owned()])?;
            }
            applied
        },
    },
    Fault {
        what: "another program that sets forwarding back, where nat needs it",
        told: &[("d2", "ip-forward")],
        begin: |world| {
            let (label, program) = ("sets-back".to_owned(), PathBuf::from("sh"));
            let args = vec!["-c".to_owned(), SETS_BACK.to_owned()];
            world.start(
                "sets-back",
                Launch { node: Some(D2.name), label, program, args, env: Vec::new() },
            )
        },
        end: |world| world.stop("sets-back"),
    },
    Fault {
        what: "strict reverse-path filtering, before a virtual MAC and behind a tunnel",
        told: &[("d1", "rp-filter"), ("web1", "rp-filter")],
        begin: |world| {
            world.set(D1, "net/ipv4/conf/all/rp_filter", "1")?;
            ip_batch(
                Some(WEB1.name),
                &[
                    format!("link add lab0 type ipip local {} remote {}", WEB1.address, D1.address),
                    "link set lab0 up".to_owned(),
                ],
            )?;
            // It goes with its device.
            crate::net::topology::set_sysctl(WEB1.name, "net/ipv4/conf/lab0/rp_filter", "1")
        },
        end: |world| {
            world.unset(D1)?;
            ip_batch(Some(WEB1.name), &["link del lab0".to_owned()])
        },
    },
    Fault {
        what: "systemd-networkd has configured a director's interface",
        told: &[("d2", "managed-interface")],
        begin: |_| {
            let path = link_file()?;
            fs::create_dir_all(path.parent().context("it has a directory")?)?;
            let text = "ADMIN_STATE=configured\nOPER_STATE=routable\n";
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        },
        end: |_| fs::remove_file(link_file()?).context("cannot remove the state of a link"),
    },
    Fault {
        what: "the VIP on a real server's interface",
        told: &[("web2", "vip-elsewhere"), ("d1", "vip-owner")],
        begin: |_| ip_batch(Some(WEB2.name), &[format!("addr add {VIP}/32 dev eth0")]),
        end: |_| ip_batch(Some(WEB2.name), &[format!("addr del {VIP}/32 dev eth0")]),
    },
    Fault {
        what: "a real server's VIP unbound by hand",
        told: &[("web1", "vip-loopback")],
        begin: |world| world.by_hand(WEB1, "stop"),
        end: |world| world.by_hand(WEB1, "start"),
    },
    Fault {
        what: "a server that listens on its own address alone",
        told: &[("web2", "listen-address")],
        begin: |world| {
            world.segment.tomcats[1].kill()?;
            let address = SocketAddr::V4(SocketAddrV4::new(WEB2.address, PORT));
            let endpoint = Endpoint { transport: Transport::Tcp, address };
            let process = answerer::start(WEB2, &[endpoint], world.paths.logs)?;
            world.keep("answerer", process);
            Ok(())
        },
        end: |world| {
            // It waits for nothing but its end.
            drop(world.take("answerer"));
            let tomcat = &mut world.segment.tomcats[1];
            tomcat.start(world.paths.logs)?;
            tomcat.wait_ready().map(|_| ())
        },
    },
    Fault {
        what: "a router with the same VRID and another password",
        told: &[("d1", "vrid-collision"), ("d2", "vrid-collision")],
        begin: |world| {
            let settings = RouterSettings {
                node: INTRUDER,
                other: D1,
                version: 2,
                is_ipv6: false,
                advert: std::time::Duration::from_secs(1),
                priority: 50,
                password: Some("2222"),
                is_unicast: false,
                has_virtual_mac: false,
            };
            let launch = keepalived::launch_router(&settings, world.paths.dir)?;
            world.start("intruder", launch)
        },
        end: |world| world.stop("intruder"),
    },
    Fault {
        what: "keepalived beside a director's agent",
        told: &[("d2", "other-router")],
        begin: |world| {
            let home = world.paths.dir.join(D2.name).join("beside");
            fs::create_dir_all(&home)?;
            let (file, args) = keepalived::arguments(&home);
            fs::write(file, BESIDE)?;
            let (label, program) = ("keepalived-beside".to_owned(), PathBuf::from("keepalived"));
            world.start(
                "beside",
                Launch { node: Some(D2.name), label, program, args, env: Vec::new() },
            )
        },
        end: |world| world.stop("beside"),
    },
    Fault {
        what: "a disk that is nearly full",
        told: &[
            ("d1", "disk-space"),
            ("web2", "disk-space"),
            ("c1", "disk-space"),
            ("c2", "disk-space"),
            ("c3", "disk-space"),
        ],
        begin: |world| {
            let room = statvfs(world.paths.dir).context("cannot see the disk's room")?;
            let blocks = room.blocks() - room.blocks_free();
            let used_kib = blocks.saturating_mul(room.fragment_size()) >> 10;
            resize(&format!("{}k", used_kib + LEFT_KIB))
        },
        end: |_| resize("50%"),
    },
];

/// What other programs do at their pace, this one does at once, so that whoever looks sees it.
const SETS_BACK: &str = "while :; do echo 0 > /proc/sys/net/ipv4/ip_forward; sleep 0.1; done";

/// A router of another VRID, with a VIP of its own.
const BESIDE: &str = "vrrp_instance BESIDE {\n    state BACKUP\n    interface eth0\n    virtual_router_id 77\n    \
     priority 10\n    advert_int 1\n    virtual_ipaddress {\n        192.168.1.177\n    }\n}\n";

/// Where systemd-networkd tells of d2's interface. /run is one for all hosts of the lab, and so are most indices.
fn link_file() -> Result<PathBuf> {
    let index = index_of(D2, "eth0")?;
    Ok(Path::new("/run/systemd/netif/links").join(index.to_string()))
}

/// Gives the lab's /run, which is in memory, another size.
fn resize(size: &str) -> Result<()> {
    run("mount", &["-o", &format!("remount,size={size}"), "/run"]).map(|_| ())
}
