//! Sending: to programs of the test's own that speak just enough of SMTP and HTTP (the lab has a real mail server), and to commands.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use fulcrum_model::{CommandChannel, Port, SmtpChannel, SmtpTls, WebhookChannel};
use fulcrum_proto::v1;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::cluster::SOON;

fn sender(channel: &'static str) -> Sender {
    Sender {
        policy: "ops".to_owned(),
        channel,
        controller: "c1".to_owned(),
        cluster_id: "abc".to_owned(),
    }
}

fn message() -> Message {
    let event = v1::Event {
        sequence: 7,
        text: "real server web1 is out of web".to_owned(),
        severity: v1::EventSeverity::Warning.into(),
        ..Default::default()
    };
    Message { events: vec![(Arc::new(event), 1)], upto: 7, lost_some: false }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it has an address").port();
    (listener, port)
}

/// Takes one mail, answering RCPT with `rcpt`, and gives all that was said.
async fn mail_server(rcpt: &'static str) -> (u16, JoinHandle<String>) {
    let (listener, port) = listen().await;
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("somebody comes");
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let (mut said, mut is_text) = (String::new(), false);
        write.write_all(b"220 test ESMTP\r\n").await.expect("it reads");
        while let Ok(Some(line)) = lines.next_line().await {
            said.push_str(&line);
            said.push('\n');
            let answer = match line.split(' ').next().unwrap_or_default() {
                "." if is_text => {
                    is_text = false;
                    "250 taken\r\n"
                }
                _ if is_text => continue,
                "EHLO" => "250 test\r\n",
                "RCPT" => rcpt,
                "DATA" => {
                    is_text = true;
                    "354 go on\r\n"
                }
                "QUIT" => "221 bye\r\n",
                _ => "250 ok\r\n",
            };
            if write.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
        said
    });
    (port, served)
}

fn smtp(port: u16) -> SmtpChannel {
    SmtpChannel {
        server: "127.0.0.1".to_owned(),
        port: Port::new(u64::from(port)).expect("it is one"),
        from: "lvs@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned(), "night@example.com".to_owned()],
        connect_timeout: SOON,
        router_id: Some("lvs-1".to_owned()),
        tls: SmtpTls::None,
        ca_file: None,
        login: None,
    }
}

#[tokio::test]
async fn a_mail_goes_to_all_with_its_identity() {
    let (port, served) = mail_server("250 ok\r\n").await;
    let way = Way::Smtp(smtp(port));
    send(&way, &message(), &sender("smtp"), &Home::default()).await.expect("it is taken");
    drop(way);
    let said = served.await.expect("it does not panic");
    for expected in [
        "EHLO lvs-1",
        "MAIL FROM:<lvs@example.com>",
        "RCPT TO:<ops@example.com>",
        "RCPT TO:<night@example.com>",
        "Subject: [lvs-1] warning: real server web1 is out of web",
        "Message-ID: <ops.smtp.7-7.abc@lvs-1>",
        "Auto-Submitted: auto-generated",
        "policy ops, told by controller c1",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
}

#[tokio::test]
async fn a_mail_server_that_refuses_or_is_not_there_is_told_in_its_words() {
    let (port, served) = mail_server("550 no such user here\r\n").await;
    let way = Way::Smtp(smtp(port));
    let error = send(&way, &message(), &sender("smtp"), &Home::default()).await;
    let error = error.expect_err("it is refused").to_string();
    assert!(error.contains("no such user here"), "{error}");
    served.await.expect("it does not panic");

    let (listener, port) = listen().await;
    drop(listener);
    let way = Way::Smtp(smtp(port));
    let error = send(&way, &message(), &sender("smtp"), &Home::default()).await;
    let error = error.expect_err("nobody listens").to_string();
    assert!(error.starts_with("127.0.0.1: "), "{error}");

    // TLS that the server does not offer is no reason to send in plain text.
    let (port, _served) = mail_server("250 ok\r\n").await;
    let channel = SmtpChannel { tls: SmtpTls::StartTls, ..smtp(port) };
    let error = send(&Way::Smtp(channel), &message(), &sender("smtp"), &Home::default()).await;
    error.expect_err("it has no STARTTLS");
}

/// Takes a POST for each status and answers so, and gives all requests.
async fn web_server(statuses: &'static [&'static str]) -> (u16, JoinHandle<Vec<String>>) {
    let (listener, port) = listen().await;
    let served = tokio::spawn(async move {
        let mut requests = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            let (mut said, mut part) = (String::new(), [0; 4096]);
            let whole = |said: &str| {
                let (head, body) = said.split_once("\r\n\r\n")?;
                let length = head.lines().find_map(|it| it.strip_prefix("content-length: "))?;
                (body.len() >= length.parse().ok()?).then_some(())
            };
            while whole(&said).is_none() {
                let read = stream.read(&mut part).await.expect("it goes on");
                said.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("it reads");
            requests.push(said);
        }
        requests
    });
    (port, served)
}

