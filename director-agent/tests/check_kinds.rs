//! Every kind of check against servers on loopback. Those of gRPC and TLS are real; those of mail, Redis, `MySQL` and names are fakes
//! that speak a few lines of the protocol.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_director::checks::{Means, Outcome, try_once};
use fulcrum_director::decide::check::CheckKey;
use fulcrum_director::track::command::CommandHome;
use fulcrum_model::{
    BodyDigest, Check, CommandCheck, DnsCheck, DnsRecord, FileCheck, GrpcCheck, HttpCheck,
    HttpPage, Port, ProbeKind, RedisCheck, SmtpCheck, TlsCheck, UdpCheck, Weight,
};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(100);

fn key(address: SocketAddr, probe: ProbeKind, timeout: Duration) -> CheckKey {
    // What has no port is tried at any.
    let port = Port::new(u64::from(address.port().max(1))).expect("a port");
    CheckKey::new(address.ip(), port, &Check { probe, timeout, ..Check::default() })
}

async fn outcome(address: SocketAddr, probe: ProbeKind) -> Outcome {
    try_once(&key(address, probe, SECOND), &Means::default()).await
}

fn failed(seen: &str) -> Outcome {
    Outcome::Failed(seen.to_owned())
}

/// What a fake says.
type Lines = &'static [&'static [u8]];

/// Serves: the first line at once, and then an answer to each thing that it is told. It then listens on.
async fn talker(lines: Lines) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A client that has heard enough hangs up.
            let _ = talk(&mut stream, lines).await;
        }
    });
    address
}

