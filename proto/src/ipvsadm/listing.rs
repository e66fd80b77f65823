//! A table as `ipvsadm -Ln` prints it, for people who read that.
//!
//! Three differences are meant. Addresses are in order ([`super::ServerKey`]). A firewall mark above 2147483647 is
//! printed as it is, not as a negative number. And entries may carry what they should be instead.

use std::fmt::Write as _;

use super::{MISSING, destinations_in_order, in_order, socket};
use crate::v1;

/// What a listing tells of each entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// Forwarding method, weight and connections, as without any option.
    #[default]
    Weights,
    /// Traffic so far (`--stats`).
    Stats,
    /// Traffic per second (`--rate`).
    Rate,
    /// Numbers of connections between which a real server takes new ones (`--thresholds`).
    Thresholds,
    /// Clients that are bound to a real server (`--persistent-conn`).
    PersistentConnections,
    /// As [`Columns::Weights`], with what packets are wrapped in (`--tun-info`).
    Tunnels,
}

/// How a listing is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// What is told of each entry.
    pub columns: Columns,
    /// Large numbers with all of their digits (`--exact`).
    pub exact: bool,
    /// Behind an entry stands how it differs from what is wanted, and entries that are missing stand in the listing.
    pub marks: bool,
}

impl Format {
    /// The note behind an entry's line; none where nothing is to be noted.
    fn note(self, difference: &str) -> String {
        if self.marks && !difference.is_empty() {
            format!("  # {difference}")
        } else {
            String::new()
        }
    }

    fn shows(self, difference: &str) -> bool {
        self.marks || difference != MISSING
    }
}

/// The listing, with its header and a closing newline. The header's first line is left out while `kernel` is unknown.
pub fn listing(
    format: Format,
    kernel: Option<&v1::IpvsKernel>,
    virtual_servers: &[v1::IpvsVirtualServer],
) -> String {
    let mut text = String::new();
    if let Some(kernel) = kernel {
        let (version, size) = (&kernel.version, kernel.connection_table_size);
        line(&mut text, format_args!("IP Virtual Server version {version} (size={size})"));
    }
    text.push_str(&title(format.columns));
    for server in in_order(virtual_servers) {
        if !format.shows(&server.difference) {
            continue;
        }
        let note = format.note(&server.difference);
        line(&mut text, format_args!("{}{note}", server_line(format, server)));
        for found in destinations_in_order(server) {
            // What a virtual server that is missing should have is missing with it.
            let is_lost = server.difference == MISSING;
            let difference = if is_lost { MISSING } else { &found.difference };
            if format.shows(difference) {
                let note = format.note(difference);
                line(&mut text, format_args!("{}{note}", destination_line(format, found)));
            }
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

/// How a virtual server schedules: the words behind what it takes.
pub fn scheduling(server: &v1::IpvsVirtualServer) -> String {
    let mut text = server.scheduler.clone();
    if !server.scheduler_flags.is_empty() {
        text = format!("{text} ({})", server.scheduler_flags.join(","));
    }
    if server.persistence_timeout_s != 0 {
        text = format!("{text} persistent {}", server.persistence_timeout_s);
        if !server.persistence_netmask.is_empty() {
            text = format!("{text} mask {}", server.persistence_netmask);
        }
        if !server.persistence_engine.is_empty() {
            text = format!("{text} pe {}", server.persistence_engine);
        }
    }
    if server.one_packet {
        text.push_str(" ops");
    }
    text
}

impl Columns {
    /// Headings, each with the width that ipvsadm gives its column.
    fn headings(self) -> &'static [(&'static str, usize)] {
        match self {
            Self::Weights => {
                &[("Forward", 7), ("Weight", 6), ("ActiveConn", 10), ("InActConn", 10)]
            }
            Self::Stats => {
                &[("Conns", 8), ("InPkts", 8), ("OutPkts", 8), ("InBytes", 8), ("OutBytes", 8)]
            }
            Self::Rate => &[("CPS", 8), ("InPPS", 8), ("OutPPS", 8), ("InBPS", 8), ("OutBPS", 8)],
            Self::Thresholds => {
                &[("Uthreshold", 10), ("Lthreshold", 10), ("ActiveConn", 10), ("InActConn", 10)]
            }
            Self::PersistentConnections => {
                &[("Weight", 9), ("PersistConn", 11), ("ActiveConn", 10), ("InActConn", 10)]
            }
            Self::Tunnels => &[
                ("Forward", 7),
                ("TunnelInfo", 13),
                ("Weight", 6),
                ("ActiveConn", 10),
                ("InActConn", 10),
            ],
        }
    }

    /// How many columns tell the same on every director that does as it is told: the first ones.
    pub fn settings(self) -> usize {
        match self {
            Self::Weights => 1,
            Self::Tunnels => 2,
            Self::Stats | Self::Rate | Self::Thresholds | Self::PersistentConnections => 0,
        }
    }

    /// What the columns are called.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.headings().iter().map(|(heading, _)| *heading)
    }

    /// Whether virtual servers have these columns, too.
    pub fn are_of_virtual_servers(self) -> bool {
        matches!(self, Self::Stats | Self::Rate)
    }

    /// What the columns say of a real server.
    pub fn of_destination(self, exact: bool, found: &v1::IpvsDestination) -> Vec<String> {
        let forwarding = || found.forwarding.clone();
        let weight = || found.weight.to_string();
        let active = || found.active_connections.to_string();
        let inactive = || found.inactive_connections.to_string();
        match self {
            Self::Weights => vec![forwarding(), weight(), active(), inactive()],
            Self::Stats | Self::Rate => self.of_traffic(exact, found.stats.as_ref()),
            Self::Thresholds => vec![
                found.upper_threshold.to_string(),
                found.lower_threshold.to_string(),
                active(),
                inactive(),
            ],
            Self::PersistentConnections => {
                vec![weight(), found.persistent_connections.to_string(), active(), inactive()]
            }
            Self::Tunnels => vec![forwarding(), tunnel(found), weight(), active(), inactive()],
        }
    }

    /// What the columns say of an entry's traffic; nothing where they tell something else.
    pub fn of_traffic(self, exact: bool, stats: Option<&v1::IpvsStats>) -> Vec<String> {
        let figures = self.figures(stats).into_iter();
        figures.map(|figure| if exact { figure.to_string() } else { short(figure) }).collect()
    }

    fn figures(self, stats: Option<&v1::IpvsStats>) -> Vec<u64> {
        let stats = stats.copied().unwrap_or_default();
        match self {
            Self::Stats => vec![
                stats.connections,
                stats.packets_in,
                stats.packets_out,
                stats.bytes_in,
                stats.bytes_out,
            ],
            Self::Rate => vec![
                stats.connections_per_s,
                stats.packets_in_per_s,
                stats.packets_out_per_s,
                stats.bytes_in_per_s,
                stats.bytes_out_per_s,
            ],
            Self::Weights | Self::Thresholds | Self::PersistentConnections | Self::Tunnels => {
                Vec::new()
            }
        }
    }
}

