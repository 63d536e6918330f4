//! The port through which the API server reaches others: webhooks, aggregated API servers, issuers of tokens.

use std::io;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite};
use world::BoxFuture;

/// A connection in both directions.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Opens connections. Who implements it says what an address means: a pod's may be reached in another way than a host's.
pub trait Dialer: Send + Sync {
    /// A connection to a host, by name or address.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Connection>>>;

    /// Whom to trust where a client names no CA.
    fn roots(&self) -> Vec<CertificateDer<'static>>;
}

/// Names another such file, as for every program in Go and most others.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";
/// Files in which systems keep the CAs that they trust, the first that is there counts.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Connections of this machine.
pub struct Sockets;

impl Dialer for Sockets {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move { Ok(Box::new(serve::connect(host, port).await?) as Box<dyn Connection>) })
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        let bundle = match std::env::var_os(BUNDLE_VARIABLE) {
            Some(path) => std::fs::read(path).ok(),
            None => BUNDLES.iter().find_map(|path| std::fs::read(path).ok()),
        };
        let bundle = bundle.unwrap_or_default();
        CertificateDer::pem_slice_iter(&bundle).filter_map(Result::ok).collect()
    }
}
