//! The classic cluster: two directors, one VIP, two Tomcats.

use fulcrum_proto::v1;
use fulcrum_proto::v1::resource::Spec;

/// Its manifest set: 8 resources.
pub(crate) fn cluster() -> Vec<v1::Resource> {
    vec![
        site("main"),
        director("d1", "192.168.1.135"),
        director("d2", "192.168.1.136"),
        vrrp_instance("vi-1", &["d1", "d2"]),
        real_server("web1", "192.168.1.138"),
        real_server("web2", "192.168.1.139"),
        pool("tomcats", &["web1", "web2"]),
        virtual_server("web", 80, "tomcats"),
    ]
}

pub(crate) fn site(name: &str) -> v1::Resource {
    resource(name, Spec::Site(v1::Site::default()))
}

pub(crate) fn director(name: &str, dip: &str) -> v1::Resource {
    let spec = v1::Director {
        site: "main".to_owned(),
        dip: dip.to_owned(),
        interface: "eth0".to_owned(),
        dip_ipv6: String::new(),
        ..v1::Director::default()
    };
    resource(name, Spec::Director(spec))
}

pub(crate) fn vrrp_instance(name: &str, directors: &[&str]) -> v1::Resource {
    let members = directors.iter().zip([100, 90, 80]).map(|(director, priority)| v1::VrrpMember {
        director: (*director).to_owned(),
        priority,
        interface: String::new(),
    });
    let spec = v1::VrrpInstance {
        site: "main".to_owned(),
        vrid: 51,
        vips: vec!["192.168.1.150/24".to_owned()],
        members: members.collect(),
        ..Default::default()
    };
    resource(name, Spec::VrrpInstance(spec))
}

pub(crate) fn real_server(name: &str, rip: &str) -> v1::Resource {
    let spec = v1::RealServer {
        site: "main".to_owned(),
        rip: rip.to_owned(),
        port: 80,
        ..Default::default()
    };
    resource(name, Spec::RealServer(spec))
}

pub(crate) fn pool(name: &str, real_servers: &[&str]) -> v1::Resource {
    let members = real_servers
        .iter()
        .map(|name| v1::PoolMember { real_server: (*name).to_owned(), ..Default::default() });
    let spec = v1::Pool { members: members.collect(), ..Default::default() };
    resource(name, Spec::Pool(spec))
}

pub(crate) fn virtual_server(name: &str, port: u32, pool: &str) -> v1::Resource {
    let spec = v1::VirtualServer {
        vrrp_instance: "vi-1".to_owned(),
        vip: "192.168.1.150".to_owned(),
        port,
        pool: pool.to_owned(),
        ..Default::default()
    };
    resource(name, Spec::VirtualServer(spec))
}

/// The virtual server `web` with another scheduler.
pub(crate) fn web_by_least_connections() -> v1::Resource {
    let mut web = virtual_server("web", 80, "tomcats");
    if let Some(Spec::VirtualServer(spec)) = &mut web.spec {
        spec.set_scheduler(v1::Scheduler::Wlc);
    }
    web
}

/// Another virtual server, beside `web`.
pub(crate) fn udp_virtual_server(name: &str) -> v1::Resource {
    let mut server = virtual_server(name, 80, "tomcats");
    if let Some(Spec::VirtualServer(spec)) = &mut server.spec {
        spec.set_protocol(v1::Protocol::Udp);
    }
    server
}

fn resource(name: &str, spec: Spec) -> v1::Resource {
    let metadata = v1::Metadata { name: name.to_owned(), ..Default::default() };
    v1::Resource { metadata: Some(metadata), spec: Some(spec) }
}
