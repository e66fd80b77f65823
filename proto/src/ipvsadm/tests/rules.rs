//! Rules by hand: every option, every spelling, every mistake.

use super::super::*;
use super::{SAVED, fixtures};

const SAVED_WITH_NAMES: &str = include_str!("../recorded/save-names.txt");

/// The table that rules make, as it is saved, and their mistakes.
fn read(text: &str) -> (String, Vec<String>) {
    let host = |name: &str, is_ipv6: bool| {
        let address = match (name, is_ipv6) {
            ("localhost", false) => "127.0.0.1",
            ("localhost", true) => "::1",
            _ => return None,
        };
        Some(address.parse().expect("an address"))
    };
    let service = |name: &str, protocol: v1::Protocol| match (name, protocol) {
        ("http", v1::Protocol::Tcp) => Some(80),
        ("http-alt", v1::Protocol::Tcp) => Some(8080),
        ("tproxy", v1::Protocol::Tcp) => Some(8081),
        ("https", v1::Protocol::Tcp) => Some(443),
        ("domain", v1::Protocol::Udp) => Some(53),
        ("sip", v1::Protocol::Udp) => Some(5060),
        ("sip-tls", v1::Protocol::Udp) => Some(5061),
        _ => None,
    };
    let rules = parse(text, &Names { host: &host, service: &service });
    let servers: Vec<_> =
        rules.virtual_servers.into_iter().map(|found| found.virtual_server).collect();
    (save(&servers), rules.mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn what_ipvsadm_saved_is_read_with_and_without_names() {
    assert_eq!(read(SAVED), (SAVED.to_owned(), vec![]));
    assert_eq!(read(SAVED_WITH_NAMES), (SAVED.to_owned(), vec![]));
    let text = save(&fixtures::shapes());
    assert_eq!(read(&text), (text, vec![]));
}

#[test]
fn every_spelling() {
    let web = "-A -t 10.0.1.1:80 -s rr\n";
    for (given, expected) in [
        ("", ""),
        ("  # a comment\n\n", ""),
        ("-A -t 10.0.1.1:80", "-A -t 10.0.1.1:80 -s wlc\n"),
        ("-At 10.0.1.1:80 -srr", web),
        ("ipvsadm -A --tcp-service=10.0.1.1:80 --scheduler rr # web", web),
        ("/sbin/ipvsadm --add-service -s=rr -t10.0.1.1:http", web),
        ("-A -t 10.0.1.1:80 -p -s rr", "-A -t 10.0.1.1:80 -s rr -p 360\n"),
        ("-A -t 10.0.1.1:80 -s rr --persistent", "-A -t 10.0.1.1:80 -s rr -p 360\n"),
        ("-A -t 10.0.1.1:80 -s rr -p 60 -M 255.255.255.255", "-A -t 10.0.1.1:80 -s rr -p 60\n"),
        ("-A -t localhost:80 -s rr", "-A -t 127.0.0.1:80 -s rr\n"),
        ("-A -t [localhost]:80 -s rr", "-A -t [::1]:80 -s rr\n"),
        ("-A -t fd00::1 -s rr -p 9 -M 128", "-A -t [fd00::1]:0 -s rr -p 9\n"),
        ("-A -f 4294967295 -6 -s rr -o", "-A -f 4294967295 -6 -s rr -o\n"),
        (
            "-A -u 10.0.1.1:53 -s sh -b flag-2,sh-fallback",
            "-A -u 10.0.1.1:53 -s sh -b sh-fallback,sh-port\n",
        ),
        ("-A -t 10.0.1.1:80 -s rr\n-E -t 10.0.1.1:80 -s wrr", "-A -t 10.0.1.1:80 -s wrr\n"),
        ("-A -t 10.0.1.1:80 -s rr\n-D -t 10.0.1.1:80", ""),
        ("-A -t 10.0.1.1:80 -s rr\n-C", ""),
    ] {
        assert_eq!(read(given), (expected.to_owned(), vec![]), "{given}");
    }
}

#[test]
fn every_spelling_of_a_real_server() {
    for (given, expected) in [
        ("-a -t 10.0.1.1:80 -r 10.0.0.2", "-r 10.0.0.2:80 -g -w 1"),
        ("-a -t 10.0.1.1:80 -r 10.0.0.2:80 --gatewaying --weight=7", "-r 10.0.0.2:80 -g -w 7"),
        ("-at 10.0.1.1:80 -r 10.0.0.2:http-alt -mw 0", "-r 10.0.0.2:8080 -m -w 0"),
        ("-a -t 10.0.1.1:80 -r [fd00::2]:80 -i", "-r [fd00::2]:80 -i -w 1 --tun-type ipip"),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -i --tun-type gue --tun-port 6080",
            "-r 10.0.0.2:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -i --tun-type=gre --tun-csum",
            "-r 10.0.0.2:80 -i -w 1 --tun-type gre --tun-csum",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -m -x 10 --l-threshold 5",
            "-r 10.0.0.2:80 -m -w 1 -x 10 -y 5",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -m -w 3\n-e -t 10.0.1.1:80 -r 10.0.0.2 -m -w 4",
            "-r 10.0.0.2:80 -m -w 4",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -m\n-a -t 10.0.1.1:80 -r 10.0.0.3 -m\n-d -t 10.0.1.1:80 -r 10.0.0.2",
            "-r 10.0.0.3:80 -m -w 1",
        ),
    ] {
        let web = "-A -t 10.0.1.1:80 -s rr\n";
        let expected = format!("{web}-a -t 10.0.1.1:80 {expected}\n");
        assert_eq!(read(&format!("{web}{given}")), (expected, vec![]), "{given}");
    }
}

#[test]
fn every_mistake_is_told_with_its_line_and_the_rest_is_read() {
    let web = "-A -t 10.0.1.1:80 -s rr\n";
    for (given, expected) in [
        (
            "-L -n",
            "\"-L\" is no option of a rule (ipvsadm(8), COMMANDS and PARAMETERS): leave it out",
        ),
        ("-s rr", "the rule does not say what to do: begin it with -A or -a"),
        (
            "-A -a -t 10.0.1.1:81",
            "--add-service and --add-server exclude each other: leave one out",
        ),
        ("-A -s rr", "no virtual server is named: give one of -t, -u, --sctp-service and -f"),
        ("-A -t 10.0.1.1:81 -s rr -s rr", "--scheduler is given twice: leave one out"),
        ("-A -t 10.0.1.1:81 -w 5", "--weight has no place with --add-service: leave it out"),
        ("-A -t 10.0.1.1:81 rr", "\"rr\" belongs to no option: leave it out"),
        ("-A -t", "--tcp-service needs a value behind it"),
        ("-A -t 10.0.1.1:81 --ops=yes", "--ops takes no value, not \"yes\": leave it out"),
        ("-A -t 10.0.1.1", "port 0, which is every port, needs persistence: give -p or a port"),
        (
            "-A -t web:81",
            "--tcp-service \"web:81\": \"web\" is no address and has none: give an address",
        ),
        (
            "-A -t 10.0.1.1:65536",
            "--tcp-service \"10.0.1.1:65536\": \"65536\" is no port: give 0 to 65535",
        ),
        ("-A -f 0", "--fwmark-service \"0\": give a number from 1 to 4294967295"),
        ("-A -t 10.0.1.1:81 -6", "--ipv6 has no place without a firewall mark: leave it out"),
        ("-A -t 10.0.1.1:81 -o", "--ops has no place but with -u and -f: leave it out"),
        (
            "-A -t 10.0.1.1:81 -M 255.0.0.0",
            "--netmask 255.0.0.0 has no effect without -p: leave it out",
        ),
        ("-A -t 10.0.1.1:81 -p -M 24", "--netmask \"24\": give an IPv4 mask such as 255.255.255.0"),
        ("-A -t [fd00::1]:81 -p -M 129", "--netmask \"129\": give a number from 1 to 128"),
        ("-A -t 10.0.1.1:81 -p 0", "--persistent \"0\": give a number from 1 to 4294967295"),
        (
            "-A -t 10.0.1.1:81 -s sh -b mh-port",
            "--sched-flags \"mh-port\" is no flag of sh: use sh-fallback, sh-port",
        ),
        ("-A -t 10.0.1.1:80", "line 1 added it before: leave one out"),
        ("-E -t 10.0.1.1:81", "no rule before adds this virtual server: add it with -A"),
        ("-a -t 10.0.1.1:80 -m", "no real server is named: give -r"),
        (
            "-a -t 10.0.1.1:81 -r 10.0.0.2",
            "no rule before adds this virtual server: add it with -A",
        ),
        ("-e -t 10.0.1.1:80 -r 10.0.0.2", "no rule before adds this real server: use -a"),
        ("-d -t 10.0.1.1:80 -r 10.0.0.2", "no rule before adds this real server: leave it out"),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2:8080",
            "real server 10.0.0.2: port 8080 has no effect, -g and -i keep the virtual server's, 80: leave it out",
        ),
        (
            "-a -t 10.0.1.1:80 -r [fd00::2]:80 -m",
            "real server fd00::2: another address family than the virtual server's needs -i",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -m -w -1",
            "--weight \"-1\": give a number from 0 to 2147483647",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -g -i",
            "--gatewaying and --ipip exclude each other: leave one out",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 --tun-type gue",
            "--tun-type has no place with --add-server: leave it out",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -i --tun-type vxlan",
            "--tun-type \"vxlan\": use ipip, gue or gre",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -i --tun-csum",
            "--tun-csum has no place with --add-server: leave it out",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -i --tun-type gue",
            "--tun-type gue needs the real servers' UDP port: give --tun-port",
        ),
        (
            "-a -t 10.0.1.1:80 -r 10.0.0.2 -i --tun-type gre --tun-remcsum",
            "--tun-remcsum has no place with --tun-type gre: leave it out",
        ),
        (
            "--set 900 120 300",
            "--set is no rule of the table: set tcp_timeout, tcp_fin_timeout and udp_timeout under ipvs of each Director",
        ),
        (
            "--start-daemon master",
            "--start-daemon is no rule of the table: set connection_sync of the VrrpInstance",
        ),
    ] {
        let (table, mistakes) = read(&format!("{web}{given}\n-A -f 1 -s rr\n"));
        assert_eq!(mistakes, [format!("line 2: {expected}")], "{given}");
        assert_eq!(table, format!("{web}-A -f 1 -s rr\n"), "{given}");
    }
}

#[test]
fn a_real_server_added_twice_stands_once() {
    let text = "-A -f 1 -s rr\n-a -f 1 -r 10.0.0.2:0 -w 5\n-a -f 1 -r 10.0.0.2 -w 6\n";
    let (table, mistakes) = read(text);
    assert_eq!(table, "-A -f 1 -s rr\n-a -f 1 -r 10.0.0.2:0 -g -w 5\n");
    assert_eq!(mistakes, ["line 3: line 2 added it before: leave one out"]);
}
