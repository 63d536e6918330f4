//! The server's side of TLS: its identity, and the CA whose client certificates it accepts.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, RootCertStore, ServerConfig};

/// The identity or the client CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the server's certificate or key cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    #[error("a CA certificate for clients cannot be used: {0}")]
    ClientCa(String),
}

/// A server's identity.
pub struct Tls {
    /// The server's certificate first, then those that lead to its root.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub clients: Clients,
}

/// Whose certificates a server takes. The lists are of authorities that they must lead to.
pub enum Clients {
    /// None are asked for.
    Anyone,
    /// They are asked for, and a client without one is somebody too.
    MayBeKnown(Vec<CertificateDer<'static>>),
    /// Nobody gets a connection without one.
    MustBeKnown(Vec<CertificateDer<'static>>),
}

impl Tls {
    pub(crate) fn config(self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        // The same security for all that a cluster carries, and a third less work than with keys of 256 bits.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Identity)?;
        let (authorities, required) = match self.clients {
            Clients::Anyone => (Vec::new(), false),
            Clients::MayBeKnown(authorities) => (authorities, false),
            Clients::MustBeKnown(authorities) => (authorities, true),
        };
        // An empty list with a requirement is an error of the verifier, and not everyone's way in.
        let builder = if authorities.is_empty() && !required {
            builder.with_no_client_auth()
        } else {
            let refused = |error: &dyn std::fmt::Display| TlsError::ClientCa(error.to_string());
            let mut roots = RootCertStore::empty();
            for certificate in authorities {
                roots.add(certificate).map_err(|error| refused(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| refused(&error))?)
        };
        let mut config = builder.with_single_cert(self.chain, self.key).map_err(TlsError::Identity)?;
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
