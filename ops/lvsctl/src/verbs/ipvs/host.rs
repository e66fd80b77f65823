//! `lvsctl ipvs --timeout` and `--daemon`: what directors' IPVS has beside the table.

use fulcrum_proto::ipvsadm;
use fulcrum_proto::v1::IpvsKernel;

use crate::cli::Output;
use crate::ipvs::Listing;
use crate::text::{Node, message_to_node, to_json, to_yaml};

/// Which of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Timeouts,
    Daemons,
}

/// As ipvsadm prints it, under each director's name unless one was asked for.
pub(super) fn render(listings: &[Listing], part: Part, with_names: bool, format: Output) -> String {
    if format != Output::Table {
        let node = Node::List(listings.iter().map(to_node).collect());
        return if format == Output::Json { to_json(&node) } else { to_yaml(&node) };
    }
    let told = listings.iter().map(|listing| {
        let text = text(listing, part);
        if with_names { format!("director {}\n{text}", listing.director) } else { text }
    });
    told.collect::<Vec<_>>().join("\n")
}

fn text(listing: &Listing, part: Part) -> String {
    let Some(kernel) = &listing.observed.ipvs_kernel else { return UNTOLD.to_owned() };
    match part {
        // A release that does not tell timeouts does not tell daemons either.
        Part::Timeouts => ipvsadm::timeouts(kernel).unwrap_or_else(|| UNTOLD.to_owned()),
        Part::Daemons if ipvsadm::timeouts(kernel).is_none() => UNTOLD.to_owned(),
        Part::Daemons => ipvsadm::daemons(kernel),
    }
}

const UNTOLD: &str = "# not told: upgrade this director, or ask ipvsadm on its host\n";

fn to_node(listing: &Listing) -> Node {
    let unknown = IpvsKernel::default();
    let kernel = listing.observed.ipvs_kernel.as_ref().unwrap_or(&unknown);
    Node::Map(vec![
        ("director".to_owned(), Node::text(&listing.director)),
        ("ipvs_kernel".to_owned(), message_to_node("fulcrum.v1.IpvsKernel", kernel)),
    ])
}

#[cfg(test)]
mod tests {
    use fulcrum_proto::v1::{DirectorObserved, IpvsSyncDaemon, SyncRole};

    use super::*;

    fn listing(director: &str, ipvs_kernel: Option<IpvsKernel>) -> Listing {
        let observed = DirectorObserved { ipvs_kernel, ..DirectorObserved::default() };
        Listing { director: director.to_owned(), attached: true, observed }
    }

    fn told() -> IpvsKernel {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let (interface, sync_id) = ("eth0".to_owned(), 52);
        let daemon = IpvsSyncDaemon { role: SyncRole::Sender.into(), interface, sync_id };
        IpvsKernel {
            tcp_timeout: seconds(900),
            tcp_fin_timeout: seconds(120),
            udp_timeout: seconds(300),
            sync_daemons: vec![daemon],
            ..IpvsKernel::default()
        }
    }

    #[test]
    fn each_director_by_its_name_and_an_old_one_with_what_to_do() {
        let both = [listing("d1", Some(told())), listing("d2", Some(IpvsKernel::default()))];
        let timeouts = render(&both, Part::Timeouts, true, Output::Table);
        let line = "Timeout (tcp tcpfin udp): 900 120 300\n";
        assert_eq!(timeouts, format!("director d1\n{line}\ndirector d2\n{UNTOLD}"));
        let daemons = render(&both[..1], Part::Daemons, false, Output::Table);
        assert_eq!(daemons, "master sync daemon (mcast=eth0, syncid=52)\n");
        assert_eq!(render(&both[1..], Part::Daemons, false, Output::Table), UNTOLD);
    }

    #[test]
    fn programs_get_all_of_it() {
        let yaml = render(&[listing("d1", Some(told()))], Part::Timeouts, false, Output::Yaml);
        for line in ["- director: d1", "tcp_timeout: 900s", "interface: eth0", "sync_id: 52"] {
            assert!(yaml.contains(line), "{line} in:\n{yaml}");
        }
    }
}
