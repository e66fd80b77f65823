//! How a program comes to its certificate, and keeps one: by a join token once, and then by renewal long before the end.
//!
//! The private key is made here and stays here. Whoever has files of a PKI of its own needs none of this: a certificate that the
//! controllers' authority did not give is left alone.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fulcrum_proto::convert::{from_hex, to_hex};
use fulcrum_proto::v1;
use fulcrum_proto::v1::access_service_client::AccessServiceClient;
use fulcrum_runtime::any_certificate::AnyCertificate;
use fulcrum_runtime::authority::{self, AuthorityError};
use fulcrum_runtime::backoff::Backoff;
use fulcrum_runtime::tls::{ClientTls, TlsError, TlsFiles};
use fulcrum_runtime::transport::{self, TransportError};
use fulcrum_runtime::{certificate, identity};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

/// What a token begins with.
const PREFIX: &str = "fulcrum-join";
/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause between attempts to join: the token may be made later than the program is started.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A certificate is looked at this often, or earlier where its end is near.
const LOOK_EVERY: Duration = Duration::from_hours(1);
const LOOK_SOONEST: Duration = Duration::from_secs(5);

/// What `lvsctl token create` prints and a program joins by: `fulcrum-join:NAME:SECRET:FINGERPRINT`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the `JoinToken`.
    pub name: String,
    /// What only who joins knows.
    pub secret: [u8; 32],
    /// SHA-256 of the authority's certificate.
    pub authority: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, secret, authority } = self;
        write!(f, "{PREFIX}:{name}:{}:{}", to_hex(secret), to_hex(authority))
    }
}

/// A text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join token: give what `lvsctl token create` printed, {PREFIX}:NAME:SECRET:FINGERPRINT"
)]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [PREFIX, name, secret, authority] = parts[..] else { return Err(NoToken) };
        let name = Some(name).filter(|name| !name.is_empty()).ok_or(NoToken)?;
        let (secret, authority) = (from_hex(secret), from_hex(authority));
        let (secret, authority) = (secret.ok_or(NoToken)?, authority.ok_or(NoToken)?);
        Ok(Self { name: name.to_owned(), secret, authority })
    }
}

/// A certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No channel.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A key or a certificate cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a token.
    #[error(transparent)]
    Token(#[from] NoToken),
    /// The authority is another one than the token names.
    #[error(
        "{endpoint} has another authority than the token names: it is no controller of the cluster that made the token, or somebody is in \
         between"
    )]
    AnotherAuthority {
        /// Who was asked.
        endpoint: String,
    },
    /// The certificate that came cannot be used.
    #[error("the certificate that came cannot be used: {0}")]
    Certificate(String),
    /// The controller refused or did not answer.
    #[error("{endpoint}: {message}")]
    Refused {
        /// Who was asked.
        endpoint: String,
        /// In its words.
        message: String,
    },
}

