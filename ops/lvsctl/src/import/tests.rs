//! What rules say stands in the manifests, or is told.

use fulcrum_proto::ipvsadm::{self, Names};
use fulcrum_proto::v1;
use proptest::prelude::*;

use super::*;
use crate::cli::Output;
use crate::manifest::read;
use crate::verbs::get::render;

/// Rules of every shape, as ipvsadm 1.31 saved them, with thresholds.
const RULES: &str = include_str!("../../tests/golden/import.rules");
/// Their manifests.
const MANIFESTS: &str = include_str!("../../tests/golden/import.yaml");

fn settings() -> Settings {
    Settings {
        site: "main".to_owned(),
        vrrp_instance: "vi1".to_owned(),
        check: None,
        port: Some(80),
        agent: v1::AgentRequirement::None,
    }
}

/// Manifests in YAML, and what was told.
fn imported(text: &str, settings: &Settings) -> (String, Vec<String>) {
    let rules = ipvsadm::parse(text, &Names::none());
    assert_eq!(rules.mistakes, [], "{text}");
    let Imported { resources, mistakes } = manifests(&rules.virtual_servers, settings);
    let told = mistakes.iter().map(ToString::to_string).collect();
    (render(&resources, false, Output::Yaml), told)
}

#[test]
fn every_shape_has_its_manifest() {
    let (yaml, told) = imported(RULES, &settings());
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/import.yaml");
        std::fs::write(path, &yaml).expect("the golden folder is there");
    }
    assert_eq!(yaml, MANIFESTS);
    assert_eq!(told, Vec::<String>::new());
    let mut mistakes = Vec::new();
    let manifests = read("import.yaml", &yaml, &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert_eq!(manifests.len(), yaml.matches("kind: ").count());
}

#[test]
fn settings_reach_every_pool_and_real_server() {
    let http = v1::HttpCheck { path: "/health".to_owned(), ..Default::default() };
    let check = v1::Check { probe: Some(v1::check::Probe::Http(http)), ..Default::default() };
    let agent = v1::AgentRequirement::Required;
    let settings = Settings { check: Some(check), agent, ..settings() };
    let text = "-A -t 10.0.1.1:80 -s rr\n-a -t 10.0.1.1:80 -r 10.0.0.2 -m\n";
    let expected = "\
kind: RealServer
name: 10.0.0.2-80
spec:
  site: main
  rip: 10.0.0.2
  port: 80
  agent: 10.0.0.2
---
kind: Pool
name: 10.0.1.1-80
spec:
  members:
  - real_server: 10.0.0.2-80
    weight: 1
  check:
    http:
      path: /health
  agent: required
---
kind: VirtualServer
name: 10.0.1.1-80
spec:
  vrrp_instance: vi1
  vip: 10.0.1.1
  port: 80
  protocol: tcp
  scheduler: rr
  forwarding: nat
  pool: 10.0.1.1-80
";
    assert_eq!(imported(text, &settings), (expected.to_owned(), vec![]));
}

#[test]
fn equal_sets_of_real_servers_share_a_pool() {
    let text = "\
-A -t 10.0.1.1:80 -s rr
-a -t 10.0.1.1:80 -r 10.0.0.2:80 -g -w 5
-A -t 10.0.1.2:80 -s wrr
-a -t 10.0.1.2:80 -r 10.0.0.2:80 -m -w 5
-A -t 10.0.1.3:80 -s wrr
-a -t 10.0.1.3:80 -r 10.0.0.2:80 -m -w 6
";
    let (yaml, told) = imported(text, &settings());
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(yaml.matches("kind: RealServer").count(), 1, "{yaml}");
    assert_eq!(yaml.matches("kind: Pool").count(), 2, "{yaml}");
    assert_eq!(yaml.matches("  pool: 10.0.1.1-80\n").count(), 2, "{yaml}");
}

