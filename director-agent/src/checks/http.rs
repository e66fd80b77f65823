//! HTTP GETs of a real server, each on a connection of its own.

use std::net::IpAddr;

use bytes::Bytes;
use fulcrum_model::{BodyDigest, HttpCheck, HttpPage};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use md5::Md5;
use regex::bytes::Regex;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

use super::endpoint::Endpoint;
use super::{Attempt, Outcome, failed, tls};

/// Gets every page, in order.
pub(super) async fn get(endpoint: &Endpoint, check: &HttpCheck) -> Attempt {
    let mut remark = None;
    for page in &check.pages {
        remark = remark.or(one(endpoint, check, page).await?);
    }
    Ok(remark)
}

async fn one(endpoint: &Endpoint, check: &HttpCheck, page: &HttpPage) -> Attempt {
    let stream = endpoint.connect().await?;
    let rip = endpoint.address.ip();
    let Some(tls) = &check.tls else {
        judge(page, exchange(stream, request(endpoint, check, page)?, page).await)?;
        return Ok(None);
    };
    // The host's name, without a port, is who is asked for.
    let host = check.host.as_deref().map(|host| host.split(':').next().unwrap_or(host));
    let (stream, remark) = tls::handshake(tls, (rip, host), &[b"http/1.1"], stream).await?;
    judge(page, exchange(stream, request(endpoint, check, page)?, page).await)?;
    Ok(remark)
}

fn request(
    endpoint: &Endpoint,
    check: &HttpCheck,
    page: &HttpPage,
) -> Result<Request<Empty<Bytes>>, Outcome> {
    let path = &page.path;
    let host = check.host.clone().unwrap_or_else(|| match endpoint.address.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    });
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "fulcrum-director")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    request.map_err(|error| Outcome::NotTried(format!("GET {path} cannot be formed: {error}")))
}

/// Longest head of an answer that is read.
const HEAD_BYTES: usize = 64 << 10;

/// What came of a GET.
struct Answer {
    status: StatusCode,
    body: Looked,
}

/// What is kept of a body.
#[derive(Default)]
struct Looked {
    digest: Option<BodyDigest>,
    /// Its first bytes.
    first: Vec<u8>,
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The body is waited for only where it is looked at.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
    page: &HttpPage,
) -> Result<Answer, Fault> {
    let stream = TokioIo::new(stream);
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(stream).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = if page.wants_body() {
            look(response.into_body(), page).await?
        } else {
            Looked::default()
        };
        Ok(Answer { status, body })
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection's end also ends the answer, with the reason.
        _ = &mut connection => answer.await,
    }
}

/// Reads a body as far as it is looked at.
async fn look(mut body: Incoming, page: &HttpPage) -> Result<Looked, Fault> {
    let mut hash = page.digest.map(Hash::like);
    let mut first = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if let Some(hash) = &mut hash {
            if length > HttpPage::MAX_BODY {
                return Err(format!("the body is longer than {} bytes", HttpPage::MAX_BODY).into());
            }
            hash.update(&data);
        }
        if page.body_regex.is_some() {
            let room = HttpPage::MATCHED_BODY.saturating_sub(first.len());
            first.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
        if hash.is_none() && length >= HttpPage::MATCHED_BODY {
            break;
        }
    }
    Ok(Looked { digest: hash.map(Hash::end), first })
}

/// A digest that grows.
enum Hash {
    Md5(Md5),
    Sha256(Sha256),
}

impl Hash {
    fn like(wanted: BodyDigest) -> Self {
        match wanted {
            BodyDigest::Md5(_) => Self::Md5(Md5::new()),
            BodyDigest::Sha256(_) => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(data),
            Self::Sha256(hash) => hash.update(data),
        }
    }

    fn end(self) -> BodyDigest {
        match self {
            Self::Md5(hash) => BodyDigest::Md5(hash.finalize().into()),
            Self::Sha256(hash) => BodyDigest::Sha256(hash.finalize().into()),
        }
    }
}

fn judge(page: &HttpPage, answer: Result<Answer, Fault>) -> Result<(), Outcome> {
    let path = &page.path;
    let Answer { status, body } = match answer {
        Ok(answer) => answer,
        Err(error) => return failed(format!("GET {path}: {error}")),
    };
    if !page.accepts(status.as_u16()) {
        return failed(format!("GET {path} answered {}", status.as_u16()));
    }
    if let (Some(wanted), Some(found)) = (page.digest, body.digest)
        && found != wanted
    {
        return failed(format!("GET {path}: the body's digest is {found}, not {wanted}"));
    }
    if let Some(pattern) = &page.body_regex {
        // What does not compile was refused at Apply.
        let regex = Regex::new(pattern).map_err(|error| Outcome::NotTried(error.to_string()))?;
        if !regex.is_match(&body.first) {
            return failed(format!("GET {path}: the body does not match {pattern:?}"));
        }
    }
    Ok(())
}
