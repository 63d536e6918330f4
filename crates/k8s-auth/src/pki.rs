//! Keys and certificates of a cluster, each byte of which comes from the world: P-256 keys drawn from its randomness and
//! deterministic signatures (RFC 6979), so that two simulated runs of one seed are equal. Never io, never ambient time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_object::UserInfo;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use world::{Timestamp, World};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long an authority is valid: as long as EKS's.
const AUTHORITY_VALID: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long what it signs is valid: a year, as upstream's kubeadm has it.
const LEAF_VALID: Duration = Duration::from_secs(365 * 86_400);
/// Certificates begin a little before they are made, for clients whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Bytes of a serial number; RFC 5280 allows 20.
const SERIAL_BYTES: usize = 16;

/// The attribute of a subject that is the user's uid (apimachinery `asn1.X509UID`).
const UID: &str = "1.3.6.1.4.1.57683.2";

/// A key or certificate cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    #[error("the private key is not a P-256 key in PKCS#8: {0}")]
    Key(String),
    #[error("the certificate cannot be made: {0}")]
    Make(String),
    #[error("the certificate cannot be read: {0}")]
    Read(String),
    #[error("the certificate is valid from {from} to {to}, not at {now}")]
    NotValid { from: Timestamp, to: Timestamp, now: Timestamp },
    #[error("the certificate names nobody: its subject has no common name")]
    NoName,
    #[error("the certificate of {0:?} is not for authenticating clients")]
    NotForClients(String),
    #[error("expected 1 UID, but found multiple: {0:?}")]
    ManyUids(Vec<String>),
    #[error("UID cannot be an empty string")]
    EmptyUid,
}

/// A P-256 private key. Cheap to clone.
#[derive(Clone)]
pub struct PrivateKey {
    signing: Arc<SigningKey>,
    /// The public point in SEC 1's uncompressed form.
    public: Arc<[u8]>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    /// A new key from the world's randomness.
    pub fn generate(world: &World) -> PrivateKey {
        loop {
            let mut bytes = [0; 32];
            world.fill(&mut bytes);
            // All but one in 2^32 draws are below the curve's order.
            if let Ok(signing) = SigningKey::from_slice(&bytes) {
                return PrivateKey::of(signing);
            }
        }
    }

    /// Reads PKCS#8 in PEM.
    pub fn from_pem(pem: &str) -> Result<PrivateKey, PkiError> {
        SigningKey::from_pkcs8_pem(pem).map(PrivateKey::of).map_err(|error| PkiError::Key(error.to_string()))
    }

    fn of(signing: SigningKey) -> PrivateKey {
        let public = signing.verifying_key().to_encoded_point(false).as_bytes().into();
        PrivateKey { signing: Arc::new(signing), public }
    }

    /// PKCS#8 in PEM.
    pub fn to_pem(&self) -> String {
        self.signing.to_pkcs8_pem(LineEnding::LF).expect("a P-256 key can be encoded").to_string()
    }

    /// PKCS#8 in DER, as rustls takes it.
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        let der = self.signing.to_pkcs8_der().expect("a P-256 key can be encoded");
        PrivatePkcs8KeyDer::from(der.as_bytes().to_vec()).into()
    }

    /// The key itself, for signatures that are no certificates.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// Identifies the public key: SHA-256 of its point.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.public).into()
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: DerSignature = self.signing.sign(message);
        Ok(signature.as_bytes().to_vec())
    }
}

/// A private key and the certificate for it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub key: PrivateKey,
    pub certificate: CertificateDer<'static>,
}

impl Identity {
    /// The certificate in PEM.
    pub fn certificate_pem(&self) -> String {
        certificate_pem(&self.certificate)
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A server under these names and addresses.
    Server { names: Vec<String>, addresses: Vec<IpAddr> },
    /// A client who is this user, in this group. (A subject made by rcgen holds one organization; subjects that are read may hold many.)
    Client { user: String, group: Option<String> },
}

/// A cluster's certificate authority.
#[derive(Clone, Debug)]
pub struct Authority {
    identity: Identity,
    name: String,
}

impl Authority {
    /// A new authority that calls itself `name`.
    pub fn generate(world: &World, name: &str) -> Result<Authority, PkiError> {
        let key = PrivateKey::generate(world);
        let params = authority_params(world, name, &key);
        let certificate = params.self_signed(&key).map_err(make)?.der().clone();
        Ok(Authority { identity: Identity { key, certificate }, name: name.to_owned() })
    }

