//! What a Tomcat's own files say that an LVS cluster cannot, or should not, run with. Pure.

use std::sync::Arc;

use fulcrum_model::plan::{RealServerHostPlan, WatchedServer};
use fulcrum_proto::finding::{Code, Look};
use fulcrum_proto::v1::{Finding, Unchecked};

use super::installation::Installation;
use super::server_xml::{Address, Connector};

/// The Tomcats that a watcher found for its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tomcats {
    /// None, or another program listens.
    #[default]
    None,
    /// The one that listens on the server's port.
    Own(Arc<Installation>),
    /// Nobody listens there, and these run on the host.
    Others(Arc<Vec<Installation>>),
}

/// What is looked for in a Tomcat's files.
const CODES: [Code; 4] =
    [Code::TomcatAddress, Code::TomcatPort, Code::TomcatStopLosesRequests, Code::TomcatManagerOpen];

/// What one server's watcher found; none before its first report.
pub fn of(server: &WatchedServer, tomcats: Option<&Tomcats>, plan: &RealServerHostPlan) -> Look {
    let port_of = server.port;
    let nothing = |why: String| Look {
        findings: Vec::new(),
        unchecked: CODES.iter().map(|code| unseen(*code, server, &why)).collect(),
    };
    match tomcats {
        None => nothing("it was not looked at yet".to_owned()),
        Some(Tomcats::None) => {
            nothing(format!("no Tomcat whose files the agent may read listens on port {port_of}"))
        }
        Some(Tomcats::Own(own)) => of_own(server, own, plan),
        Some(Tomcats::Others(others)) => {
            let mut look = nothing(format!("nobody listens on port {port_of}"));
            if let Some(finding) = port(server, others, plan) {
                look.unchecked.retain(|unchecked| unchecked.code != finding.code);
                look.findings.push(finding);
            }
            look
        }
    }
}

/// Of the one that listens, which has the port by that.
fn of_own(server: &WatchedServer, own: &Installation, plan: &RealServerHostPlan) -> Look {
    let connectors = own.server.connectors.iter();
    let connectors: Vec<&Connector> =
        connectors.filter(|c| c.port == Some(server.port.get())).collect();
    let mut findings: Vec<Finding> = connectors
        .iter()
        .flat_map(|connector| [address(server, own, connector, plan), stop(server, own, connector)])
        .flatten()
        .collect();
    findings.extend(manager(server, own));
    Look { findings, unchecked: untold(server, own, &connectors, plan) }
}

/// What server.xml leaves open, such as by a property that is set elsewhere.
fn untold(
    server: &WatchedServer,
    own: &Installation,
    connectors: &[&Connector],
    plan: &RealServerHostPlan,
) -> Vec<Unchecked> {
    let path = server_xml(own);
    // Without VIPs on loopback no address is wrong.
    let needs_address = !plan.vips.is_empty();
    if connectors.is_empty() {
        let codes =
            [needs_address.then_some(Code::TomcatAddress), Some(Code::TomcatStopLosesRequests)];
        let why = format!("{path} names no connector of port {}", server.port);
        return codes.into_iter().flatten().map(|code| unseen(code, server, &why)).collect();
    }
    let has_no_address = |c: &&Connector| c.address == Address::Unknown;
    let has_no_stop = |c: &&Connector| c.binds_on_init.is_none() || c.awaits_ms.is_none();
    let address = (needs_address && connectors.iter().any(has_no_address)).then(|| {
        let why = format!("{path}: address of the connector cannot be told");
        unseen(Code::TomcatAddress, server, &why)
    });
    let stop = connectors.iter().any(has_no_stop).then(|| {
        let why = format!("{path}: bindOnInit or gracefulStopAwaitMillis cannot be told");
        unseen(Code::TomcatStopLosesRequests, server, &why)
    });
    address.into_iter().chain(stop).collect()
}

fn unseen(code: Code, server: &WatchedServer, why: &str) -> Unchecked {
    code.unchecked(format!("{}: {why}", server.real_server))
}

