//! HTTP GETs of a real server, each on a connection of its own.

use std::net::IpAddr;

use bytes::Bytes;
use fulcrum_model::{BodyDigest, HttpCheck, HttpPage};
use http_body_util::{BodyExt as _, Empty, Limited};
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

/// The status, and the body where that is looked at.
type Answer = (StatusCode, Bytes);

/// The body is waited for only where it is looked at.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
    page: &HttpPage,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = if page.wants_body() {
            Limited::new(response.into_body(), HttpPage::MAX_BODY).collect().await?.to_bytes()
        } else {
            Bytes::new()
        };
        Ok((status, body))
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection's end also ends the answer, with the reason.
        _ = &mut connection => answer.await,
    }
}

fn judge(
    page: &HttpPage,
    answer: Result<Answer, Box<dyn std::error::Error + Send + Sync>>,
) -> Result<(), Outcome> {
    let path = &page.path;
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(error) => return failed(format!("GET {path}: {error}")),
    };
    if !page.accepts(status.as_u16()) {
        return failed(format!("GET {path} answered {}", status.as_u16()));
    }
    if let Some(wanted) = page.digest {
        let found = match wanted {
            BodyDigest::Md5(_) => BodyDigest::Md5(Md5::digest(&body).into()),
            BodyDigest::Sha256(_) => BodyDigest::Sha256(Sha256::digest(&body).into()),
        };
        if found != wanted {
            return failed(format!("GET {path}: the body's digest is {found}, not {wanted}"));
        }
    }
    if let Some(pattern) = &page.body_regex {
        // What does not compile was refused at Apply.
        let regex = Regex::new(pattern).map_err(|error| Outcome::NotTried(error.to_string()))?;
        if !regex.is_match(&body) {
            return failed(format!("GET {path}: the body does not match {pattern:?}"));
        }
    }
    Ok(())
}
