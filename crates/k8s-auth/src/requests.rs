//! Requests for certificates: what they ask for, and the certificate that an authority makes of one.
//!
//! The names and the key are copied as they stand in the request, of any kind of key, which is why the certificate is written here and
//! not by rcgen, whose subjects and keys are those that it can make itself. Extensions are the signer's: of the
//! request's own only the alternative names count (kube-controller-manager's `PermissiveSigningPolicy`).

use std::net::IpAddr;
use std::time::Duration;

use p256::ecdsa::DerSignature;
use p256::ecdsa::signature::Signer;
use world::{Timestamp, World};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pki::{Authority, PkiError, certificate_pem};

/// Certificates begin a little before they are made.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Those that last shorter than this end no earlier for it.
const SHORT: Duration = Duration::from_secs(8 * 3600);
const SERIAL_BYTES: usize = 16;

/// What a request asks for, as its approvers and signers judge it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateRequest {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub emails: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub uris: Vec<String>,
}

impl CertificateRequest {
    /// Reads a request in PEM.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(pem: &[u8]) -> Result<CertificateRequest, PkiError> {
        with_request(pem, |request| Ok(read(request)))
    }
}

fn unreadable(error: impl std::fmt::Display) -> PkiError {
    PkiError::Read(error.to_string())
}

fn with_request<T>(
    pem: &[u8],
    then: impl FnOnce(&X509CertificationRequest<'_>) -> Result<T, PkiError>,
) -> Result<T, PkiError> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(unreadable)?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(unreadable("PEM block type must be CERTIFICATE REQUEST"));
    }
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(unreadable)?;
    then(&request)
}

fn read(request: &X509CertificationRequest<'_>) -> CertificateRequest {
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or("");
    let organizations = subject.iter_organization().filter_map(|group| group.as_str().ok());
    let mut asked = CertificateRequest {
        common_name: name.to_owned(),
        organizations: organizations.map(str::to_owned).collect(),
        ..CertificateRequest::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => asked.dns_names.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => asked.emails.push((*name).to_owned()),
                GeneralName::URI(name) => asked.uris.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => asked.addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    asked
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// When a certificate in PEM ends; `None` if it cannot be read.
pub fn end_of_certificate(pem: &[u8]) -> Option<Timestamp> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Some(Timestamp::from_seconds(certificate.validity().not_after.timestamp()))
}

impl Authority {
    /// A certificate in PEM for what a request in PEM asks for, good for `usages` (the names of the certificates API) and for
    /// `lifetime`, but no longer than the authority's own. Whether it may be signed is not asked here.
    ///
    /// # Errors
    /// If the request cannot be read, a usage is unknown, or the authority itself has ended.
    pub fn sign_request(
        &self,
        world: &World,
        pem: &[u8],
        usages: &[String],
        lifetime: Duration,
    ) -> Result<String, PkiError> {
        let (_, own) = X509Certificate::from_der(self.certificate()).map_err(unreadable)?;
        let (now, end) = (world.now(), Timestamp::from_seconds(own.validity().not_after.timestamp()));
        if now >= end {
            let why = format!("refusing to sign a certificate that expired in the past: NotAfter={end}");
            return Err(PkiError::Make(why));
        }
        let wanted = if lifetime < SHORT { now + lifetime } else { now + lifetime - BACKDATE };
        let validity = [time(now - BACKDATE), time(wanted.min(end))].concat();
        let mut serial = [0; SERIAL_BYTES];
        world.fill(&mut serial);
        serial[0] = serial[0] & 0x7f | 0x40; // Positive, and no zero in front that DER would not have.
        let algorithm = sequence(&[tlv(OBJECT, ECDSA_WITH_SHA256)]);
        let signed = with_request(pem, |request| {
            let info = &request.certification_request_info;
            Ok(sequence(&[
                tlv(EXPLICIT, &tlv(INTEGER, &[2])), // Version 3.
                tlv(INTEGER, &serial),
                algorithm.clone(),
                own.subject().as_raw().to_vec(),
                tlv(SEQUENCE, &validity),
                info.subject.as_raw().to_vec(),
                info.subject_pki.raw.to_vec(),
                tlv(EXPLICIT + 3, &extensions(&read(request), info.subject.iter().next().is_none(), usages, &own)?),
            ]))
        })?;
        let signature: DerSignature = self.key().signing_key().sign(&signed);
        let signature = tlv(BIT_STRING, &[&[0], signature.as_bytes()].concat());
        let certificate = sequence(&[signed, algorithm, signature]);
        Ok(certificate_pem(&certificate.into()))
    }
}

fn extensions(
    asked: &CertificateRequest,
    has_no_subject: bool,
    usages: &[String],
    authority: &X509Certificate<'_>,
) -> Result<Vec<u8>, PkiError> {
    let (mut bits, mut purposes) = (0u16, Vec::new());
    for usage in usages {
        let bit = KEY_USAGES.iter().find(|(name, _)| name == usage);
        let purpose = EXTENDED_USAGES.iter().position(|(name, _)| name == usage);
        match (bit, purpose) {
            (Some((_, bit)), _) => bits |= 0x8000 >> bit,
            (None, Some(at)) => purposes.push(at),
            (None, None) => return Err(PkiError::Make(format!("unrecognized usage values: [{usage:?}]"))),
        }
    }
    let mut parts = Vec::new();
    if bits != 0 {
        // As few bytes as hold the last bit, and how many bits of the last byte are unused.
        let bytes = bits.to_be_bytes();
        let used = if bytes[1] == 0 { &bytes[..1] } else { &bytes[..] };
        let unused = u8::try_from(bits.trailing_zeros() % 8).unwrap_or(0);
        parts.push(extension(KEY_USAGE, true, &tlv(BIT_STRING, &[&[unused], used].concat())));
    }
    // Two names may stand for one purpose.
    let mut purposes: Vec<&[u8]> = purposes.iter().map(|at| EXTENDED_USAGES[*at].1).collect();
    purposes.sort_by_key(|own| EXTENDED_USAGES.iter().position(|(_, id)| id == own));
    purposes.dedup();
    if !purposes.is_empty() {
        let purposes: Vec<Vec<u8>> = purposes.into_iter().map(|id| tlv(OBJECT, id)).collect();
        parts.push(extension(EXTENDED_KEY_USAGE, false, &sequence(&purposes)));
    }
    parts.push(extension(BASIC_CONSTRAINTS, true, &sequence(&[])));
    let key = authority.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
        _ => None,
    });
    if let Some(key) = key {
        parts.push(extension(AUTHORITY_KEY, false, &sequence(&[tlv(CONTEXT, key)])));
    }
    let names = alternative_names(asked);
    if !names.is_empty() {
        parts.push(extension(ALTERNATIVE_NAMES, has_no_subject, &sequence(&names)));
    }
    Ok(sequence(&parts))
}