/// A packet that is forwarded by dr or through a tunnel still has the VIP as its destination.
fn address(
    server: &WatchedServer,
    tomcat: &Installation,
    connector: &Connector,
    plan: &RealServerHostPlan,
) -> Option<Finding> {
    let only = match connector.address {
        Address::One(only) => only,
        Address::Any | Address::Unknown => return None,
    };
    // Without VIPs on loopback nothing is forwarded by dr here.
    if plan.vips.is_empty() || plan.vips.contains(&only) {
        return None;
    }
    let port = server.port;
    Some(Code::TomcatAddress.error(
        server.real_server.to_string(),
        format!(
            "{}: the connector of port {port} listens on {only} alone, where requests to {} are refused",
            server_xml(tomcat),
            list(&plan.vips)
        ),
        format!("leave address out of the connector of port {port}, and restart Tomcat"),
    ))
}

/// Told only where the Tomcat is surely meant: none of its ports is that of another server of this host.
fn port(
    server: &WatchedServer,
    tomcats: &[Installation],
    plan: &RealServerHostPlan,
) -> Option<Finding> {
    let planned = |port: u16| plan.servers.iter().any(|server| server.port.get() == port);
    let (tomcat, ports) = tomcats.iter().find_map(|tomcat| {
        let connectors = tomcat.server.connectors.iter();
        // One that cannot be told may be the planned one.
        let ports: Vec<u16> = connectors.map(|connector| connector.port).collect::<Option<_>>()?;
        let is_another = ports.is_empty() || ports.iter().any(|port| planned(*port));
        (!is_another).then_some((tomcat, ports))
    })?;
    let wanted = server.port;
    Some(Code::TomcatPort.error(
        server.real_server.to_string(),
        format!(
            "nobody listens on port {wanted}, and {} has a connector of port {} only",
            server_xml(tomcat),
            list(&ports)
        ),
        format!(
            "set port=\"{wanted}\" on the connector and restart Tomcat, or plan the port that it has: in dr \
             the virtual server's port must be the same"
        ),
    ))
}

fn stop(server: &WatchedServer, tomcat: &Installation, connector: &Connector) -> Option<Finding> {
    // What cannot be told is taken to be well.
    let keeps_open = connector.binds_on_init?;
    let is_hasty = connector.awaits_ms? == 0;
    let (found, remedy) = match (keeps_open, is_hasty) {
        (false, false) => return None,
        (true, false) => (
            "its socket stays open while it stops: new connections are accepted and lost",
            "set bindOnInit=\"false\" on the connector",
        ),
        (false, true) => (
            "its service does not wait: requests in flight are lost when it stops",
            "set gracefulStopAwaitMillis=\"10000\" on the Service",
        ),
        (true, true) => (
            "its socket stays open while it stops and its service does not wait: requests are lost",
            "set bindOnInit=\"false\" on the connector and gracefulStopAwaitMillis=\"10000\" on the Service",
        ),
    };
    Some(Code::TomcatStopLosesRequests.warning(
        server.real_server.to_string(),
        format!("{}: the connector of port {}: {found}", server_xml(tomcat), server.port),
        remedy.to_owned(),
    ))
}

fn manager(server: &WatchedServer, tomcat: &Installation) -> Option<Finding> {
    let path = tomcat.open_manager.as_ref()?;
    let is_reachable = |connector: &Connector| match connector.address {
        Address::Any => true,
        Address::One(address) => !address.is_loopback(),
        Address::Unknown => false,
    };
    if !tomcat.server.connectors.iter().any(is_reachable) {
        return None;
    }
    Some(Code::TomcatManagerOpen.warning(
        server.real_server.to_string(),
        format!(
            "{}: the manager asks other hosts for a password, and keeps none of them out",
            path.display()
        ),
        "put <Valve className=\"org.apache.catalina.valves.RemoteCIDRValve\" allow=\"127.0.0.0/8,::1/128\"/> into its \
                 Context"
            .to_owned(),
    ))
}

