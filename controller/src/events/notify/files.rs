//! Files of the controller's host that channels need.

use std::path::PathBuf;

use super::{Fault, Home};

/// Where Debian and others keep the authorities that they trust.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Longest secret in bytes.
const MOST_SECRET_BYTES: usize = 4096;

/// The first line of a file of the directory of secrets.
pub(super) async fn secret(home: &Home, file: &str) -> Result<String, Fault> {
    let Some(directory) = &home.secrets else {
        let text = format!(
            "{file}: this controller has no directory of secrets: set secret_dir of [notifications] in its configuration"
        );
        return Err(Fault(text));
    };
    let path: PathBuf = directory.join(file);
    let text = tokio::fs::read_to_string(&path).await;
    let text = text.map_err(|error| Fault(format!("{}: {error}", path.display())))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > MOST_SECRET_BYTES {
        let text = format!("{}: holds no secret of 1 to {MOST_SECRET_BYTES} bytes", path.display());
        return Err(Fault(text));
    }
    Ok(line.to_owned())
}

/// A PEM file of authorities, and its path.
pub(super) async fn authorities(file: Option<&str>) -> Result<(Vec<u8>, String), Fault> {
    let file = file.unwrap_or(SYSTEM_AUTHORITIES);
    let pem = tokio::fs::read(file).await.map_err(|error| {
        Fault(format!("{file}: {error}; ca_file must be a PEM file on each controller"))
    })?;
    Ok((pem, file.to_owned()))
}
