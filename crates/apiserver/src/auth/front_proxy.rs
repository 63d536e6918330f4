//! Who a proxy in front says that a client is (authentication by request headers), and how its certificate is told from those of
//! clients: TLS takes both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use k8s_object::UserInfo;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use world::Timestamp;

use super::options::FrontProxy;
use crate::http::decode;

/// Certificates of which it is remembered whether they lead to an authority; the memory begins anew beyond that.
const MAX_REMEMBERED: usize = 4096;
/// Values of one header that are looked at.
const MAX_VALUES: usize = 256;

/// The authorities of one purpose.
pub(super) struct Chains {
    verifier: Arc<dyn ClientCertVerifier>,
    /// By the certificate's digest: a signature is looked at once, not with every request.
    known: Mutex<BTreeMap<[u8; 32], bool>>,
}

impl Chains {
    /// # Errors
    /// If a certificate cannot be used as an authority.
    pub(super) fn new(authorities: &[CertificateDer<'static>]) -> Result<Chains, String> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Chains { verifier: verifier.map_err(|error| error.to_string())?, known: Mutex::default() })
    }

    /// Whether the first certificate leads to one of the authorities. That it is valid now is for the caller to look at, since
    /// it may be remembered.
    pub(super) fn lead(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> bool {
        let Some((own, between)) = chain.split_first() else { return false };
        let digest: [u8; 32] = Sha256::digest(own).into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leads) = known.get(&digest) {
            return *leads;
        }
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.seconds().unsigned_abs()));
        let leads = self.verifier.verify_client_cert(own, between, at).is_ok();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(digest, leads);
        leads
    }
}

/// What a proxy's headers say. Nothing when they name nobody.
pub(super) fn user(headers: &HeaderMap, names: &FrontProxy) -> Option<UserInfo> {
    let username = first(headers, &names.username_headers)?;
    let groups = names.group_headers.iter().flat_map(|name| all(headers, name)).filter(|value| !value.is_empty());
    let mut user = UserInfo { username, groups: groups.collect(), ..UserInfo::default() };
    user.uid = first(headers, &names.uid_headers).unwrap_or_default();
    for prefix in &names.extra_header_prefixes {
        let prefix = prefix.to_lowercase();
        for name in headers.keys() {
            if let Some(key) = name.as_str().strip_prefix(&prefix) {
                user.extra.entry(decode(key, false)).or_default().extend(all(headers, name.as_str()));
            }
        }
    }
    user.add_authenticated();
    Some(user)
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let values = headers.get_all(name.to_lowercase()).iter().take(MAX_VALUES);
    values.filter_map(|value| value.to_str().ok()).map(str::to_owned)
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().filter_map(|name| all(headers, name).next()).find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_a_user() {
        let names = FrontProxy::new(Vec::new(), &[]);
        let of = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            user(&headers, &names)
        };
        assert_eq!(of(&[("x-remote-group", "a")]), None);
        assert_eq!(of(&[("x-remote-user", "")]), None);
        let jane = of(&[
            ("x-remote-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-group", ""),
            ("x-remote-group", "b"),
            ("x-remote-extra-example.com%2fscope", "s"),
        ]);
        let jane = jane.unwrap();
        assert_eq!((jane.username.as_str(), jane.uid.as_str()), ("jane", "7"));
        assert_eq!(jane.groups, ["a", "b", "system:authenticated"]);
        assert_eq!(jane.extra["example.com/scope"], ["s"]);
        let stranger =
            of(&[("x-remote-user", "system:anonymous"), ("x-remote-group", "system:unauthenticated")]).unwrap();
        assert_eq!(stranger.groups, ["system:unauthenticated"]);
    }
}
