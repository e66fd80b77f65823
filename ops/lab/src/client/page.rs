//! The page that tells which web server made it, its request and its answer.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What stands before the web server's name in the page.
const MARK: &str = "served by ";

/// The page of a web server.
pub(crate) fn text(web: &str) -> String {
    format!("<!doctype html><title>Fulcrum lab</title><p>served by {web}.</p>\n")
}

/// The request for a path: HTTP/1.1, one request a connection.
pub(crate) fn request(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// The same for a connection that stays open.
pub(crate) fn kept_request(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Whether an answer has come with all the bytes that it announces (RFC 9112 §6.2).
pub(crate) fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection was not accepted within the second.
    NotAccepted,
    /// The connection was accepted, and the page did not come within the second.
    TimedOut,
    /// The system said so.
    System(ErrorKind),
    /// The connection ended before the page was whole.
    Cut,
    /// Another status than 200, or a page without a name.
    Strange(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAccepted => f.write_str("not accepted in time"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::System(kind) => write!(f, "{kind}"),
            Self::Cut => f.write_str("cut before the end of the page"),
            Self::Strange(first_line) => write!(f, "strange answer {first_line:?}"),
        }
    }
}

/// Looks at an answer as far as it has come: `None` while more must come.
pub(crate) fn judge(answer: &[u8], at_end: bool) -> Option<Result<String, Failure>> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return at_end.then_some(Err(Failure::Cut));
    };
    let first_line = head.lines().next().unwrap_or_default();
    if first_line.split_whitespace().nth(1) != Some("200") {
        return Some(Err(Failure::Strange(first_line.to_owned())));
    }
    let name = body
        .split_once(MARK)
        .and_then(|(_, rest)| rest.split_once(".</p>"))
        .map(|(name, _)| name.to_owned());
    match name {
        Some(name) => Some(Ok(name)),
        None if at_end && body.is_empty() => Some(Err(Failure::Cut)),
        None if at_end => Some(Err(Failure::Strange(first_line.to_owned()))),
        None => None,
    }
}

/// One request with its own connection, in the calling thread's namespace; answers with the whole text.
pub(crate) fn get(target: SocketAddrV4, path: &str, timeout: Duration) -> Result<String> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(target), timeout)?;
    stream.write_all(request(&target.ip().to_string(), path).as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no answer within {timeout:?}");
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the answer was cut"),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_has_the_length_that_it_announces() {
        let answer = "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello";
        assert!(is_whole(answer.as_bytes()));
        for length in 0..answer.len() {
            assert!(!is_whole(&answer.as_bytes()[..length]), "{length} bytes");
        }
        assert!(!is_whole(b"HTTP/1.1 200 \r\n\r\nhello"));
    }

    #[test]
    fn an_answer_is_judged_as_it_comes() {
        let ok = "HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\n".to_owned();
        let whole = format!("{ok}{}", text("web2"));
        let cases = [
            ("", false, None),
            ("", true, Some(Err(Failure::Cut))),
            ("HTTP/1.1 200 \r\n", true, Some(Err(Failure::Cut))),
            (&ok, false, None),
            (&whole, false, Some(Ok("web2".to_owned()))),
            (
                "HTTP/1.1 503 \r\n\r\n",
                false,
                Some(Err(Failure::Strange("HTTP/1.1 503 ".to_owned()))),
            ),
            (
                "HTTP/1.1 200 \r\n\r\nhello",
                true,
                Some(Err(Failure::Strange("HTTP/1.1 200 ".to_owned()))),
            ),
        ];
        for (answer, at_end, expected) in cases {
            assert_eq!(judge(answer.as_bytes(), at_end), expected, "{answer:?}");
        }
    }
}