fn title(columns: Columns) -> String {
    let headings = columns.headings().iter();
    let (local, remote) = ("Prot LocalAddress:Port", "  -> RemoteAddress:Port");
    if columns.are_of_virtual_servers() {
        let right = headings.map(|(heading, width)| format!(" {heading:>width$}"));
        return format!("{local:<33}{}\n{remote}\n", right.collect::<Vec<_>>().concat());
    }
    let left = headings.map(|(heading, width)| format!(" {heading:<width$}"));
    let left = left.collect::<Vec<_>>().concat();
    if matches!(columns, Columns::Weights | Columns::Tunnels) {
        let second = format!("{remote:<33}{left}");
        format!("{local} Scheduler Flags\n{}\n", second.trim_end())
    } else {
        format!("{local:<33}{left}\n{remote}\n")
    }
}

fn server_line(format: Format, server: &v1::IpvsVirtualServer) -> String {
    if !format.columns.are_of_virtual_servers() {
        return format!("{} {}", service(server), scheduling(server));
    }
    let figures = format.columns.figures(server.stats.as_ref()).into_iter();
    let figures: String = figures.map(|figure| padded(figure, format.exact)).collect();
    format!("{:<33}{figures}", service(server))
}

fn destination_line(format: Format, found: &v1::IpvsDestination) -> String {
    let Format { columns, exact, .. } = format;
    let values: String = if columns.are_of_virtual_servers() {
        let figures = columns.figures(found.stats.as_ref()).into_iter().enumerate();
        // ipvsadm shortens no rate of a real server but its bytes.
        let is_exact = |index| exact || (columns == Columns::Rate && index < 3);
        figures.map(|(index, figure)| padded(figure, is_exact(index))).collect()
    } else {
        // The blanks at the end are ipvsadm's columns, kept so that the two listings can be compared.
        let widths = columns.headings().iter().map(|(_, width)| *width);
        let values = columns.of_destination(exact, found).into_iter().zip(widths);
        let padded = values.map(|(value, width)| format!(" {value:<width$}"));
        padded.collect::<Vec<_>>().concat()
    };
    format!("  -> {:<28}{values}", socket(&found.address, found.port))
}

fn padded(figure: u64, exact: bool) -> String {
    if exact { format!(" {figure:>8}") } else { format!("{:>9}", short(figure)) }
}

/// A figure in at most nine places.
fn short(figure: u64) -> String {
    match figure {
        0..100_000_000 => figure.to_string(),
        100_000_000..1_000_000_000 => format!("{}K", figure / 1_000),
        1_000_000_000..100_000_000_000 => format!("{}M", figure / 1_000_000),
        100_000_000_000..100_000_000_000_000 => format!("{}G", figure / 1_000_000_000),
        100_000_000_000_000.. => format!("{}T", figure / 1_000_000_000_000),
    }
}

/// What a virtual server takes.
pub fn service(server: &v1::IpvsVirtualServer) -> String {
    if server.fwmark == 0 {
        format!("{:<4} {}", protocol(server.protocol), socket(&server.vip, server.port))
    } else {
        let family = if server.fwmark_ipv6 { " IPv6" } else { "" };
        format!("FWM  {}{family}", server.fwmark)
    }
}

fn protocol(number: i32) -> String {
    match v1::Protocol::try_from(number) {
        Ok(v1::Protocol::Unspecified | v1::Protocol::Tcp) => "TCP".to_owned(),
        Ok(v1::Protocol::Udp) => "UDP".to_owned(),
        Ok(v1::Protocol::Sctp) => "SCTP".to_owned(),
        Err(_) => number.to_string(),
    }
}

fn tunnel(found: &v1::IpvsDestination) -> String {
    let checksum = match found.tunnel_checksum.as_str() {
        "csum" => "+c",
        "remcsum" => "r+c",
        _ => "-c",
    };
    match found.tunnel_type.as_str() {
        _ if found.forwarding != "Tunnel" => "n/a".to_owned(),
        "gue" => format!("gue:{}:{checksum}", found.tunnel_port),
        "gre" => format!("gre:{checksum}"),
        // A kernel that has no word for it knows no other.
        _ => "ipip".to_owned(),
    }
}