/// Gets a certificate by a token from the first controller that gives one, and writes `ca`, `key` and `cert`, which comes last. A `key` that is
/// there is used. Gives the identity of the certificate.
///
/// # Errors
/// [`CredentialsError`] of the last controller that was asked.
pub async fn join(
    token: &Token,
    endpoints: &[String],
    files: &TlsFiles,
) -> Result<String, CredentialsError> {
    let key = own_key(&files.key)?;
    let request = authority::request(&key)?;
    let mut last = CredentialsError::Certificate("there is no controller to ask".to_owned());
    for endpoint in endpoints {
        match join_at(endpoint, token, &request).await {
            Ok(v1::JoinResponse { certificate, authority }) => {
                let who = check(&certificate)?;
                save(&files.ca, &authority)?;
                save(&files.cert, &certificate)?;
                return Ok(who);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn join_at(
    endpoint: &str,
    token: &Token,
    request: &[u8],
) -> Result<v1::JoinResponse, CredentialsError> {
    // Who answers is not known yet, so nothing but what everybody may know is asked.
    let mut any = AnyCertificate::new().client().map_err(unusable)?;
    any.alpn_protocols = vec![b"h2".to_vec()];
    let channel = transport::connect_once(endpoint, Arc::new(any))?;
    let asked = v1::GetAuthorityRequest {};
    let authority =
        ask(endpoint, channel, |mut client| async move { client.get_authority(asked).await });
    let authority = authority.await?.certificate;
    if authority::digest(&authority) != token.authority {
        return Err(CredentialsError::AnotherAuthority { endpoint: endpoint.to_owned() });
    }
    // From here on it is: the secret goes to who has a certificate of that authority alone.
    let config = ClientTls::without_certificate(&authority)?;
    let channel = transport::connect_once(endpoint, Arc::new(config))?;
    let asked = v1::JoinRequest {
        token: token.name.clone(),
        secret: to_hex(&token.secret),
        request: request.to_vec(),
    };
    let answer = ask(endpoint, channel, |mut client| async move { client.join(asked).await });
    let answer = answer.await?;
    if answer.authority != authority {
        return Err(CredentialsError::AnotherAuthority { endpoint: endpoint.to_owned() });
    }
    Ok(answer)
}

/// Gets a new certificate for the key that there is, shown the old one, and writes `cert`.
///
/// # Errors
/// [`CredentialsError`] of the last controller that was asked.
pub async fn renew(endpoints: &[String], files: &TlsFiles) -> Result<String, CredentialsError> {
    let request = authority::request(&own_key(&files.key)?)?;
    let mut last = CredentialsError::Certificate("there is no controller to ask".to_owned());
    for endpoint in endpoints {
        let channel = transport::connect_lazy(endpoint, Some(files))?;
        let asked = v1::RenewRequest { request: request.clone() };
        let answer = ask(endpoint, channel, |mut client| async move { client.renew(asked).await });
        match answer.await {
            Ok(v1::RenewResponse { certificate, authority: _ }) => {
                let who = check(&certificate)?;
                save(&files.cert, &certificate)?;
                return Ok(who);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How a program keeps its certificate.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// Where it is.
    pub files: TlsFiles,
    /// File with a join token, for when there is no certificate yet.
    pub token: Option<PathBuf>,
    /// Controllers to ask, in this order.
    pub endpoints: Vec<String>,
}

impl Keeper {
    /// Joins if there is no certificate, then renews it when half of its time is left, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        if let Some(token) = &self.token
            && !self.files.cert.exists()
        {
            self.join(token).await;
        }
        let mut was_told = false;
        loop {
            let look = self.until_renewal(SystemTime::now());
            tokio::time::sleep(look.unwrap_or(LOOK_EVERY).clamp(LOOK_SOONEST, LOOK_EVERY)).await;
            if self.until_renewal(SystemTime::now()) != Some(Duration::ZERO) {
                continue;
            }
            match renew(&self.endpoints, &self.files).await {
                Ok(who) => {
                    tracing::info!(who, "the certificate was renewed");
                    was_told = false;
                }
                Err(error) => {
                    // Once: where there is a PKI of its own that is how it stays, and doctor tells of the end.
                    if !std::mem::replace(&mut was_told, true) {
                        tracing::warn!(%error, "the certificate is not renewed");
                    }
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
            }
        }
    }

    async fn join(&self, token: &Path) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut told = String::new();
        loop {
            let joined = async {
                let token: Token = read(token)?.parse()?;
                join(&token, &self.endpoints, &self.files).await
            };
            match joined.await {
                Ok(who) => {
                    tracing::info!(who, "joined: there is a certificate");
                    return;
                }
                Err(error) => {
                    let text = error.to_string();
                    if told != text {
                        tracing::warn!(error = text, "cannot join; trying on");
                        told = text;
                    }
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// How long the certificate is good before it is to be renewed; none where it cannot be read.
    fn until_renewal(&self, now: SystemTime) -> Option<Duration> {
        let der = authority::first_certificate(&self.files.cert).ok()?;
        let (begins, ends) = certificate::validity(&der).ok()?;
        let due = ends.checked_sub(ends.duration_since(begins).ok()? / 2)?;
        Some(due.duration_since(now).unwrap_or(Duration::ZERO))
    }
}

async fn ask<T, F>(
    endpoint: &str,
    channel: Channel,
    call: impl FnOnce(AccessServiceClient<Channel>) -> F,
) -> Result<T, CredentialsError>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let refused =
        |message: String| CredentialsError::Refused { endpoint: endpoint.to_owned(), message };
    let answer =
        tokio::time::timeout(ANSWER_TIMEOUT, call(AccessServiceClient::new(channel))).await;
    let answer = answer.map_err(|_| refused("no answer for 10 s".to_owned()))?;
    let answer = answer.map_err(|status| refused(crate::attach::words(&status)))?;
    Ok(answer.into_inner())
}

/// The key of a file, which is made if there is none.
fn own_key(path: &Path) -> Result<String, CredentialsError> {
    if path.exists() {
        return read(path);
    }
    let key = authority::new_key()?;
    authority::save(path, &key)
        .map_err(|source| CredentialsError::File { path: path.to_owned(), source })?;
    Ok(key)
}

/// Whose the certificate is.
fn check(certificate: &[u8]) -> Result<String, CredentialsError> {
    match identity::identity(certificate) {
        Ok(Some(who)) => Ok(who.to_string()),
        Ok(None) => Err(CredentialsError::Certificate("it has no identity".to_owned())),
        Err(error) => Err(CredentialsError::Certificate(error.to_string())),
    }
}

fn save(path: &Path, certificate: &[u8]) -> Result<(), CredentialsError> {
    authority::save(path, &authority::to_pem(certificate))
        .map_err(|source| CredentialsError::File { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, CredentialsError> {
    std::fs::read_to_string(path)
        .map_err(|source| CredentialsError::File { path: path.to_owned(), source })
}

fn unusable(error: impl std::fmt::Display) -> CredentialsError {
    CredentialsError::Certificate(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        let token = Token { name: "d1-x".to_owned(), secret: [1; 32], authority: [0xab; 32] };
        let text = token.to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("0101"), "secrets are not logged: {token:?}");
        let short = text.strip_suffix('b').expect("its last digit");
        for bad in
            ["", "x", "fulcrum-join:a:b:c", short, &format!("{text}:x"), &text.replace("d1-x", "")]
        {
            assert_eq!(bad.parse::<Token>(), Err(NoToken), "{bad}");
        }
    }

    #[test]
    fn renewal_is_due_when_half_is_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let files = TlsFiles { ca: path("ca"), cert: path("cert"), key: path("key") };
        let begins = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.not_before = begins.into();
        params.not_after = (begins + Duration::from_mins(5)).into();
        let key = rcgen::KeyPair::generate().expect("a key");
        let keeper = Keeper { files, token: None, endpoints: Vec::new() };
        assert_eq!(keeper.until_renewal(begins), None);
        let pem = params.self_signed(&key).expect("it signs").pem();
        std::fs::write(&keeper.files.cert, pem).expect("written");
        let left = |after| keeper.until_renewal(begins + Duration::from_secs(after));
        assert_eq!(left(50), Some(Duration::from_secs(100)));
        assert_eq!(left(150), Some(Duration::ZERO));
        assert_eq!(left(999), Some(Duration::ZERO));
    }
}
