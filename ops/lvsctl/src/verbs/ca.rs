//! `lvsctl ca`

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fulcrum_runtime::authority::{self, Authority, AuthorityError};
use fulcrum_runtime::identity::{Identity, is_trust_domain};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::out;

/// Longest life of a certificate and of an authority, in days.
const MAX_DAYS: u32 = 366;
const MAX_CA_DAYS: u32 = 36_600;

/// What to do with the authority's files. No controller is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an authority for a new cluster: ca.pem, which everybody may have, and ca.key, which is for controllers alone.
    Create {
        /// Directory for ca.pem and ca.key. An authority that is there is left alone.
        directory: PathBuf,
        /// Trust domain of the identities.
        #[arg(long, default_value = "fulcrum", value_name = "DOMAIN")]
        trust_domain: String,
        /// How many days it lasts.
        #[arg(long, default_value_t = 3650, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CA_DAYS)))]
        days: u32,
    },
    /// Give certificates by the authority's key, as for the first controllers and the first administrator: NAME.pem and NAME.key
    /// in the directory of ca.pem and ca.key. Who is there already gets a new certificate for the old key.
    Issue {
        /// Directory of ca.pem and ca.key.
        directory: PathBuf,
        /// Whose: controller/NAME=ADDRESS, with a comma between several addresses, director/NAME, realserver/NAME or operator/NAME.
        #[arg(required = true, value_name = "IDENTITY[=ADDRESS,...]")]
        identities: Vec<String>,
        /// Trust domain of the identities.
        #[arg(long, default_value = "fulcrum", value_name = "DOMAIN")]
        trust_domain: String,
        /// How many days they last.
        #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
        days: u32,
    },
}

pub(crate) fn run(_: &Global, arguments: Arguments) -> Result<Exit, Failure> {
    let now = SystemTime::now();
    let text = match arguments.command {
        Command::Create { directory, trust_domain, days } => {
            create(&directory, &trust_domain, now, in_days(days))?
        }
        Command::Issue { directory, identities, trust_domain, days } => {
            let (ca, key) = (directory.join("ca.pem"), directory.join("ca.key"));
            let authority = Authority::load(&ca, &key).map_err(unusable)?;
            let mut text = String::new();
            for wanted in &identities {
                let (identity, addresses) = parse(wanted, &trust_domain)?;
                text.push_str(&issue(
                    &authority,
                    &directory,
                    &identity,
                    &addresses,
                    now,
                    in_days(days),
                )?);
            }
            text
        }
    };
    out::print(&text)?;
    Ok(Exit::Ok)
}

fn create(
    directory: &Path,
    trust_domain: &str,
    now: SystemTime,
    lasts: Duration,
) -> Result<String, Failure> {
    if !is_trust_domain(trust_domain) {
        let text = format!("--trust-domain {trust_domain:?}: write a-z, 0-9, '.', '-' and '_'");
        return Err(Failure::usage(text));
    }
    let (ca, key) = (directory.join("ca.pem"), directory.join("ca.key"));
    if let Some(there) = [&ca, &key].into_iter().find(|path| path.exists()) {
        let text = format!(
            "{}: there is an authority already, and whoever has a certificate of it needs it: take another directory",
            there.display()
        );
        return Err(Failure::new(Exit::Conflict, text));
    }
    let made = authority::create(trust_domain, now, lasts).map_err(unusable)?;
    save(&key, &made.key)?;
    save(&ca, &made.certificate)?;
    Ok(format!(
        "{}\n{}: keep it on the controllers alone ([access] ca_key), readable by their user\n",
        ca.display(),
        key.display()
    ))
}

/// `controller/c1=192.168.1.131,c1.example`.
fn parse(text: &str, trust_domain: &str) -> Result<(Identity, Vec<String>), Failure> {
    let (path, addresses) = text.split_once('=').unwrap_or((text, ""));
    let identity: Identity = format!("spiffe://{trust_domain}/{path}").parse().map_err(|_| {
        Failure::usage(format!(
            "{path:?}: write controller/NAME, director/NAME, realserver/NAME or operator/NAME, NAME being of a-z, 0-9, '-' and '.'"
        ))
    })?;
    let addresses = addresses.split(',').filter(|address| !address.is_empty());
    let addresses: Vec<String> = addresses.map(ToOwned::to_owned).collect();
    let is_controller = path.starts_with("controller/");
    if is_controller == addresses.is_empty() {
        let text = format!(
            "{text}: a controller's certificate bears the addresses that others reach it by, controller/NAME=ADDRESS; no other does"
        );
        return Err(Failure::usage(text));
    }
    Ok((identity, addresses))
}

fn issue(
    authority: &Authority,
    directory: &Path,
    identity: &Identity,
    addresses: &[String],
    now: SystemTime,
    lasts: Duration,
) -> Result<String, Failure> {
    let name = identity.path().replace('/', "-");
    let (cert, key) =
        (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    let pem = if key.exists() {
        std::fs::read_to_string(&key)
            .map_err(|error| Failure::usage(format!("{}: {error}", key.display())))?
    } else {
        let made = authority::new_key().map_err(unusable)?;
        save(&key, &made)?;
        made
    };
    let request = authority::request(&pem).map_err(unusable)?;
    let given = authority.issue(&request, identity, addresses, now, lasts).map_err(unusable)?;
    save(&cert, &authority::to_pem(&given))?;
    Ok(format!("{} {}\n", cert.display(), key.display()))
}

fn save(path: &Path, text: &str) -> Result<(), Failure> {
    authority::save(path, text).map_err(|error| Failure::new(Exit::Unhealthy, error.to_string()))
}

fn unusable(error: AuthorityError) -> Failure {
    Failure::usage(error.to_string())
}

fn in_days(days: u32) -> Duration {
    Duration::from_hours(u64::from(days) * 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_with_their_addresses() {
        let good = [
            ("controller/c1=192.168.1.131", "spiffe://x/controller/c1", 1),
            ("controller/c1=192.168.1.131,c1.example", "spiffe://x/controller/c1", 2),
            ("director/d1", "spiffe://x/director/d1", 0),
            ("operator/admin", "spiffe://x/operator/admin", 0),
        ];
        for (text, uri, count) in good {
            let (identity, addresses) = parse(text, "x").expect("it is good");
            assert_eq!((identity.to_string().as_str(), addresses.len()), (uri, count));
        }
        for bad in
            ["c1", "controller/c1", "controller/c1=", "director/d1=192.168.1.135", "operator/Admin"]
        {
            assert!(parse(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn an_authority_is_made_once_and_gives_certificates() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, now) = (directory.path(), SystemTime::now());
        create(path, "fulcrum", now, in_days(30)).expect("made");
        assert!(create(path, "fulcrum", now, in_days(30)).is_err(), "it is there");
        let authority = Authority::load(&path.join("ca.pem"), &path.join("ca.key"));
        let authority = authority.expect("it is good");
        let (identity, addresses) = parse("controller/c1=127.0.0.1", "fulcrum").expect("good");
        let issue = || issue(&authority, path, &identity, &addresses, now, in_days(1));
        issue().expect("given");
        let key = || std::fs::read(path.join("controller-c1.key")).expect("it is there");
        let before = key();
        issue().expect("given again");
        assert_eq!(before, key());
        let files = fulcrum_runtime::tls::TlsFiles {
            ca: path.join("ca.pem"),
            cert: path.join("controller-c1.pem"),
            key: path.join("controller-c1.key"),
        };
        let own = fulcrum_runtime::tls::own_identity(&files).expect("it is good");
        assert_eq!(own, Some(identity.clone()));
    }
}