async fn talk(stream: &mut TcpStream, lines: &[&[u8]]) -> io::Result<()> {
    let mut heard = [0; 1024];
    let mut lines = lines.iter();
    if let Some(first) = lines.next() {
        stream.write_all(first).await?;
    }
    for line in lines {
        if stream.read(&mut heard).await? == 0 {
            return Ok(());
        }
        stream.write_all(line).await?;
    }
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

/// Answers each datagram.
async fn datagrams(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut heard = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut heard).await {
            let answer = answer(&heard[..length]);
            if !answer.is_empty() {
                // The client may have given up.
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn mail_servers_greet() {
    let helo = || ProbeKind::Smtp(SmtpCheck { helo: "d1.example".to_owned() });
    let cases: [(Lines, Outcome); 5] = [
        (&[b"220-mx\r\n220 ready\r\n", b"250-mx\r\n250 HELP\r\n"], Outcome::Passed),
        (&[b"220 ready\r\n", b"502 what?\r\n", b"250 mx\r\n"], Outcome::Passed),
        (&[b"554 no service\r\n"], failed("SMTP greeted with \"554 no service\"")),
        (&[b"220 ready\r\n", b"421 later\r\n"], failed("SMTP answered \"421 later\" to EHLO")),
        (&[b"hello\r\n"], failed("no SMTP answer: \"hello\"")),
    ];
    for (lines, expected) in cases {
        assert_eq!(outcome(talker(lines).await, helo()).await, expected);
    }
}

#[tokio::test]
async fn redis_says_pong() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "secret\n").expect("written");
    let with = || Some(file.display().to_string());
    let cases: [(Option<String>, Lines, Result<(), &str>); 5] = [
        (None, &[b"", b"+PONG\r\n"], Ok(())),
        (None, &[b"", b"-NOAUTH Authentication required.\r\n"], Ok(())),
        (
            None,
            &[b"", b"-LOADING Redis is loading the dataset in memory\r\n"],
            Err("Redis answered \"-LOADING Redis is loading the dataset in memory\" to PING"),
        ),
        (with(), &[b"", b"+OK\r\n", b"+PONG\r\n"], Ok(())),
        (None, &[b"", b"HTTP/1.1 400\r\n"], Err("Redis answered \"HTTP/1.1 400\" to PING")),
    ];
    for (password_file, lines, expected) in cases {
        let probe = ProbeKind::Redis(RedisCheck { password_file });
        let found = try_once(&key(talker(lines).await, probe, MOMENT), &Means::default()).await;
        assert_eq!(found, expected.map_or_else(failed, |()| Outcome::Passed));
    }
    let probe = ProbeKind::Redis(RedisCheck { password_file: None });
    let half =
        try_once(&key(talker(&[b"", b"+PONG"]).await, probe, MOMENT), &Means::default()).await;
    assert_eq!(half, Outcome::Silent("Redis timed out after 100ms".to_owned()));
    let probe = ProbeKind::Redis(RedisCheck { password_file: with() });
    let wrong = outcome(talker(&[b"", b"-WRONGPASS no\r\n"]).await, probe).await;
    assert!(matches!(&wrong, Outcome::NotTried(why) if why.contains("password_file")), "{wrong:?}");
}

#[tokio::test]
async fn mysql_shakes_hands() {
    const GREETING: &[u8] = b"\x05\x00\x00\x00\x0a8.0\x00";
    let cases: [(Lines, Outcome); 5] = [
        (&[GREETING, b"\x0c\x00\x00\x02\xff\x15\x04#28000No."], Outcome::Passed),
        (&[GREETING, b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"], Outcome::Passed),
        (&[b"\x0d\x00\x00\x00\xff\x10\x04Too many.."], failed("MySQL says 1040: Too many..")),
        (&[b"\x01\x00\x00\x00\x05"], failed("no MySQL greeting of protocol 10")),
        (&[b"SSH-2.0-OpenSSH\r\n"], failed("no MySQL: a packet of 4739923 bytes")),
    ];
    for (lines, expected) in cases {
        assert_eq!(outcome(talker(lines).await, ProbeKind::Mysql).await, expected);
    }
}

#[tokio::test]
async fn datagrams_are_answered_or_not() {
    let udp = |min_reply| ProbeKind::Udp(UdpCheck { payload: b"hi".to_vec(), min_reply });
    let echo = datagrams(<[u8]>::to_vec).await;
    let silent = datagrams(|_| Vec::new()).await;
    // Bound and dropped: the kernel says that nobody listens.
    let nobody =
        UdpSocket::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound");
    let refused = format!("send to {nobody} refused");
    let short = format!("{echo} answered 2 bytes, not 3");
    let cases = [
        (echo, udp(Some(2)), Ok(())),
        (echo, udp(Some(3)), Err(short.as_str())),
        (silent, udp(None), Ok(())),
        (nobody, udp(None), Err(refused.as_str())),
    ];
    for (address, probe, expected) in cases {
        let found = try_once(&key(address, probe.clone(), MOMENT), &Means::default()).await;
        assert_eq!(found, expected.map_or_else(failed, |()| Outcome::Passed), "{probe:?}");
    }
    let unheard = try_once(&key(silent, udp(Some(0)), MOMENT), &Means::default()).await;
    assert_eq!(unheard, Outcome::Silent("no answer of UDP within 100ms".to_owned()));
}

#[tokio::test]
async fn name_servers_answer() {
    for (code, expected) in [
        (0, Outcome::Passed),
        (3, Outcome::Passed),
        (2, failed("SOA example.org answered SERVFAIL")),
        (5, failed("SOA example.org answered REFUSED")),
    ] {
        let server = datagrams(move |question| {
            let mut answer = question.to_vec();
            answer[2] |= 0x80;
            answer[3] |= code;
            answer
        });
        let check = DnsCheck { name: "example.org".to_owned(), record: DnsRecord::Soa };
        assert_eq!(outcome(server.await, ProbeKind::Dns(check)).await, expected);
    }
}

#[tokio::test]
async fn hosts_echo() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let address: SocketAddr = address.parse().expect("an address");
        match outcome(address, ProbeKind::Icmp).await {
            Outcome::Passed => {}
            // Not everybody may.
            Outcome::NotTried(why) => assert!(why.contains("CAP_NET_RAW"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// An authority, and a server's configuration with a certificate of it that lasts so long.
fn authority(name: &str, protocols: &[&[u8]]) -> (String, ServerConfig) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([]).expect("no names");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (issuer.pem(), config)
}

/// Answers each TLS connection with `answer`.
async fn tls_server(config: ServerConfig, answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us goes.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut heard = [0; 1024];
            if stream.read(&mut heard).await.is_ok() {
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

#[tokio::test]
async fn certificates_are_looked_at_as_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let (pem, config) = authority("web.example", &[]);
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, pem).expect("written");
    let ca_file = Some(ca_file.display().to_string());
    let server = tls_server(config, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;

    let tls = |name: &str, ca_file: &Option<String>| TlsCheck {
        server_name: Some(name.to_owned()),
        ca_file: ca_file.clone(),
        expiry_warning: None,
    };
    assert_eq!(outcome(server, ProbeKind::Tcp(Some(TlsCheck::default()))).await, Outcome::Passed);
    let verified = ProbeKind::Tcp(Some(tls("web.example", &ca_file)));
    assert_eq!(outcome(server, verified).await, Outcome::Passed);
    let other = outcome(server, ProbeKind::Tcp(Some(tls("other.example", &ca_file)))).await;
    assert!(matches!(&other, Outcome::Failed(why) if why.contains("certificate")), "{other:?}");
    let no_file = Some("/nonexistent/ca.pem".to_owned());
    let absent = outcome(server, ProbeKind::Tcp(Some(tls("web.example", &no_file)))).await;
    assert!(matches!(&absent, Outcome::NotTried(why) if why.contains("ca_file")), "{absent:?}");

    // rcgen's certificates last for thousands of years.
    let far = Duration::from_hours(24 * 365 * 5000);
    let warned = TlsCheck { expiry_warning: Some(far), ..TlsCheck::default() };
    match outcome(server, ProbeKind::Tcp(Some(warned))).await {
        Outcome::Remarked(remark) => {
            assert!(remark.text.contains("its certificate ends at"), "{}", remark.text);
            assert_eq!(remark.weight, None);
        }
        other => panic!("{other:?}"),
    }

    let page = page("/", None, None);
    let check = HttpCheck {
        pages: vec![page],
        host: Some("web.example:443".to_owned()),
        tls: Some(TlsCheck { ca_file, ..TlsCheck::default() }),
    };
    assert_eq!(outcome(server, ProbeKind::Http(check)).await, Outcome::Passed, "by the Host");
}

fn page(path: &str, digest: Option<&str>, body_regex: Option<&str>) -> HttpPage {
    HttpPage {
        path: path.to_owned(),
        statuses: Vec::new(),
        digest: digest.map(|digits| BodyDigest::from_hex(digits).expect("digits")),
        body_regex: body_regex.map(str::to_owned),
    }
}

#[tokio::test]
async fn bodies_are_looked_at_as_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let server = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 1024];
            let length = stream.read(&mut heard).await.unwrap_or(0);
            let body = if heard[..length].starts_with(b"GET /long") {
                vec![b'x'; HttpPage::MAX_BODY + 1]
            } else {
                b"hello".to_vec()
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            // A client that has enough hangs up.
            let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
        }
    });
    let md5 = "5d41402abc4b2a76b9719d911017c592";
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let other = md5.replace('5', "6");
    let mismatch = format!("GET /: the body's digest is {md5}, not {other}");
    let cases: [(Vec<HttpPage>, Result<(), &str>); 7] = [
        (vec![page("/", Some(md5), Some("^hel+o$"))], Ok(())),
        (vec![page("/", Some(sha256), None), page("/b", None, None)], Ok(())),
        (vec![page("/", Some(&other), None)], Err(&mismatch)),
        (
            vec![page("/", None, None), page("/b", None, Some("bye"))],
            Err("GET /b: the body does not match \"bye\""),
        ),
        (vec![page("/long", None, None)], Ok(())),
        (
            vec![page("/long", Some(md5), None)],
            Err("GET /long: the body is longer than 1048576 bytes"),
        ),
        (vec![page("/long", None, Some("^x+$"))], Ok(())),
    ];
    for (pages, expected) in cases {
        let probe = ProbeKind::Http(HttpCheck { pages, host: None, tls: None });
        let found = outcome(server, probe).await;
        assert_eq!(found, expected.map_or_else(failed, |()| Outcome::Passed));
    }
}

#[tokio::test]
async fn grpc_servers_tell_their_health() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("web", tonic_health::ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let server = listener.local_addr().expect("bound");
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    let grpc =
        |service: &str| ProbeKind::Grpc(GrpcCheck { service: service.to_owned(), tls: None });
    assert_eq!(outcome(server, grpc("")).await, Outcome::Passed);
    assert_eq!(outcome(server, grpc("web")).await, failed("service web is NOT_SERVING"));
    let unknown = outcome(server, grpc("shop")).await;
    assert!(
        matches!(&unknown, Outcome::Failed(why) if why.contains("shop: NotFound")),
        "{unknown:?}"
    );
    let noise = talker(&[b"SSH-2.0-OpenSSH\r\n"]).await;
    assert!(matches!(outcome(noise, grpc("")).await, Outcome::Failed(_)));
}

fn script(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
}

#[tokio::test]
async fn programs_and_files_decide() {
    let directory = tempfile::tempdir().expect("a directory");
    script(
        directory.path(),
        "is",
        "test \"$1:$2\" = 127.0.0.1:80 || { echo \"got $1:$2\"; exit 1; }",
    );
    script(directory.path(), "weigh", "exit $1");
    script(directory.path(), "hang", "exec sleep 60");
    let command = |program: &str, arguments: &[&str], sets_weight| {
        ProbeKind::Command(CommandCheck {
            program: program.to_owned(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            sets_weight,
        })
    };
    let address: SocketAddr = "127.0.0.1:80".parse().expect("an address");
    let means =
        Means::new(Some(CommandHome { directory: directory.path().to_owned(), user: None }));
    let run = async |probe, timeout| try_once(&key(address, probe, timeout), &means).await;
    assert_eq!(run(command("is", &["{rip}", "{port}"], false), SECOND).await, Outcome::Passed);
    let told = run(command("is", &["x", "{port}"], false), SECOND).await;
    assert_eq!(told, failed("command is failed, exit status: 1: got x:80"));
    assert_eq!(run(command("weigh", &["0"], true), SECOND).await, Outcome::Passed);
    match run(command("weigh", &["42"], true), SECOND).await {
        Outcome::Remarked(remark) => {
            assert_eq!(remark.weight, Weight::new(40).ok());
            assert_eq!(remark.text, "command weigh gives weight 40");
        }
        other => panic!("{other:?}"),
    }
    let strict = run(command("weigh", &["42"], false), SECOND).await;
    assert_eq!(strict, failed("command weigh failed, exit status: 42"));
    let hung = run(command("hang", &[], false), MOMENT).await;
    assert_eq!(hung, failed("command hang did not end within 100ms and was killed"));
    assert!(matches!(run(command("absent", &[], false), SECOND).await, Outcome::NotTried(_)));
    let nowhere = outcome(address, command("is", &[], false)).await;
    assert!(matches!(&nowhere, Outcome::NotTried(why) if why.contains("track_command_dir")));

    let path = directory.path().join("maintenance").display().to_string();
    let file = || ProbeKind::File(FileCheck { path: path.clone() });
    assert_eq!(outcome(address, file()).await, Outcome::Passed, "no file");
    for (text, expected) in [
        ("0\n", Outcome::Passed),
        ("", Outcome::Passed),
        ("1 until Monday", failed(&format!("{path} holds 1"))),
        ("-3", failed(&format!("{path} holds -3"))),
    ] {
        std::fs::write(&path, text).expect("written");
        assert_eq!(outcome(address, file()).await, expected, "{text:?}");
    }
    std::fs::write(&path, "down").expect("written");
    assert!(matches!(outcome(address, file()).await, Outcome::NotTried(_)));
}

#[tokio::test]
async fn a_source_of_this_host_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let with = |source: &str| {
        let source = Some(source.parse().expect("an address"));
        let probe = ProbeKind::Redis(RedisCheck { password_file: None });
        let check = Check { source, probe, ..Check::default() };
        CheckKey::new(address.ip(), Port::new(address.port().into()).expect("a port"), &check)
    };
    let answered = async {
        let (mut stream, from) = listener.accept().await.expect("a connection");
        stream.write_all(b"+PONG\r\n").await.expect("it listens");
        from
    };
    let (key, means) = (with("127.0.0.7"), Means::default());
    let (outcome, from) = tokio::join!(try_once(&key, &means), answered);
    assert_eq!(outcome, Outcome::Passed);
    assert_eq!(from.ip().to_string(), "127.0.0.7");
    for (source, words) in [
        ("192.0.2.1", "check.source must be an address of this director"),
        ("::1", "check.source must be of the RIP's"),
    ] {
        let outcome = try_once(&with(source), &Means::default()).await;
        assert!(matches!(&outcome, Outcome::NotTried(why) if why.ends_with(words)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_check_by_tcp_reaches_no_program() {
    let means = Means::default();
    for (loopback, source) in
        [("127.0.0.1", None), ("[::1]", None), ("127.0.0.1", Some("127.0.0.7"))]
    {
        let listener = std::net::TcpListener::bind(format!("{loopback}:0")).expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let source = source.map(|source| source.parse().expect("an address"));
        let check = Check { source, ..Check::default() };
        let port = Port::new(address.port().into()).expect("a port");
        let key = CheckKey::new(address.ip(), port, &check);
        // The second is made with what the first has left behind.
        for _ in 0..2 {
            assert_eq!(try_once(&key, &means).await, Outcome::Passed, "{key:?}");
        }
        let accepted = listener.accept().map_err(|error| error.kind());
        assert_eq!(accepted.expect_err("nobody is there"), io::ErrorKind::WouldBlock);
        drop(listener);
        let refused = failed(&format!("connect to {address} refused"));
        assert_eq!(try_once(&key, &means).await, refused, "a socket remembers no answer");
    }
}
