use proptest::prelude::*;

use super::*;

fn properties(pairs: &[(&str, &str)]) -> Properties {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn connectors(connectors: &str) -> Vec<Connector> {
    let known = properties(&[("http.port", "8080"), ("nested", "${x}"), ("rip", "10.0.0.7")]);
    let text = format!("<Server><Service>{connectors}</Service></Server>");
    parse(&text, &known).unwrap().connectors
}

#[test]
fn connectors_are_read() {
    let plain = Connector {
        port: Some(8080),
        address: Address::Any,
        binds_on_init: Some(true),
        awaits_ms: Some(0),
        has_tls: Some(false),
        tls_hosts: BTreeSet::new(),
    };
    let one = |text: &str| Address::One(text.parse().unwrap());
    let cases = [
        (r#"<Connector port="8080"/>"#, plain.clone()),
        (r#"<Connector port="${http.port}"/>"#, plain.clone()),
        (r#"<Connector port="${none:-8080}"/>"#, plain.clone()),
        (r#"<Connector port="80${none:-80}"/>"#, plain.clone()),
        (r#"<Connector port="8000" portOffset="80"/>"#, plain.clone()),
        (r#"<Connector port="8080" address="0.0.0.0"/>"#, plain.clone()),
        (r#"<Connector port="8080" address="::"/>"#, plain.clone()),
        (r#"<Connector port="${none}"/>"#, Connector { port: None, ..plain.clone() }),
        (r#"<Connector port="${nested}"/>"#, Connector { port: None, ..plain.clone() }),
        (r#"<Connector port="${http.port"/>"#, Connector { port: None, ..plain.clone() }),
        (r#"<Connector port="-1"/>"#, Connector { port: None, ..plain.clone() }),
        (r#"<Connector port="65537"/>"#, Connector { port: None, ..plain.clone() }),
        (r"<Connector/>", Connector { port: None, ..plain.clone() }),
        (
            r#"<Connector port="8080" address="${rip}"/>"#,
            Connector { address: one("10.0.0.7"), ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" address="localhost"/>"#,
            Connector { address: one("127.0.0.1"), ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" address="[::ffff:10.0.0.7]"/>"#,
            Connector { address: one("10.0.0.7"), ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" address="web1"/>"#,
            Connector { address: Address::Unknown, ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" bindOnInit="false"/>"#,
            Connector { binds_on_init: Some(false), ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" bindOnInit="${none}"/>"#,
            Connector { binds_on_init: None, ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" SSLEnabled="TRUE"><SSLHostConfig/></Connector>"#,
            Connector { has_tls: Some(true), ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" SSLEnabled="${none}"/>"#,
            Connector { has_tls: None, ..plain.clone() },
        ),
        (
            r#"<Connector port="8080" SSLEnabled="true"><SSLHostConfig hostName="_default_"/>
            <SSLHostConfig hostName="shop.example"/><SSLHostConfig hostName="${none}"/>
            <SSLHostConfig hostName="*.cdn.example"/></Connector>"#,
            Connector {
                has_tls: Some(true),
                tls_hosts: ["shop.example", "*.cdn.example"].map(str::to_owned).into(),
                ..plain
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(connectors(text), [expected], "{text}");
    }
}

#[test]
fn services_and_hosts_are_read() {
    let text = r#"<?xml version="1.0"?>
<Server port="8005" portOffset="1">
  <!-- <Connector port="1"/> -->
  <Service name="Catalina" gracefulStopAwaitMillis="10000">
    <Connector port="8080"/><Connector port="8081" portOffset="0"/>
    <Engine name="Catalina">
      <Host name="localhost"/>
      <Host name="b" appBase="${none}">
        <Valve className="org.apache.catalina.valves.RemoteCIDRValve" allow="127.0.0.0/8"/>
      </Host>
    </Engine>
  </Service>
  <Service gracefulStopAwaitMillis="${none}"><Connector port="9090"/></Service>
</Server>"#;
    let read = parse(text, &Properties::new()).unwrap();
    let told: Vec<_> = read.connectors.iter().map(|c| (c.port, c.awaits_ms)).collect();
    let expected = [(Some(8081), Some(10_000)), (Some(8081), Some(10_000)), (Some(9091), None)];
    assert_eq!(told, expected);
    let host = |name: &str, app_base: Option<&str>, is_guarded| Host {
        engine: "Catalina".to_owned(),
        name: name.to_owned(),
        app_base: app_base.map(str::to_owned),
        is_guarded,
    };
    assert_eq!(read.hosts, [host("localhost", Some("webapps"), false), host("b", None, true)]);
}

#[test]
fn what_is_not_plain_xml_is_refused() {
    let entity = r#"<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Server>&a;</Server>"#;
    let deep = "<a>".repeat(15_000) + &"</a>".repeat(15_000);
    let wide = format!("<Server>{}</Server>", "<a/>".repeat(30_000));
    for text in ["", "<Server>", "no", entity, &wide] {
        assert!(parse(text, &Properties::new()).is_err());
    }
    // Whatever is made of it, it does not overflow the stack.
    let _ = parse(&deep, &Properties::new());
}

#[test]
fn guards_are_seen() {
    let valve = |class: &str| format!("<Context><Valve className=\"{class}\"/></Context>");
    let guarded = |text: &str| is_guarded(text).unwrap();
    assert!(guarded(&valve("org.apache.catalina.valves.RemoteCIDRValve")));
    assert!(guarded(&valve("org.apache.catalina.valves.RemoteAddrValve")));
    assert!(!guarded(&valve("org.apache.catalina.valves.AccessLogValve")));
    assert!(!guarded("<Context path=\"/manager\" privileged=\"true\"/>"));
    assert!(!guarded("<Context><!-- <Valve className=\"RemoteCIDRValve\"/> --></Context>"));
}

#[test]
fn properties_files_are_read() {
    let text = "# a=1\n! b=2\n  port = 8080\ncolon:x\nspace y\n\nlong=a,\\\n   b\nempty=\nlone\nback=c:\\\\\nlast\\";
    let mut known = properties(&[("port", "1"), ("kept", "k")]);
    read_properties(text, &mut known);
    let expected = properties(&[
        ("port", "8080"),
        ("kept", "k"),
        ("colon", "x"),
        ("space", "y"),
        ("long", "a,b"),
        ("empty", ""),
        ("back", "c:\\\\"),
    ]);
    assert_eq!(known, expected);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[<>/=\"$ {}a-zA-Z:&;!\\[\\]\\\\\n-]{0,200}") {
        let mut known = Properties::new();
        read_properties(&text, &mut known);
        let _ = parse(&text, &known);
        let _ = parse(&format!("<Server><Service><Connector port='1'>{text}"), &known);
        let _ = resolve(&text, &known);
    }
}
