//! How clients are known and allowed, as a cluster is configured. Read from upstream's configuration files in [`super::config`].

use rustls::pki_types::CertificateDer;

use super::oidc::JwtAuthenticator;
use super::webhook::{AuthorizationWebhook, TokenWebhook};
use crate::proxy::ClientCertificate;

/// How a request says who sends it.
#[derive(Clone)]
pub struct Authentication {
    pub anonymous: Anonymous,
    /// Tokens in Secrets of `kube-system` by which new nodes join.
    pub bootstrap_tokens: bool,
    /// Proxies that say who sends a request.
    pub front_proxy: Option<FrontProxy>,
    /// The authorities of clients' certificates. Without one nobody is known by a certificate: TLS takes any.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// Issuers whose tokens are taken.
    pub jwt: Vec<JwtAuthenticator>,
    /// Somebody else who knows tokens, asked after all others.
    pub webhook: Option<TokenWebhook>,
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication {
            anonymous: Anonymous::default(),
            bootstrap_tokens: true,
            front_proxy: None,
            client_authorities: Vec::new(),
            jwt: Vec::new(),
            webhook: None,
        }
    }
}

/// Who decides whether a request is allowed.
#[derive(Clone)]
pub enum Mode {
    /// Nodes, about what concerns them.
    Node,
    /// Roles.
    Rbac,
    Webhook(Box<AuthorizationWebhook>),
}

impl Mode {
    /// What every cluster has.
    pub fn usual() -> Vec<Mode> {
        vec![Mode::Node, Mode::Rbac]
    }
}

/// Who does not say who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anonymous {
    /// Refused everywhere.
    Nowhere,
    /// `system:anonymous` everywhere, as far as authorizers let it.
    Everywhere,
    /// `system:anonymous` on these paths and refused on others.
    On(Vec<String>),
}

impl Default for Anonymous {
    /// As on EKS: the paths that tell health.
    fn default() -> Anonymous {
        Anonymous::On(["/healthz", "/livez", "/readyz", "/version", "/version/"].map(str::to_owned).to_vec())
    }
}

impl Anonymous {
    /// Whether a stranger gets as far as authorization.
    pub(crate) fn lets_in(&self, path: &str) -> bool {
        match self {
            Anonymous::Nowhere => false,
            Anonymous::Everywhere => true,
            Anonymous::On(paths) => paths.iter().any(|own| {
                // The single checks below `/livez` and `/readyz` tell no more than these do.
                own == path || (["/livez", "/readyz"].contains(&own.as_str()) && path.starts_with(&format!("{own}/")))
            }),
        }
    }
}

/// Whom the server believes when it says who somebody else is (`--requestheader-*`).
#[derive(Clone)]
pub struct FrontProxy {
    /// Of the proxies' certificates.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Common names of the proxies' certificates; any when empty.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_header_prefixes: Vec<String>,
    /// What this server shows when it is a front proxy itself, of aggregated servers.
    pub certificate: Option<ClientCertificate>,
}

impl FrontProxy {
    /// Proxies of these authorities and names, with the usual headers.
    pub fn new(authorities: Vec<CertificateDer<'static>>, allowed_names: &[&str]) -> FrontProxy {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        FrontProxy {
            authorities,
            allowed_names: texts(allowed_names),
            username_headers: texts(&["X-Remote-User"]),
            uid_headers: texts(&["X-Remote-Uid"]),
            group_headers: texts(&["X-Remote-Group"]),
            extra_header_prefixes: texts(&["X-Remote-Extra-"]),
            certificate: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_where_they_are_let() {
        let own = Anonymous::On(vec!["/livez".to_owned(), "/x".to_owned()]);
        let cases = [
            (Anonymous::default(), "/readyz/ping", true),
            (Anonymous::default(), "/healthz/ping", false),
            (Anonymous::default(), "/api", false),
            (own.clone(), "/livez/etcd", true),
            (own.clone(), "/livezz", false),
            (own.clone(), "/x", true),
            (own, "/x/y", false),
            (Anonymous::Everywhere, "/api", true),
            (Anonymous::Nowhere, "/livez", false),
        ];
        for (anonymous, path, expected) in cases {
            assert_eq!(anonymous.lets_in(path), expected, "{anonymous:?} {path}");
        }
    }
}