fn alternative_names(asked: &CertificateRequest) -> Vec<Vec<u8>> {
    let text = |tag: u8, names: &[String]| -> Vec<Vec<u8>> {
        names.iter().map(|name| tlv(CONTEXT + tag, name.as_bytes())).collect()
    };
    let addresses = asked.addresses.iter().map(|address| match address {
        IpAddr::V4(address) => tlv(CONTEXT + 7, &address.octets()),
        IpAddr::V6(address) => tlv(CONTEXT + 7, &address.octets()),
    });
    let (dns, emails, uris) = (text(2, &asked.dns_names), text(1, &asked.emails), text(6, &asked.uris));
    dns.into_iter().chain(emails).chain(addresses).chain(uris).collect()
}

fn extension(id: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { tlv(BOOLEAN, &[0xff]) } else { Vec::new() };
    sequence(&[tlv(OBJECT, id), critical, tlv(OCTET_STRING, value)])
}

/// Two digits for the year up to 2049, four from then on (RFC 5280, 4.1.2.5).
fn time(at: Timestamp) -> Vec<u8> {
    let digits: String = at.to_string().chars().take(19).filter(char::is_ascii_digit).collect();
    match digits.as_str() {
        digits if digits < "2050" => tlv(UTC_TIME, format!("{}Z", &digits[2..]).as_bytes()),
        digits => tlv(GENERALIZED_TIME, format!("{digits}Z").as_bytes()),
    }
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// Tag, length and value in DER.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let length = value.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            bytes.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            bytes.extend(length);
        }
    }
    bytes.extend_from_slice(value);
    bytes
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// Context-specific tags, of values and of what holds others.
const CONTEXT: u8 = 0x80;
const EXPLICIT: u8 = 0xa0;

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// Bits of the extension key usage, by their names in the certificates API.
const KEY_USAGES: [(&str, u32); 10] = [
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// Purposes of the extension extended key usage, in the order in which they are written.
const EXTENDED_USAGES: [(&str, &[u8]); 13] = [
    ("any", &[0x55, 0x1d, 0x25, 0x00]),
    ("server auth", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01]),
    ("client auth", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]),
    ("code signing", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03]),
    ("email protection", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04]),
    ("s/mime", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04]),
    ("ipsec end system", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x05]),
    ("ipsec tunnel", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x06]),
    ("ipsec user", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x07]),
    ("timestamping", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08]),
    ("ocsp signing", &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09]),
    ("microsoft sgc", &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x0a, 0x03, 0x03]),
    ("netscape sgc", &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x04, 0x01]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::PrivateKey;
    use crate::user_of_certificate;
    use p256::ecdsa::signature::Verifier;
    use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

    /// A request for two names and an address, as `openssl req` makes one.
    fn request(key: &PrivateKey, name: &str, group: &str) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.subject_alt_names = vec![
            SanType::DnsName("web.a.svc".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
            SanType::URI("spiffe://a/b".try_into().unwrap()),
        ];
        params.serialize_request(key).unwrap().pem().unwrap().into_bytes()
    }

    fn usages(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_request_says_what_it_asks_for() {
        let (world, _simulation) = World::simulated(1);
        let asked = CertificateRequest::parse(&request(&PrivateKey::generate(&world), "jane", "dev")).unwrap();
        let expected = CertificateRequest {
            common_name: "jane".into(),
            organizations: vec!["dev".into()],
            dns_names: vec!["web.a.svc".into()],
            emails: Vec::new(),
            addresses: vec!["10.0.0.7".parse().unwrap()],
            uris: vec!["spiffe://a/b".into()],
        };
        assert_eq!(asked, expected);
        assert!(CertificateRequest::parse(b"nonsense").is_err());
    }

    #[test]
    fn what_is_signed_has_the_requests_names_and_key_and_the_signers_extensions() {
        let (world, _simulation) = World::simulated(1);
        let authority = Authority::generate(&world, "kubernetes").unwrap();
        let key = PrivateKey::generate(&world);
        let all = usages(&["client auth", "server auth", "decipher only", "digital signature", "key encipherment"]);
        let day = Duration::from_secs(86_400);
        let pem = authority.sign_request(&world, &request(&key, "jane", "dev"), &all, day).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let user = user_of_certificate(&block.contents, world.now()).unwrap();
        assert_eq!((user.username.as_str(), user.groups[0].as_str()), ("jane", "dev"));
        let (rest, certificate) = X509Certificate::from_der(&block.contents).unwrap();
        assert!(rest.is_empty());
        let signature = DerSignature::try_from(&*certificate.signature_value.data).unwrap();
        let verifying = authority.key().signing_key().verifying_key();
        verifying.verify(certificate.tbs_certificate.as_ref(), &signature).unwrap();
        assert_eq!(certificate.issuer().to_string(), "CN=kubernetes");
        let point = key.signing_key().verifying_key().to_encoded_point(false);
        assert_eq!(&*certificate.public_key().subject_public_key.data, point.as_bytes());
        let bits = certificate.key_usage().unwrap().unwrap().value;
        assert!(bits.digital_signature() && bits.key_encipherment() && bits.decipher_only() && !bits.key_cert_sign());
        let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.client_auth && purposes.server_auth && !purposes.any);
        assert!(!certificate.is_ca());
        let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names.len(), 3, "{names:?}");
        let ends = end_of_certificate(pem.as_bytes()).unwrap();
        assert_eq!(ends.seconds(), (world.now() + day - BACKDATE).seconds());
    }

    #[test]
    fn lifetimes_are_short_or_backdated_and_end_with_the_authority() {
        let (world, _simulation) = World::simulated(1);
        let authority = Authority::generate(&world, "kubernetes").unwrap();
        let pem = request(&PrivateKey::generate(&world), "jane", "dev");
        let ends = |lifetime| {
            let signed = authority.sign_request(&world, &pem, &usages(&["client auth"]), lifetime).unwrap();
            end_of_certificate(signed.as_bytes()).unwrap().since(Timestamp::from_seconds(world.now().seconds()))
        };
        let hour = Duration::from_secs(3600);
        assert_eq!(ends(hour), hour);
        assert_eq!(ends(hour * 8), hour * 8 - BACKDATE);
        assert_eq!(ends(hour * 24 * 365 * 90), hour * 24 * 365 * 10, "four digits for the year are read too");
        let unknown = authority.sign_request(&world, &pem, &usages(&["flying"]), hour);
        assert!(matches!(unknown, Err(PkiError::Make(why)) if why.contains("flying")));
    }
}