fn server_xml(tomcat: &Installation) -> String {
    tomcat.base.join("conf/server.xml").display().to_string()
}

/// `a, b and 3 more`: a sentence is for people, however long the list.
fn list<T: ToString>(items: &[T]) -> String {
    const MOST: usize = 4;
    let named: Vec<String> = items.iter().take(MOST).map(ToString::to_string).collect();
    let more = items.len().saturating_sub(MOST);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use fulcrum_model::{Port, ServerProbe};

    use super::super::server_xml::{Properties, parse};
    use super::*;

    fn watched(name: &str, port: u64) -> WatchedServer {
        WatchedServer {
            restart: None,
            drained: false,
            real_server: name.parse().unwrap(),
            rip: "10.0.0.7".parse().unwrap(),
            port: Port::new(port).unwrap(),
            probe: ServerProbe::default(),
        }
    }

    fn tomcat(service: &str, connectors: &str, open_manager: bool) -> Installation {
        let text = format!("<Server><Service {service}>{connectors}</Service></Server>");
        Installation {
            pid: 8,
            base: PathBuf::from("/var/lib/tomcat10"),
            server: parse(&text, &Properties::new()).unwrap(),
            open_manager: open_manager.then(|| PathBuf::from("/var/lib/tomcat10/manager.xml")),
        }
    }

    fn codes(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.code).collect()
    }

    /// What is not known is told by code, and a finding of the same code stands for itself.
    #[test]
    fn what_is_not_seen_is_told() {
        const ALL: &[&str] =
            &["tomcat-address", "tomcat-port", "tomcat-stop-loses-requests", "tomcat-manager-open"];
        let own = |connectors: &str| Tomcats::Own(Arc::new(tomcat(GRACE, connectors, false)));
        let stopped =
            |connectors: &str| Tomcats::Others(Arc::new(vec![tomcat("", connectors, false)]));
        let well = r#"<Connector port="80" bindOnInit="false"/>"#;
        let elsewhere = r#"<Connector port="8080"/>"#;
        let cases: [(&str, Option<Tomcats>, &[&str]); 8] = [
            ("not yet", None, ALL),
            ("no Tomcat", Some(Tomcats::None), ALL),
            ("nobody listens", Some(Tomcats::Others(Arc::default())), ALL),
            ("on another port", Some(stopped(elsewhere)), &[ALL[0], ALL[2], ALL[3]]),
            ("all is told", Some(own(well)), &[]),
            ("no such port", Some(own(r#"<Connector port="${x}"/>"#)), &[ALL[0], ALL[2]]),
            (
                "no address",
                Some(own(r#"<Connector port="80" bindOnInit="false" address="${x}"/>"#)),
                &[ALL[0]],
            ),
            ("no stop", Some(own(r#"<Connector port="80" bindOnInit="${x}"/>"#)), &[ALL[2]]),
        ];
        let server = watched("web1", 80);
        let plan = RealServerHostPlan {
            vips: vec!["10.0.0.100".parse().unwrap()],
            servers: vec![server.clone()],
            tunnels: Vec::new(),
        };
        for (what, tomcats, expected) in cases {
            let unchecked = of(&server, tomcats.as_ref(), &plan).unchecked;
            assert!(unchecked.iter().all(|unseen| unseen.why.starts_with("web1: ")), "{what}");
            let told: Vec<&str> = unchecked.iter().map(|unseen| unseen.code.as_str()).collect();
            assert_eq!(told, expected, "{what}");
        }
    }

    const GRACE: &str = r#"gracefulStopAwaitMillis="10000""#;

    #[test]
    fn the_own_tomcat_is_judged() {
        const ADDRESS: &str = "tomcat-address";
        const STOP: &str = "tomcat-stop-loses-requests";
        const MANAGER: &str = "tomcat-manager-open";
        let cases: Vec<(&str, &str, bool, &[&str])> = vec![
            (GRACE, r#"<Connector port="80" bindOnInit="false"/>"#, false, &[]),
            (GRACE, r#"<Connector port="80" bindOnInit="false"/>"#, true, &[MANAGER]),
            (GRACE, r#"<Connector port="80"/>"#, false, &[STOP]),
            ("", r#"<Connector port="80" bindOnInit="false"/>"#, false, &[STOP]),
            ("", r#"<Connector port="80"/>"#, false, &[STOP]),
            ("", r#"<Connector port="80" bindOnInit="${x}"/>"#, false, &[]),
            (r#"gracefulStopAwaitMillis="${x}""#, r#"<Connector port="80"/>"#, false, &[]),
            (
                GRACE,
                r#"<Connector port="80" bindOnInit="false" address="10.0.0.7"/>"#,
                false,
                &[ADDRESS],
            ),
            (
                GRACE,
                r#"<Connector port="80" bindOnInit="false" address="127.0.0.1"/>"#,
                true,
                &[ADDRESS],
            ),
            (
                GRACE,
                r#"<Connector port="80" bindOnInit="false" address="10.0.0.100"/>"#,
                false,
                &[],
            ),
            (GRACE, r#"<Connector port="80" bindOnInit="false" address="${x}"/>"#, true, &[]),
            ("", r#"<Connector port="8081" address="127.0.0.1"/>"#, false, &[]),
            ("", r#"<Connector port="${x}"/>"#, false, &[]),
        ];
        let server = watched("web1", 80);
        let plan = RealServerHostPlan {
            vips: vec!["10.0.0.100".parse().unwrap()],
            servers: vec![server.clone()],
            tunnels: Vec::new(),
        };
        for (service, connectors, open, expected) in cases {
            let own = Tomcats::Own(Arc::new(tomcat(service, connectors, open)));
            let codes: Vec<String> = codes(of(&server, Some(&own), &plan).findings);
            assert_eq!(codes, expected, "{service} {connectors} {open}");
        }
        let bound =
            tomcat(GRACE, r#"<Connector port="80" bindOnInit="false" address="10.0.0.7"/>"#, false);
        let found = of(&server, Some(&Tomcats::Own(Arc::new(bound.clone()))), &plan).findings;
        assert_eq!(
            found[0].found,
            "/var/lib/tomcat10/conf/server.xml: the connector of port 80 listens on 10.0.0.7 alone, where requests to \
             10.0.0.100 are refused"
        );
        let nat = RealServerHostPlan { vips: Vec::new(), ..plan };
        assert_eq!(
            of(&server, Some(&Tomcats::Own(Arc::new(bound))), &nat),
            Look::default(),
            "nothing is forwarded by dr"
        );
    }

    #[test]
    fn another_port_is_told_where_it_is_surely_meant() {
        let cases: [(&str, Option<&str>); 5] = [
            (r#"<Connector port="8080"/><Connector port="8443"/>"#, Some("port 8080, 8443 only")),
            (r#"<Connector port="80"/>"#, None),
            (r#"<Connector port="9090"/>"#, None),
            (r#"<Connector port="8080"/><Connector port="${x}"/>"#, None),
            ("", None),
        ];
        let server = watched("web1", 80);
        let plan = RealServerHostPlan {
            vips: Vec::new(),
            servers: vec![server.clone(), watched("web2", 9090)],
            tunnels: Vec::new(),
        };
        for (connectors, expected) in cases {
            let others = Tomcats::Others(Arc::new(vec![tomcat("", connectors, true)]));
            let found = of(&server, Some(&others), &plan).findings;
            match expected {
                None => assert_eq!(found, [], "{connectors}"),
                Some(words) => assert!(found[0].found.ends_with(words), "{}", found[0].found),
            }
        }
    }

    #[test]
    fn lists_are_short() {
        assert_eq!(list::<u16>(&[]), "");
        assert_eq!(list(&[1, 2]), "1, 2");
        assert_eq!(list(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4 and 2 more");
    }
}
