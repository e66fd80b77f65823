//! Servers that are spoken to line by line: SMTP (RFC 5321) and Redis (its own protocol, RESP).

use std::io;

use fulcrum_model::{RedisCheck, SmtpCheck};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use super::{Attempt, Outcome, failed};

/// Longest line that is read: more than either protocol's (RFC 5321 section 4.5.3.1.5).
const LINE_BYTES: u64 = 1024;
/// Most lines of an answer.
const MOST_LINES: usize = 64;
/// Longest password in bytes.
const PASSWORD_BYTES: usize = 1024;

/// A conversation.
struct Conversation {
    stream: BufReader<TcpStream>,
    /// Which protocol, for people.
    with: &'static str,
}

impl Conversation {
    async fn open(endpoint: &Endpoint, with: &'static str) -> Result<Self, Outcome> {
        Ok(Self { stream: BufReader::new(endpoint.connect().await?), with })
    }

    async fn say(&mut self, words: &[u8]) -> Result<(), Outcome> {
        self.stream.write_all(words).await.map_err(|error| self.fault(&error))
    }

    async fn line(&mut self) -> Result<String, Outcome> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE_BYTES).read_until(b'\n', &mut line).await;
        read.map_err(|error| self.fault(&error))?;
        if !line.ends_with(b"\n") {
            let why = if line.is_empty() { "hung up" } else { "sent no whole line" };
            return failed(format!("{} {why}", self.with));
        }
        Ok(printable(&line))
    }

    fn fault(&self, error: &io::Error) -> Outcome {
        Outcome::Failed(format!("{}: {error}", self.with))
    }
}

/// A line without its end, and without what moves a terminal's cursor.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Hears the greeting, says EHLO, or HELO where that is refused, and takes its leave.
pub(super) async fn smtp(endpoint: &Endpoint, check: &SmtpCheck) -> Attempt {
    let mut server = Conversation::open(endpoint, "SMTP").await?;
    let (code, line) = smtp_answer(&mut server).await?;
    if code != 220 {
        return failed(format!("SMTP greeted with {line:?}"));
    }
    let helo = &check.helo;
    server.say(format!("EHLO {helo}\r\n").as_bytes()).await?;
    let (mut code, mut line) = smtp_answer(&mut server).await?;
    // It does not know EHLO (RFC 5321 section 4.1.4).
    if matches!(code, 500 | 502 | 504) {
        server.say(format!("HELO {helo}\r\n").as_bytes()).await?;
        (code, line) = smtp_answer(&mut server).await?;
    }
    if code != 250 {
        return failed(format!("SMTP answered {line:?} to EHLO"));
    }
    // Whether it hears this is of no matter.
    let _ = server.say(b"QUIT\r\n").await;
    Ok(None)
}

/// The code of an answer, and its last line.
async fn smtp_answer(server: &mut Conversation) -> Result<(u16, String), Outcome> {
    for _ in 0..MOST_LINES {
        let line = server.line().await?;
        let code = line.get(..3).and_then(|digits| digits.parse().ok());
        match (code, line.as_bytes().get(3)) {
            (Some(_), Some(b'-')) => {}
            (Some(code), Some(b' ') | None) => return Ok((code, line)),
            (None, _) | (Some(_), Some(_)) => return failed(format!("no SMTP answer: {line:?}")),
        }
    }
    failed("an SMTP answer has no end")
}

/// Asks Redis for a PONG.
pub(super) async fn redis(endpoint: &Endpoint, check: &RedisCheck) -> Attempt {
    let password = match &check.password_file {
        None => None,
        Some(file) => Some(password(file).await?),
    };
    let mut server = Conversation::open(endpoint, "Redis").await?;
    if let Some(password) = &password {
        let mut words = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n", password.len()).into_bytes();
        words.extend_from_slice(password);
        words.extend_from_slice(b"\r\n");
        server.say(&words).await?;
        let line = server.line().await?;
        if line.starts_with("-WRONGPASS") || line.starts_with("-ERR invalid password") {
            // It lives, and we do not know more.
            return Err(Outcome::NotTried(format!(
                "Redis answers {line:?}: put the right password into the check's password_file"
            )));
        }
    }
    server.say(b"*1\r\n$4\r\nPING\r\n").await?;
    let line = server.line().await?;
    if line == "+PONG" || (line.starts_with("-NOAUTH") && password.is_none()) {
        return Ok(None);
    }
    failed(format!("Redis answered {line:?} to PING"))
}

async fn password(file: &str) -> Result<Vec<u8>, Outcome> {
    let fault = |why: String| {
        Outcome::NotTried(format!(
            "{file}: {why}; check.redis.password_file must hold the password"
        ))
    };
    let text = tokio::fs::read(file).await.map_err(|error| fault(error.to_string()))?;
    let password = text.trim_ascii_end();
    if password.is_empty() || password.len() > PASSWORD_BYTES {
        return Err(fault(format!("holds {} bytes", password.len())));
    }
    Ok(password.to_vec())
}
