//! The server's side of TLS: its identity, and the CA whose client certificates it accepts.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

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
    /// Certificates of clients are asked for, not required, and must lead to one of these. Empty: none are asked for.
    pub client_ca: Vec<CertificateDer<'static>>,
}

impl Tls {
    pub(crate) fn config(self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Identity)?;
        let builder = if self.client_ca.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in self.client_ca {
                roots.add(certificate).map_err(|error| TlsError::ClientCa(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::ClientCa(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder.with_single_cert(self.chain, self.key).map_err(TlsError::Identity)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