#[test]
fn what_cannot_be_carried_over_is_told_at_its_line() {
    let no_port = Settings { port: None, ..settings() };
    let web = "-A -t 10.0.1.1:80 -s rr\n";
    let tunnels = "-a -t 10.0.1.1:80 -r 10.0.0.2:80 -i\n\
                   -a -t 10.0.1.1:80 -r 10.0.0.3:80 -i --tun-type gre\n";
    for (rules, expected) in [
        (
            format!("{web}-a -t 10.0.1.1:80 -r 10.0.0.2 -m -w 65536\n"),
            "line 2: members[0].weight: 65536: a weight is 0 to 65535",
        ),
        (
            format!("{web}-a -t 10.0.1.1:80 -r 10.0.0.2 -m -x 5 -y 6\n"),
            "line 2: members[0].lower_threshold: 6: ",
        ),
        (
            format!("{web}{tunnels}"),
            "line 3: the tunnel differs from the first one of the virtual server",
        ),
        (
            "-A -f 1 -s rr\n-a -f 1 -r 10.0.0.2:0\n".to_owned(),
            "line 2: real server 10.0.0.2 has no port, and its check needs one: add --port",
        ),
        (
            "-A -f 1 -s rr\n-a -f 1 -r 10.0.0.2:8080 -m\n".to_owned(),
            "line 2: port 8080 of real server 10.0.0.2: with a firewall mark or every port, ports stay as they are",
        ),
        ("-A -t 10.0.1.1:80 -s x\n".to_owned(), "line 1: scheduler \"x\" is none that IPVS has"),
        (
            "-A -t 10.0.1.1:80 -s lc -b flag-1\n".to_owned(),
            "line 1: --sched-flags flag-1 says nothing to lc: leave it out",
        ),
        (
            "-A -u 10.0.1.1:80 -s lc -p 5 --pe dns\n".to_owned(),
            "line 1: persistence_engine: \"dns\": the kernel has the engine sip alone",
        ),
        (
            "-A -u 10.0.1.1:80 -s lc -p 2678401\n".to_owned(),
            "line 1: persistence_timeout: 2678401s",
        ),
    ] {
        let (_, told) = imported(&rules, &no_port);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{rules}: {told:?}");
    }
}

#[test]
fn a_virtual_server_that_is_refused_leaves_nothing_behind() {
    let text = "-A -t 10.0.1.1:80 -s rr --pe sip\n-a -t 10.0.1.1:80 -r 10.0.0.2:80\n";
    let (yaml, told) = imported(text, &settings());
    assert_eq!(yaml, "");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn names_of_hosts_and_services_are_this_hosts() {
    let services =
        "# comment\nhttp 80/tcp www # web\nhttp 81/tcp\ndomain 53/udp\nodd\nx y/tcp\nz 1/ddp\n";
    let resolver = Resolver::new(services);
    for (name, protocol, expected) in [
        ("http", v1::Protocol::Tcp, Some(80)),
        ("www", v1::Protocol::Tcp, Some(80)),
        ("http", v1::Protocol::Udp, None),
        ("domain", v1::Protocol::Udp, Some(53)),
        ("x", v1::Protocol::Tcp, None),
        ("z", v1::Protocol::Sctp, None),
    ] {
        assert_eq!(resolver.service(name, protocol), expected, "{name} {protocol:?}");
    }
    // No name server is asked for these.
    assert_eq!(resolver.host("127.0.0.1", false), Some([127, 0, 0, 1].into()));
    assert_eq!(resolver.host("127.0.0.1", true), None);
}

proptest! {
    /// Any rule that is not told stands in a manifest that reads back.
    #[test]
    fn manifests_of_any_addresses_read_back(vip: std::net::IpAddr, rip: std::net::IpAddr, port in 1..=65535_u16) {
        prop_assume!(vip.is_ipv4() == rip.is_ipv4());
        let socket = |address| std::net::SocketAddr::new(address, port);
        let (vip, rip) = (socket(vip), socket(rip));
        let text = format!("-A -t {vip} -s rr\n-a -t {vip} -r {rip} -m\n");
        let (yaml, told) = imported(&text, &settings());
        let mut mistakes = Vec::new();
        let manifests = read("f", &yaml, &mut mistakes);
        prop_assert!(mistakes.is_empty(), "{:?}", mistakes);
        prop_assert!(manifests.len() == 3 || !told.is_empty(), "{:?} {}", told, yaml);
    }
}
