//! What a Tomcat's own files say that an LVS cluster cannot, or should not, run with. Pure.

use std::sync::Arc;

use fulcrum_model::plan::{RealServerHostPlan, WatchedServer};
use fulcrum_proto::v1;

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

/// The findings of one server.
pub fn of(
    server: &WatchedServer,
    tomcats: &Tomcats,
    plan: &RealServerHostPlan,
) -> Vec<v1::Finding> {
    match tomcats {
        Tomcats::None => Vec::new(),
        Tomcats::Own(own) => {
            let connectors = own.server.connectors.iter();
            let connectors = connectors.filter(|c| c.port == Some(server.port.get()));
            let mut found: Vec<v1::Finding> = connectors
                .flat_map(|connector| {
                    [address(server, own, connector, plan), stop(server, own, connector)]
                })
                .flatten()
                .collect();
            found.extend(manager(server, own));
            found
        }
        Tomcats::Others(others) => port(server, others, plan).into_iter().collect(),
    }
}

/// A packet that is forwarded by dr or through a tunnel still has the VIP as its destination.
fn address(
    server: &WatchedServer,
    tomcat: &Installation,
    connector: &Connector,
    plan: &RealServerHostPlan,
) -> Option<v1::Finding> {
    let only = match connector.address {
        Address::One(only) => only,
        Address::Any | Address::Unknown => return None,
    };
    // Without VIPs on loopback nothing is forwarded by dr here.
    if plan.vips.is_empty() || plan.vips.contains(&only) {
        return None;
    }
    let port = server.port;
    Some(v1::Finding {
        code: "tomcat-address".to_owned(),
        severity: v1::Severity::Error.into(),
        subject: server.real_server.to_string(),
        found: format!(
            "{}: the connector of port {port} listens on {only} alone, where requests to {} are refused",
            server_xml(tomcat),
            list(&plan.vips)
        ),
        remedy: format!("leave address out of the connector of port {port}, and restart Tomcat"),
    })
}

/// Told only where the Tomcat is surely meant: none of its ports is that of another server of this host.
fn port(
    server: &WatchedServer,
    tomcats: &[Installation],
    plan: &RealServerHostPlan,
) -> Option<v1::Finding> {
    let planned = |port: u16| plan.servers.iter().any(|server| server.port.get() == port);
    let (tomcat, ports) = tomcats.iter().find_map(|tomcat| {
        let connectors = tomcat.server.connectors.iter();
        // One that cannot be told may be the planned one.
        let ports: Vec<u16> = connectors.map(|connector| connector.port).collect::<Option<_>>()?;
        let is_another = ports.is_empty() || ports.iter().any(|port| planned(*port));
        (!is_another).then_some((tomcat, ports))
    })?;
    let wanted = server.port;
    Some(v1::Finding {
        code: "tomcat-port".to_owned(),
        severity: v1::Severity::Error.into(),
        subject: server.real_server.to_string(),
        found: format!(
            "nobody listens on port {wanted}, and {} has a connector of port {} only",
            server_xml(tomcat),
            list(&ports)
        ),
        remedy: format!(
            "set port=\"{wanted}\" on the connector and restart Tomcat, or plan the port that it has: in dr \
             the virtual server's port must be the same"
        ),
    })
}

fn stop(
    server: &WatchedServer,
    tomcat: &Installation,
    connector: &Connector,
) -> Option<v1::Finding> {
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
    Some(v1::Finding {
        code: "tomcat-stop-loses-requests".to_owned(),
        severity: v1::Severity::Warning.into(),
        subject: server.real_server.to_string(),
        found: format!("{}: the connector of port {}: {found}", server_xml(tomcat), server.port),
        remedy: remedy.to_owned(),
    })
}

fn manager(server: &WatchedServer, tomcat: &Installation) -> Option<v1::Finding> {
    let path = tomcat.open_manager.as_ref()?;
    let is_reachable = |connector: &Connector| match connector.address {
        Address::Any => true,
        Address::One(address) => !address.is_loopback(),
        Address::Unknown => false,
    };
    if !tomcat.server.connectors.iter().any(is_reachable) {
        return None;
    }
    Some(v1::Finding {
        code: "tomcat-manager-open".to_owned(),
        severity: v1::Severity::Warning.into(),
        subject: server.real_server.to_string(),
        found: format!(
            "{}: the manager asks other hosts for a password, and keeps none of them out",
            path.display()
        ),
        remedy: "put <Valve className=\"org.apache.catalina.valves.RemoteCIDRValve\" allow=\"127.0.0.0/8,::1/128\"/> into its \
                 Context"
            .to_owned(),
    })
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
            let codes: Vec<String> =
                of(&server, &own, &plan).into_iter().map(|finding| finding.code).collect();
            assert_eq!(codes, expected, "{service} {connectors} {open}");
        }
        let bound =
            tomcat(GRACE, r#"<Connector port="80" bindOnInit="false" address="10.0.0.7"/>"#, false);
        let found = of(&server, &Tomcats::Own(Arc::new(bound.clone())), &plan);
        assert_eq!(
            found[0].found,
            "/var/lib/tomcat10/conf/server.xml: the connector of port 80 listens on 10.0.0.7 alone, where requests to \
             10.0.0.100 are refused"
        );
        let nat = RealServerHostPlan { vips: Vec::new(), ..plan };
        assert_eq!(
            of(&server, &Tomcats::Own(Arc::new(bound)), &nat),
            [],
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
            let found = of(&server, &others, &plan);
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