    /// An authority from what [`Authority::key_pem`] and [`Authority::certificate_pem`] gave.
    pub fn from_pem(name: &str, key: &str, certificate: &str) -> Result<Authority, PkiError> {
        let key = PrivateKey::from_pem(key)?;
        let (_, parsed) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|error| PkiError::Read(error.to_string()))?;
        Ok(Authority { identity: Identity { key, certificate: parsed.contents.into() }, name: name.to_owned() })
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.identity.certificate
    }

    /// The same in PEM: what `certificateAuthority.data` holds, in base64.
    pub fn certificate_pem(&self) -> String {
        self.identity.certificate_pem()
    }

    /// The private key in PEM.
    pub fn key_pem(&self) -> String {
        self.identity.key.to_pem()
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> &PrivateKey {
        &self.identity.key
    }

    /// A new key with a certificate for it.
    pub fn issue(&self, world: &World, purpose: &Purpose) -> Result<Identity, PkiError> {
        let key = PrivateKey::generate(world);
        let mut params = params(world, &key, LEAF_VALID);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match purpose {
            Purpose::Server { names, addresses } => {
                params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                for name in names {
                    params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(make)?));
                }
                params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
            }
            Purpose::Client { user, group } => {
                params.distinguished_name.push(DnType::CommonName, user.as_str());
                if let Some(group) = group {
                    params.distinguished_name.push(DnType::OrganizationName, group.as_str());
                }
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let authority = authority_params(world, &self.name, &self.identity.key);
        let issuer = Issuer::new(authority, &self.identity.key);
        let certificate = params.signed_by(&key, &issuer).map_err(make)?.der().clone();
        Ok(Identity { key, certificate })
    }
}

fn make(error: impl std::fmt::Display) -> PkiError {
    PkiError::Make(error.to_string())
}

fn authority_params(world: &World, name: &str, key: &PrivateKey) -> CertificateParams {
    let mut params = params(world, key, AUTHORITY_VALID);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    params
}

fn params(world: &World, key: &PrivateKey, valid: Duration) -> CertificateParams {
    let mut serial = [0; SERIAL_BYTES];
    world.fill(&mut serial);
    serial[0] &= 0x7f; // Serial numbers are positive.
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(world.now() - BACKDATE);
    params.not_after = date(world.now() + valid);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.fingerprint()[..20].to_vec());
    params.use_authority_key_identifier_extension = true;
    params
}

fn date(timestamp: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(timestamp.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A request, in PEM, for a certificate of a subject under these names and addresses.
///
/// # Errors
/// If a name is none.
pub fn request_pem(
    key: &PrivateKey,
    name: &str,
    group: &str,
    names: &[&str],
    addresses: &[IpAddr],
) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, group);
    for name in names {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into().map_err(make)?));
    }
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.serialize_request(key).and_then(|request| request.pem()).map_err(make)
}

/// A certificate in PEM.
pub fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Whom a request for a certificate names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

/// Reads the subject of a certificate signing request in PEM.
///
/// # Errors
/// If it is none.
pub fn subject_of_request(pem: &[u8]) -> Result<Subject, PkiError> {
    let read = |error: String| PkiError::Read(error);
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|error| read(error.to_string()))?;
    if !["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].contains(&block.label.as_str()) {
        return Err(read("PEM block type must be CERTIFICATE REQUEST".to_owned()));
    }
    let (_, request) = x509_parser::certification_request::X509CertificationRequest::from_der(&block.contents)
        .map_err(|error| read(error.to_string()))?;
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or("");
    let organizations = subject.iter_organization().filter_map(|group| group.as_str().ok());
    Ok(Subject { common_name: name.to_owned(), organizations: organizations.map(str::to_owned).collect() })
}

/// Whether a certificate, in DER, can be read and is valid at a moment.
pub fn is_valid_at(der: &[u8], now: Timestamp) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    (from..=to).contains(&now.seconds())
}

