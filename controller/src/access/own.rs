//! What this controller's own certificate and configuration make of the policy.

use fulcrum_runtime::identity::{Identity, Program};
use fulcrum_runtime::tls::{self, TlsError};

use super::decide::Policy;
use crate::config::{Config, Identities};

/// The trust domain where nothing names another.
pub const DEFAULT_TRUST_DOMAIN: &str = "fulcrum";

/// This controller's certificate does not fit its configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefused {
    /// Identities are required, and it has none.
    #[error(
        "[access] identities = \"required\", but this controller's own certificate has no identity: give it one that names \
         spiffe://{trust_domain}/controller/{name}"
    )]
    Missing {
        /// Its trust domain.
        trust_domain: String,
        /// Its name.
        name: String,
    },
    /// It is somebody else's.
    #[error(
        "this controller's certificate is that of {found}, but it is spiffe://{trust_domain}/controller/{name}: correct [tls] cert, \
         name or [access] trust_domain"
    )]
    Another {
        /// Whose it is.
        found: Box<Identity>,
        /// The configured trust domain, or the certificate's.
        trust_domain: String,
        /// This controller's name.
        name: String,
    },
}

/// The policy that the configuration asks for, given the identity of this controller's own certificate. Where the configuration does not
/// say, identities are required if that has one: whoever gives certificates names for controllers gives them for all.
///
/// # Errors
/// [`IdentityRefused`] when both do not fit.
pub fn policy(config: &Config, own: Option<Identity>) -> Result<Policy, IdentityRefused> {
    let access = &config.access;
    let own_domain = own.as_ref().map(|own| own.trust_domain.clone());
    let trust_domain = access.trust_domain.clone().or(own_domain);
    let trust_domain = trust_domain.unwrap_or_else(|| DEFAULT_TRUST_DOMAIN.to_owned());
    let identities_required = match access.identities {
        Some(Identities::Required) => true,
        Some(Identities::Optional) => false,
        None => own.is_some(),
    };
    let name = config.name.clone();
    match own {
        None if identities_required => Err(IdentityRefused::Missing { trust_domain, name }),
        Some(own)
            if own.program != Program::Controller
                || own.name != name
                || own.trust_domain != trust_domain =>
        {
            Err(IdentityRefused::Another { found: Box::new(own), trust_domain, name })
        }
        Some(_) | None => {
            Ok(Policy { trust_domain, identities_required, admins: access.admins.clone() })
        }
    }
}

/// The identity of this controller's certificate; none when it has none, or one of another spelling and none is required: installations
/// of before have what they have.
///
/// # Errors
/// [`TlsError`] when the certificate cannot be read.
pub fn identity(config: &Config) -> Result<Option<Identity>, TlsError> {
    let Some(files) = &config.tls else { return Ok(None) };
    match tls::own_identity(files) {
        Err(TlsError::Identity { .. })
            if config.access.identities != Some(Identities::Required) =>
        {
            Ok(None)
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_follows_configuration_and_certificate() {
        let uri = |path: &str| Some(format!("spiffe://{path}").parse().expect("it is good"));
        let dev = |domain: Option<&str>, identities| {
            let mut config = Config::dev("data".into());
            config.access.trust_domain = domain.map(ToOwned::to_owned);
            config.access.identities = identities;
            config
        };
        let (required, optional) = (Some(Identities::Required), Some(Identities::Optional));
        let cases = [
            (dev(None, None), None, Ok(("fulcrum", false))),
            (dev(None, optional), None, Ok(("fulcrum", false))),
            (dev(None, required), None, Err("has no identity")),
            (dev(None, None), uri("x.org/controller/dev"), Ok(("x.org", true))),
            (dev(None, optional), uri("x.org/controller/dev"), Ok(("x.org", false))),
            (dev(Some("x.org"), required), uri("x.org/controller/dev"), Ok(("x.org", true))),
            (
                dev(Some("y.org"), None),
                uri("x.org/controller/dev"),
                Err("spiffe://y.org/controller/dev"),
            ),
            (dev(None, optional), uri("x.org/controller/c2"), Err("x.org/controller/c2")),
            (dev(None, optional), uri("x.org/director/dev"), Err("x.org/director/dev")),
        ];
        for (config, own, expected) in cases {
            match (policy(&config, own), expected) {
                (Ok(policy), Ok((domain, is_required))) => {
                    let found = (policy.trust_domain.as_str(), policy.identities_required);
                    assert_eq!(found, (domain, is_required));
                    assert_eq!(policy.admins, ["admin"]);
                }
                (Err(refused), Err(part)) => {
                    assert!(refused.to_string().contains(part), "{refused}");
                }
                (found, expected) => panic!("{found:?}, and not {expected:?}"),
            }
        }
    }
}
