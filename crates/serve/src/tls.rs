//! The server's side of TLS: its identity, and the CA whose client certificates it accepts.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CipherSuite, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

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

/// Whose certificates a server takes.
pub enum Clients {
    /// None are asked for.
    Anyone,
    /// They are asked for, by the names of these authorities. A client without one is somebody too, and one with a certificate of
    /// anybody gets its connection: it has the key of what it shows, and nothing more is known. Whoever makes an identity of
    /// [`crate::Peer::certificates`] must see first that they lead to an authority.
    MayShow(Vec<CertificateDer<'static>>),
    /// Nobody gets a connection without one that leads to these authorities.
    MustBeKnown(Vec<CertificateDer<'static>>),
}

/// Leaves it to the server of requests to judge certificates, so that a client hears in HTTP what is wrong with its own, as Go's
/// `tls.RequestClientCert` has it. The signature of the handshake is looked at as always.
#[derive(Debug)]
struct Unjudged(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Unjudged {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
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
            Clients::MayShow(authorities) => (authorities, false),
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
            let verifier = verifier.build().map_err(|error| refused(&error))?;
            builder.with_client_cert_verifier(if required { verifier } else { Arc::new(Unjudged(verifier)) })
        };
        let mut config = builder.with_single_cert(self.chain, self.key).map_err(TlsError::Identity)?;
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
