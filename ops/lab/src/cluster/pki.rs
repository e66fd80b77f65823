//! Certificates of the lab's programs. Where they are, every program speaks TLS and wants a certificate of who speaks to it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd,
};

use crate::net::topology::{CONTROLLERS, DIRECTORS, Node};

/// Name of the certificate of whoever runs `lvsctl`.
pub(crate) const OPERATOR: &str = "operator";
/// How long the authority lasts.
const AUTHORITY: Duration = Duration::from_hours(365 * 24);

/// The authority, which is the lab's alone.
#[derive(Debug)]
pub(crate) struct Pki {
    directory: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// Files of a program.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// Makes an authority. Programs that are started from now on speak TLS, until [`Self::remove`].
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        let directory = directory(dir);
        fs::create_dir_all(&directory)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(1970, 1, 1) + in_so_long(AUTHORITY)?;
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(directory.join("ca.pem"), authority.pem())?;
        Ok(Self { directory, authority })
    }

    /// Gives `name` a certificate that ends after `lasts`, in place of the one that it had.
    pub(crate) fn issue(&self, name: &str, address: IpAddr, lasts: Duration) -> Result<()> {
        let mut params = CertificateParams::new(vec![name.to_owned(), address.to_string()])?;
        let uri = format!("spiffe://fulcrum/{}", identity(name));
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        // Every program is a server to some and a client to others.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(1970, 1, 1) + in_so_long(lasts)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.authority)?;
        let files = at(&self.directory, name);
        fs::write(&files.key, key.serialize_pem())?;
        fs::write(&files.cert, certificate.pem())
            .with_context(|| format!("cannot write {}", files.cert.display()))
    }

    /// Programs speak plain text again from their next start on.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(self.directory).context("cannot remove the certificates")
    }
}

/// Those of a program; none where it has none.
pub(crate) fn files(dir: &Path, name: &str) -> Option<Files> {
    let files = at(&directory(dir), name);
    files.cert.exists().then_some(files)
}

/// Who the program of that name is: the controllers hold each caller to its identity.
fn identity(name: &str) -> String {
    let is_any = |nodes: &[Node]| nodes.iter().any(|node| node.name == name);
    if is_any(&CONTROLLERS) {
        format!("controller/{name}")
    } else if is_any(&DIRECTORS) {
        format!("director/{name}")
    } else if name == OPERATOR {
        "operator/admin".to_owned()
    } else {
        format!("realserver/{name}")
    }
}

fn at(directory: &Path, name: &str) -> Files {
    Files {
        ca: directory.join("ca.pem"),
        cert: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    }
}

fn directory(dir: &Path) -> PathBuf {
    dir.join("pki")
}

/// From 1970 on.
fn in_so_long(lasts: Duration) -> Result<Duration> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("before 1970")? + lasts)
}
