use std::net::SocketAddr;

use fulcrum_model::{Port, ServerProbe, StatusPage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// What a connector does with a request.
#[derive(Clone, Copy)]
enum Does {
    Answers(u16, &'static str),
    /// It keeps the connection, and says nothing.
    Hangs,
}

/// A connector that does this with its requests, in turn; the last for ever.
async fn connector(does: &'static [Does]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut turn = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let does = does[turn.min(does.len() - 1)];
            turn += 1;
            match does {
                Does::Answers(status, body) => {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n");
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                }
                Does::Hangs => kept.push(stream),
            }
        }
    });
    address
}

const FIRST: &str = r#"{"tomcat":{"connector":[{"name":"http-nio-80","threadInfo":{"maxThreads":4,"currentThreadsBusy":3},"requestInfo":{"requestCount":10,"errorCount":0,"processingTime":100}}],"context":[{"name":"localhost/shop","state":"STOPPED","manager":{"activeSessions":2}}]}}"#;
const SECOND: &str = r#"{"tomcat":{"connector":[{"name":"http-nio-80","threadInfo":{"maxThreads":4,"currentThreadsBusy":3},"requestInfo":{"requestCount":14,"errorCount":0,"processingTime":130}}],"context":[]}}"#;

/// A server whose process is hidden, so that no files are read.
fn looker(traffic: SocketAddr, page: SocketAddr, ops: Option<SocketAddr>) -> Looker {
    let probe = ServerProbe {
        timeout: Duration::from_millis(200),
        status_page: Some(StatusPage {
            url: format!("http://{page}/manager/status/all?JSON=true"),
            user: None,
            password_file: None,
        }),
        ops_url: ops.map(|ops| format!("http://{ops}/healthz")),
        ..ServerProbe::default()
    };
    let server = WatchedServer {
        restart: None,
        drained: false,
        real_server: "web1".parse().unwrap(),
        rip: traffic.ip(),
        port: Port::new(u64::from(traffic.port())).unwrap(),
        probe,
    };
    Looker::new(server, Instant::now())
}

fn told(look: &Look) -> String {
    let words = look.sights.iter().map(|sight| match sight {
        Sight::Load(Some(load)) => {
            let ServerLoad { busy_threads, max_threads, sessions, mean_request_us, .. } = load;
            format!("{busy_threads}/{max_threads} s{sessions} {mean_request_us}us")
        }
        Sight::Load(None) => "no load".to_owned(),
        Sight::Contexts(stopped) => format!("{stopped:?}"),
        Sight::Silent { proof, .. } => format!("silent {proof:?}"),
        other => format!("{other:?}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_page_elsewhere_is_read_and_compared() {
    let page = connector(&[
        Does::Answers(200, FIRST),
        Does::Answers(200, SECOND),
        Does::Hangs,
        Does::Answers(401, ""),
    ])
    .await;
    let traffic = connector(&[Does::Hangs]).await;
    let mut idle = looker(traffic, page, None);
    let cases = [
        (r#"3/4 s2 0us, ["localhost/shop"]"#, Some("Tomcat: context localhost/shop is stopped")),
        ("3/4 s0 7500us, []", None),
        // On another connector its silence says nothing of the server's threads.
        ("no load, []", Some("status page: no answer within 200ms")),
        ("no load, []", Some("status page: 401 Unauthorized: give the user")),
        // It is not asked again, and what keeps it from being read is told on.
        ("no load", Some("status page: 401 Unauthorized: give the user")),
    ];
    for (expected, problem) in cases {
        let (looker, look) = idle.look(None, true).await;
        idle = looker;
        assert_eq!(told(&look), expected);
        let begins = |found: &str| problem.is_some_and(|problem| found.starts_with(problem));
        let is_right = look.problem.as_deref().map_or(problem.is_none(), begins);
        assert!(is_right, "{:?} is not {problem:?}", look.problem);
    }
}

#[tokio::test]
async fn the_own_page_leaves_no_thread_or_is_one_itself() {
    let well = connector(&[Does::Answers(200, "")]).await;
    let ill = connector(&[Does::Answers(503, "")]).await;
    for (ops, expected) in
        [(Some(well), "silent Some(Operations)"), (Some(ill), "silent None"), (None, "silent None")]
    {
        let own = connector(&[Does::Answers(200, SECOND), Does::Hangs]).await;
        let (idle, look) = looker(own, own, ops).look(None, true).await;
        assert_eq!(told(&look), "2/4 s0 0us, []", "one of the three serves the page");
        let (_, look) = idle.look(None, true).await;
        assert_eq!(told(&look), expected);
    }
}

#[tokio::test]
async fn nobody_is_asked_where_nobody_listens() {
    let page = connector(&[Does::Answers(200, FIRST)]).await;
    let (_, look) = looker(page, page, None).look(None, false).await;
    assert_eq!(told(&look), "no load");
    assert!(matches!(look.tomcats, Some(Tomcats::Others(_))));
}
