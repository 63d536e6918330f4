//! How the API server shows itself to kubelets, and which of them it believes.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::webhook::{ClientIdentity, Trust};

/// A certificate that the API server shows to others, with its key.
#[derive(Clone)]
pub struct ClientCertificate {
    /// Its own first, then those that lead to an authority.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Arc<PrivateKeyDer<'static>>,
}

impl ClientCertificate {
    pub(crate) fn identity(&self) -> ClientIdentity {
        ClientIdentity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// The API server as a client of kubelets (`--kubelet-*`).
#[derive(Clone, Default)]
pub struct Kubelets {
    /// How the `spec.providerID` begins of nodes that are nothing but objects, as their pods are, so that there is nobody to connect to.
    /// Nodes of others are reached as everywhere.
    pub simulated: Option<&'static str>,
    /// Of kubelets' certificates, as PEM; whatever a kubelet shows is taken when empty.
    pub authorities_pem: Vec<u8>,
    pub certificate: Option<ClientCertificate>,
}

impl Kubelets {
    pub(super) fn client(&self) -> (Trust, Option<ClientIdentity>) {
        let trust = match self.authorities_pem.is_empty() {
            true => Trust::Anybody,
            false => Trust::Bundle(self.authorities_pem.clone()),
        };
        (trust, self.certificate.as_ref().map(ClientCertificate::identity))
    }
}
