//! Whom a client of the API server trusts, and who it is.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use world::World;

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The CAs of a PEM bundle.
    Bundle(Vec<u8>),
    /// Those of the system.
    System,
    /// Anybody (`insecureSkipTLSVerify`).
    Anybody,
}

/// Who the client is, for servers that ask.
pub(crate) struct ClientIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Whether a bundle has a certificate that can be trusted.
///
/// # Errors
/// In the words of upstream's client.
pub(crate) fn check_bundle(pem: &[u8]) -> Result<(), String> {
    match CertificateDer::pem_slice_iter(pem).any(|certificate| certificate.is_ok()) {
        true => Ok(()),
        false => Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned()),
    }
}

/// A client's side of TLS. `roots` are the system's.
///
/// # Errors
/// If the bundle has no certificate, or the identity's key cannot be used.
pub(crate) fn config(
    world: &World,
    trust: &Trust,
    roots: &[CertificateDer<'static>],
    identity: Option<ClientIdentity>,
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    if let Trust::Bundle(pem) = trust {
        check_bundle(pem)?;
    }
    let trusted: Vec<CertificateDer<'static>> = match trust {
        Trust::Bundle(pem) => CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect(),
        Trust::System | Trust::Anybody => roots.to_vec(),
    };
    let verifier = Verifier::new(provider.clone(), trusted, *trust == Trust::Anybody);
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Clock(world.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(identity.chain, identity.key).map_err(|error| error.to_string())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Clock(World);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Verifies servers as web clients do, and takes one whose own certificate is trusted too: self-signed ones, which webhooks often
/// have, are their own CA.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trusted: Vec<CertificateDer<'static>>,
    /// None when nobody is trusted.
    chains: Option<Arc<WebPkiServerVerifier>>,
    anybody: bool,
}

impl Verifier {
    fn new(provider: Arc<CryptoProvider>, trusted: Vec<CertificateDer<'static>>, anybody: bool) -> Verifier {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok();
        Verifier { provider, trusted, chains, anybody }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.anybody {
            return Ok(ServerCertVerified::assertion());
        }
        let by_chain = match &self.chains {
            Some(chains) => chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let judged_name = matches!(
            by_chain,
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ))
        );
        if by_chain.is_ok() || judged_name || !self.trusted.iter().any(|own| own.as_ref() == end_entity.as_ref()) {
            return by_chain;
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match k8s_auth::pki::is_valid_at(end_entity, world::Timestamp::from_seconds(seconds)) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::Expired.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
