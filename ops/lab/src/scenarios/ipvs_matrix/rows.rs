//! Each thing that intent can say of a virtual server, and the rules that `ipvsadm -S -n` prints of it.

/// The schedulers of the lab's kernel. It has no `twos`.
pub(super) const SCHEDULERS: [&str; 13] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"];

/// A virtual server as a manifest says it, and as `ipvsadm -S -n` prints it.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) spec: &'static str,
    /// Flags of `-A` after the protocol's.
    pub(super) rule: &'static str,
    pub(super) pool: &'static Pool,
    /// Flags of each `-a`.
    pub(super) entries: &'static [&'static str],
}

/// Real servers as a manifest says them.
pub(super) struct Pool {
    pub(super) name: &'static str,
    pub(super) members: &'static str,
    /// Real servers with thresholds, as `ipvsadm -Ln --thresholds` prints them: the rules do not tell.
    pub(super) thresholds: &'static [&'static str],
}

pub(super) const V4: Pool = Pool {
    name: "v4",
    members: "{real_server: r1}, \
              {real_server: r2, weight: 65535, upper_threshold: 100, lower_threshold: 50}, \
              {real_server: r3, weight: 0}",
    thresholds: &["10.66.0.2:80 100 50"],
};
pub(super) const MIXED: Pool = Pool {
    name: "mixed",
    members: "{real_server: r1, forwarding: dr}, {real_server: r4, forwarding: nat}, \
              {real_server: r3, forwarding: tunnel}",
    thresholds: &[],
};
pub(super) const V6: Pool = Pool {
    name: "v6",
    members: "{real_server: s1}, {real_server: s2, weight: 7}",
    thresholds: &[],
};

/// One real server, without thresholds, and its weight is edited.
pub(super) const ONE: Pool =
    Pool { name: "one", members: "{real_server: r1, weight: WEIGHT}", thresholds: &[] };

pub(super) const ROWS: [Row; 15] = [
    Row {
        name: "dr",
        spec: "vip: 192.168.1.150, port: 80, forwarding: dr, scheduler: wrr",
        rule: "-t 192.168.1.150:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -g -w 1",
            "-r 10.66.0.2:80 -g -w 65535",
            "-r 10.66.0.3:80 -g -w 0",
        ],
    },
    Row {
        name: "nat",
        spec: "vip: 192.168.1.150, port: 8443, forwarding: nat, scheduler: wlc",
        rule: "-t 192.168.1.150:8443 -s wlc",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -m -w 1",
            "-r 10.66.0.2:80 -m -w 65535",
            "-r 10.66.0.3:80 -m -w 0",
        ],
    },
    Row {
        name: "ipip",
        spec: "vip: 192.168.1.151, port: 80, forwarding: tunnel",
        rule: "-t 192.168.1.151:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -i -w 1 --tun-type ipip",
            "-r 10.66.0.2:80 -i -w 65535 --tun-type ipip",
            "-r 10.66.0.3:80 -i -w 0 --tun-type ipip",
        ],
    },
    Row {
        name: "gue",
        spec: "vip: 192.168.1.151, port: 80, protocol: udp, forwarding: tunnel, \
               tunnel: {type: gue, port: 6080, checksum: remote}",
        rule: "-u 192.168.1.151:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
            "-r 10.66.0.2:80 -i -w 65535 --tun-type gue --tun-port 6080 --tun-remcsum",
            "-r 10.66.0.3:80 -i -w 0 --tun-type gue --tun-port 6080 --tun-remcsum",
        ],
    },
    Row {
        name: "gre",
        spec: "vip: 192.168.1.152, port: 80, forwarding: tunnel, \
               tunnel: {type: gre, checksum: full}",
        rule: "-t 192.168.1.152:80 -s wrr",
        pool: &V4,
        entries: &[
            "-r 10.66.0.1:80 -i -w 1 --tun-type gre --tun-csum",
            "-r 10.66.0.2:80 -i -w 65535 --tun-type gre --tun-csum",
            "-r 10.66.0.3:80 -i -w 0 --tun-type gre --tun-csum",
        ],
    },
    Row {
        name: "mixed",
        spec: "vip: 192.168.1.152, port: 80, protocol: udp",
        rule: "-u 192.168.1.152:80 -s wrr",
        pool: &MIXED,
        entries: &[
            "-r 10.66.0.1:80 -g -w 1",
            "-r 10.66.0.4:8080 -m -w 1",
            "-r 10.66.0.3:80 -i -w 1 --tun-type ipip",
        ],
    },
    Row {
        name: "one-packet",
        spec: "vip: 192.168.1.150, port: 53, protocol: udp, forwarding: nat, scheduler: rr, \
               one_packet: true",
        rule: "-u 192.168.1.150:53 -s rr -o",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -m -w WEIGHT"],
    },
    Row {
        name: "sctp",
        spec: "vip: 192.168.1.150, port: 80, protocol: sctp, forwarding: dr",
        rule: "--sctp-service 192.168.1.150:80 -s wrr",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -g -w WEIGHT"],
    },
    Row {
        name: "mark",
        spec: "fwmark: 5, forwarding: dr, scheduler: sh, hash_port: true, hash_fallback: true",
        rule: "-f 5 -s sh -b sh-fallback,sh-port",
        pool: &ONE,
        entries: &["-r 10.66.0.1:0 -g -w WEIGHT"],
    },
    Row {
        name: "every-port",
        spec: "vip: 192.168.1.151, all_ports: true, forwarding: dr, persistence_timeout: 300s, \
               persistence_netmask: 255.255.255.0",
        rule: "-t 192.168.1.151:0 -s wrr -p 300 -M 255.255.255.0",
        pool: &ONE,
        entries: &["-r 10.66.0.1:0 -g -w WEIGHT"],
    },
    Row {
        name: "sip",
        spec: "vip: 192.168.1.150, port: 5060, protocol: udp, forwarding: nat, \
               persistence_timeout: 60s, persistence_engine: sip, one_packet: true",
        rule: "-u 192.168.1.150:5060 -s wrr -p 60 --pe sip -o",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -m -w WEIGHT"],
    },
    Row {
        name: "maglev",
        spec: "vip: 192.168.1.150, port: 8444, forwarding: nat, scheduler: mh, hash_port: true, \
               hash_fallback: true",
        rule: "-t 192.168.1.150:8444 -s mh -b mh-fallback,mh-port",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -m -w WEIGHT"],
    },
    Row {
        name: "dr6",
        spec: "vrrp_instance: vi-6, vip: \"2001:db8::150\", port: 80, forwarding: dr, \
               persistence_timeout: 60s, persistence_netmask: \"64\"",
        rule: "-t [2001:db8::150]:80 -s wrr -p 60 -M 64",
        pool: &V6,
        entries: &["-r [2001:db8:1::1]:80 -g -w 1", "-r [2001:db8:1::2]:80 -g -w 7"],
    },
    Row {
        name: "mark6",
        spec: "vrrp_instance: vi-6, fwmark: 5, fwmark_ipv6: true, forwarding: nat",
        rule: "-f 5 -6 -s wrr",
        pool: &V6,
        entries: &["-r [2001:db8:1::1]:0 -m -w 1", "-r [2001:db8:1::2]:0 -m -w 7"],
    },
    Row {
        name: "six-in-four",
        spec: "vrrp_instance: vi-6, vip: \"2001:db8::150\", port: 80, protocol: udp, \
               forwarding: tunnel",
        rule: "-u [2001:db8::150]:80 -s wrr",
        pool: &ONE,
        entries: &["-r 10.66.0.1:80 -i -w WEIGHT --tun-type ipip"],
    },
];
