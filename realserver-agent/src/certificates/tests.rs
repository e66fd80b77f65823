use std::path::PathBuf;

use fulcrum_model::{Port, ServerProbe};
use fulcrum_proto::v1::Severity;
use fulcrum_session::host::judge::ENDS_SOON;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tomcat::installation::Installation;
use crate::tomcat::server_xml::{Properties, parse};

const DAY: Duration = Duration::from_hours(24);

fn target(address: &str, host: Option<&str>) -> Target {
    Target {
        address: address.parse().unwrap(),
        host: host.map(str::to_owned),
        is_served: true,
        pid: None,
    }
}

fn watched(port: u64) -> WatchedServer {
    WatchedServer {
        restart: None,
        drained: false,
        real_server: "web1".parse().unwrap(),
        rip: "10.0.0.7".parse().unwrap(),
        port: Port::new(port).unwrap(),
        probe: ServerProbe::default(),
    }
}

#[test]
fn connectors_of_tls_are_asked_for_each_host() {
    let cases: [(&str, &[&str]); 8] = [
        (r#"<Connector port="8080"/>"#, &[]),
        (r#"<Connector port="8443" SSLEnabled="${x}"/>"#, &[]),
        (r#"<Connector port="${x}" SSLEnabled="true"/>"#, &[]),
        (r#"<Connector port="443" SSLEnabled="true"/>"#, &["10.0.0.7:443 - served"]),
        (r#"<Connector port="8443" SSLEnabled="true"/>"#, &["10.0.0.7:8443 -"]),
        (
            r#"<Connector port="8443" address="127.0.0.1" SSLEnabled="true"/>"#,
            &["127.0.0.1:8443 -"],
        ),
        (r#"<Connector port="8443" address="${x}" SSLEnabled="true"/>"#, &["10.0.0.7:8443 -"]),
        (
            r#"<Connector port="443" SSLEnabled="true"><SSLHostConfig/>
                <SSLHostConfig hostName="a.example"/><SSLHostConfig hostName="*.b.example"/></Connector>"#,
            &[
                "10.0.0.7:443 - served",
                "10.0.0.7:443 *.b.example served",
                "10.0.0.7:443 a.example served",
            ],
        ),
    ];
    let server = watched(443);
    let plan =
        RealServerHostPlan { vips: Vec::new(), servers: vec![server.clone()], tunnels: Vec::new() };
    for (connector, expected) in cases {
        let text = format!("<Server><Service>{connector}</Service></Server>");
        let own = Tomcats::Own(Arc::new(Installation {
            pid: 8,
            base: PathBuf::from("/b"),
            server: parse(&text, &Properties::new()).unwrap(),
            open_manager: None,
        }));
        // Two servers of one Tomcat name the same certificates.
        let asked =
            wanted(&[], [(&server, &own), (&server, &own), (&server, &Tomcats::None)], &plan);
        let told = asked.iter().map(|one| {
            assert_eq!(one.pid, Some(8));
            let host = one.host.as_deref().unwrap_or("-");
            let served = if one.is_served { " served" } else { "" };
            format!("{} {host}{served}", one.address)
        });
        assert_eq!(told.collect::<Vec<_>>(), expected, "{connector}");
    }
    let by_hand = Configured { address: "[::1]:993".parse().unwrap(), host: None };
    assert_eq!(wanted(&[by_hand], [], &plan), [target("[::1]:993", None)].into());
}

/// When it ends, whether its port is served, and what is told.
type Ending<'a> = (Duration, bool, Option<(Severity, &'a str)>);

#[test]
fn ends_are_told_before_and_after() {
    use Severity::{Error, Warning};
    let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    let cases: [Ending<'_>; 7] = [
        (20_000 * DAY + ENDS_SOON + DAY, true, None),
        (
            20_000 * DAY + ENDS_SOON,
            true,
            Some((Warning, "the certificate that it presents ends in 14 days")),
        ),
        (20_001 * DAY, true, Some((Warning, "the certificate that it presents ends in 1 days"))),
        (
            20_000 * DAY + Duration::from_secs(1),
            true,
            Some((Warning, "the certificate that it presents ends in 0 days")),
        ),
        (
            20_000 * DAY,
            true,
            Some((
                Error,
                "the certificate that it presents ended at 2024-10-04T00:00:00Z: clients refuse it",
            )),
        ),
        (
            19_999 * DAY,
            true,
            Some((
                Error,
                "the certificate that it presents ended at 2024-10-03T00:00:00Z: clients refuse it",
            )),
        ),
        (
            19_999 * DAY,
            false,
            Some((
                Warning,
                "the certificate that it presents ended at 2024-10-03T00:00:00Z: clients refuse it",
            )),
        ),
    ];
    for (end, is_served, expected) in cases {
        let one = Target { is_served, ..target("10.0.0.7:443", Some("shop.example")) };
        let ends = Ends::from([(one.clone(), Ok(SystemTime::UNIX_EPOCH + end))]);
        let look = judge(&[one].into(), &ends, now);
        assert_eq!(look.unchecked, []);
        let told = look.findings.first().map(|finding| {
            assert_eq!(finding.subject, "shop.example at 10.0.0.7:443");
            (finding.severity(), finding.found.as_str())
        });
        assert_eq!(told, expected, "{end:?}");
    }
}

#[test]
fn what_is_not_known_is_told() {
    let one = target("10.0.0.7:443", None);
    let why = |wanted: &[Target], ends: &Ends| {
        let look = judge(&wanted.iter().cloned().collect(), ends, SystemTime::UNIX_EPOCH);
        assert_eq!(look.findings, []);
        look.unchecked.into_iter().map(|unseen| unseen.why).collect::<Vec<_>>()
    };
    assert!(why(&[], &Ends::new())[0].starts_with("no connector of a Tomcat here"));
    assert_eq!(
        why(std::slice::from_ref(&one), &Ends::new()),
        ["10.0.0.7:443: it was not asked yet"]
    );
    let refused = Ends::from([(one.clone(), Err("connect: refused".to_owned()))]);
    assert_eq!(why(&[one], &refused), ["10.0.0.7:443: connect: refused"]);
}

#[test]
fn it_is_asked_again_at_its_end() {
    let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    let cases = [
        (Ok(now + DAY), EVERY),
        (Ok(now + Duration::from_secs(40)), Duration::from_secs(40)),
        (Ok(now), SOON),
        (Ok(now - DAY), SOON),
        (Err("connect: refused".to_owned()), SOON),
    ];
    for (end, expected) in cases {
        assert_eq!(rest(&end, now), expected, "{end:?}");
    }
}

/// A certificate for each name that is asked for: by year of its end.
#[derive(Debug)]
struct ByName(BTreeMap<Option<String>, Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.get(&hello.server_name().map(str::to_owned)).cloned()
    }
}

fn ending_in(year: i32) -> Arc<CertifiedKey> {
    let mut params = CertificateParams::new(vec!["any.example".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = ring::default_provider().key_provider.load_private_key(der).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key))
}

async fn tls_server(by_name: ByName) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(by_name));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 16]).await;
        }
    });
    address
}