#[tokio::test]
async fn a_webhook_that_fails_is_told_and_taken_the_next_time() {
    let secrets = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(secrets.path().join("token"), "s3cret\n").expect("it can be written");
    let home = Home { secrets: Some(secrets.path().to_owned()), commands: None };
    let (port, served) = web_server(&["500 Oops", "204 No Content"]).await;
    let way = Way::Webhook(WebhookChannel {
        url: format!("http://127.0.0.1:{port}/hook?x=1"),
        timeout: SOON,
        headers: [("X-Team".to_owned(), "lvs".to_owned())].into(),
        ca_file: None,
        bearer_token_file: Some("token".to_owned()),
    });
    let error = send(&way, &message(), &sender("webhook"), &home).await;
    let error = error.expect_err("500 is no success").to_string();
    assert!(error.ends_with("answered 500 Internal Server Error"), "{error}");
    send(&way, &message(), &sender("webhook"), &home).await.expect("it is taken");
    let requests = served.await.expect("it does not panic");
    for request in &requests {
        for expected in [
            "POST /hook?x=1 HTTP/1.1",
            "authorization: Bearer s3cret",
            "x-team: lvs",
            "idempotency-key: ops.webhook.7-7.abc",
            "\"text\":\"real server web1 is out of web\"",
        ] {
            assert!(request.contains(expected), "{expected} is not in {request}");
        }
    }
    let nowhere = Home::default();
    let error = send(&way, &message(), &sender("webhook"), &nowhere).await;
    let error = error.expect_err("it has no secrets").to_string();
    assert!(error.contains("set secret_dir"), "{error}");
}

#[tokio::test]
async fn a_command_gets_the_events_and_must_be_of_this_host() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = directory.path();
    let taken = place.join("taken");
    let write = |name: &str, text: &str, mode: u32| {
        let path = place.join(name);
        std::fs::write(&path, text).expect("it can be written");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("it is ours");
    };
    let script = format!("#!/bin/sh\necho \"$1 $HOME\" >{0}\ncat >>{0}\n", taken.display());
    write("good", &script, 0o755);
    write("bad", "#!/bin/sh\necho no pager >&2\nexit 3\n", 0o755);
    write("slow", "#!/bin/sh\nexec sleep 600\n", 0o755);
    write("open", "#!/bin/sh\n", 0o777);
    std::os::unix::fs::symlink("good", place.join("link")).expect("it can be made");
    let home = Home { secrets: None, commands: Some(place.to_owned()) };
    let command = |program: &str, timeout: Duration| {
        let (program, arguments) = (program.to_owned(), vec!["a b".to_owned()]);
        Way::Command(CommandChannel { program, arguments, timeout })
    };
    let sender = sender("command");
    send(&command("good", SOON), &message(), &sender, &home).await.expect("it ends well");
    let text = std::fs::read_to_string(&taken).expect("it ran");
    let (first, rest) = text.split_once('\n').expect("two lines");
    assert_eq!(first, "a b ", "it has its argument, and nothing of the environment");
    let json: serde_json::Value = serde_json::from_str(rest).expect("it is JSON");
    assert_eq!(json["events"][0]["text"], "real server web1 is out of web");
    let cases = [
        ("bad", SOON, "exit status: 3: no pager"),
        ("slow", Duration::from_millis(200), "did not end within 200ms"),
        ("open", SOON, "others may change it"),
        ("link", SOON, "is a link"),
        ("none", SOON, "No such file"),
    ];
    for (program, timeout, expected) in cases {
        let error = send(&command(program, timeout), &message(), &sender, &home).await;
        let error = error.expect_err("it fails").to_string();
        assert!(error.contains(expected), "{program}: {error}");
    }
    let error = send(&command("good", SOON), &message(), &sender, &Home::default()).await;
    assert!(error.expect_err("it runs none").to_string().contains("set command_dir"));
}