/// The user whom a client certificate names, if it is valid now. That it was signed by the cluster's authority, TLS has checked.
pub fn user_of_certificate(der: &[u8], now: Timestamp) -> Result<UserInfo, PkiError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| PkiError::Read(error.to_string()))?;
    let validity = certificate.validity();
    let from = Timestamp::from_seconds(validity.not_before.timestamp());
    let to = Timestamp::from_seconds(validity.not_after.timestamp());
    if now < from || now > to {
        return Err(PkiError::NotValid { from, to, now });
    }
    let subject = certificate.subject();
    let usage = certificate.extended_key_usage().map_err(|error| PkiError::Read(error.to_string()))?;
    if !usage.is_some_and(|usage| usage.value.client_auth || usage.value.any) {
        return Err(PkiError::NotForClients(subject.to_string()));
    }
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).filter(|name| !name.is_empty());
    let groups: Vec<&str> = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    let mut user = UserInfo::new(name.ok_or(PkiError::NoName)?, &groups);
    let uids =
        subject.iter().flat_map(|part| part.iter()).filter(|attribute| attribute.attr_type().to_id_string() == UID);
    let mut uids: Vec<String> = uids.filter_map(|attribute| attribute.as_str().ok().map(str::to_owned)).collect();
    user.uid = match (uids.pop(), uids.is_empty()) {
        (None, _) => String::new(),
        (Some(uid), true) if uid.is_empty() => return Err(PkiError::EmptyUid),
        (Some(uid), true) => uid,
        (Some(uid), false) => {
            uids.push(uid);
            return Err(PkiError::ManyUids(uids));
        }
    };
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let credential = vec![format!("X509SHA256={fingerprint}")];
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), credential);
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: u64) -> (Authority, Identity, Timestamp) {
        let (world, _simulation) = World::simulated(seed);
        let authority = Authority::generate(&world, "kubernetes").unwrap();
        let purpose = Purpose::Client { user: "jane".into(), group: Some("system:masters".into()) };
        let client = authority.issue(&world, &purpose).unwrap();
        (authority, client, world.now())
    }

    #[test]
    fn a_client_certificate_names_user_and_group() {
        let (_, client, now) = made(1);
        let user = user_of_certificate(&client.certificate, now).unwrap();
        assert_eq!(user.username, "jane");
        assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    }

    #[test]
    fn a_subject_may_hold_a_uid_and_only_one() {
        let (world, _simulation) = World::simulated(1);
        let key = PrivateKey::generate(&world);
        let of = |uids: &[&str]| {
            let mut params = params(&world, &key, LEAF_VALID);
            params.distinguished_name.push(DnType::CommonName, "jane");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            for uid in uids {
                params.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), *uid);
            }
            let certificate = params.self_signed(&key).unwrap();
            user_of_certificate(certificate.der(), world.now()).map(|user| user.uid)
        };
        assert_eq!(of(&[]), Ok(String::new()));
        assert_eq!(of(&["7"]), Ok("7".to_owned()));
        assert_eq!(of(&[""]), Err(PkiError::EmptyUid));
    }

    #[test]
    fn certificates_end() {
        let (_, client, now) = made(1);
        for moment in [now - Duration::from_secs(3600), now + LEAF_VALID + Duration::from_secs(1)] {
            assert!(
                matches!(user_of_certificate(&client.certificate, moment), Err(PkiError::NotValid { .. })),
                "{moment}"
            );
        }
    }

    #[test]
    fn one_seed_gives_the_same_bytes_and_another_others() {
        let bytes = |seed| {
            let (authority, client, _) = made(seed);
            (authority.certificate().to_vec(), authority.key_pem(), client.certificate.to_vec())
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn the_authority_signed_it_and_survives_pem() {
        use p256::ecdsa::signature::Verifier;
        let (authority, client, _) = made(1);
        let (_, parsed) = X509Certificate::from_der(&client.certificate).unwrap();
        let signature = DerSignature::try_from(&*parsed.signature_value.data).unwrap();
        let verifying = authority.identity.key.signing_key().verifying_key();
        verifying.verify(parsed.tbs_certificate.as_ref(), &signature).unwrap();
        let again = Authority::from_pem("kubernetes", &authority.key_pem(), &authority.certificate_pem()).unwrap();
        assert_eq!(again.certificate(), authority.certificate());
        assert_eq!(parsed.issuer().to_string(), "CN=kubernetes");
    }

    #[test]
    fn a_server_is_no_client() {
        let (world, _simulation) = World::simulated(1);
        let authority = Authority::generate(&world, "kubernetes").unwrap();
        let purpose = Purpose::Server { names: vec!["localhost".into()], addresses: Vec::new() };
        let server = authority.issue(&world, &purpose).unwrap();
        assert!(matches!(user_of_certificate(&server.certificate, world.now()), Err(PkiError::NotForClients(_))));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let (_, _, now) = made(1);
        assert!(matches!(user_of_certificate(&CertificateDer::from(vec![1, 2, 3]), now), Err(PkiError::Read(_))));
        assert!(PrivateKey::from_pem("nonsense").is_err());
    }
}