#[tokio::test]
async fn a_server_is_asked_by_name_or_by_none() {
    let certificates = BTreeMap::from([
        (None, ending_in(2030)),
        (Some("shop.example".to_owned()), ending_in(2001)),
        (Some("any.cdn.example".to_owned()), ending_in(2035)),
    ]);
    let address = tls_server(ByName(certificates)).await;
    let year = |year: i32| {
        SystemTime::UNIX_EPOCH
            + Duration::from_secs(date_time_ymd(year, 1, 1).unix_timestamp().try_into().unwrap())
    };
    for (host, expected) in [
        (None, Ok(year(2030))),
        // It has ended, and is read all the same.
        (Some("shop.example"), Ok(year(2001))),
        (Some("*.cdn.example"), Ok(year(2035))),
        (Some("other.example"), Err("handshake of TLS: ")),
        (Some("no name"), Err("\"no name\" is no name for TLS")),
    ] {
        let end = handshake::ask(&target(&address.to_string(), host)).await;
        match (end, expected) {
            (Ok(end), Ok(expected)) => assert_eq!(end, expected, "{host:?}"),
            (Err(why), Err(begin)) => assert!(why.starts_with(begin), "{why}"),
            (end, expected) => panic!("{host:?}: {end:?} is not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = target(&address, None);
    let (end, ()) = tokio::join!(handshake::ask(&asked), async {
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
    });
    assert!(end.unwrap_err().starts_with("handshake of TLS: "));
    drop(listener);
    let end = handshake::ask(&asked).await;
    assert!(end.unwrap_err().starts_with("connect: "));
}

#[tokio::test]
async fn whoever_is_wanted_is_followed() {
    let address = tls_server(ByName(BTreeMap::from([(None, ending_in(2030))]))).await;
    let one = target(&address.to_string(), None);
    let (wishes, wanted) = watch::channel(BTreeSet::from([one.clone()]));
    let mut ends = follow(wanted);
    let known = ends.wait_for(|ends| !ends.is_empty()).await.unwrap().clone();
    assert!(known[&one].is_ok());
    // The process was restarted: it is another certificate, which is asked for at once.
    let again = Target { pid: Some(9), ..one };
    wishes.send_replace(BTreeSet::from([again.clone()]));
    let known = ends.wait_for(|ends| ends.contains_key(&again)).await.unwrap().clone();
    assert_eq!(known.len(), 1);
    wishes.send_replace(BTreeSet::new());
    ends.wait_for(Ends::is_empty).await.unwrap();
    drop(wishes);
    assert!(ends.changed().await.is_err(), "it ends with whoever wants it");
}
