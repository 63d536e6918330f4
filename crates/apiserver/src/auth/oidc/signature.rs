//! Signatures of JSON Web Tokens (RFC 7515, 7518) under keys of a JSON Web Key Set (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use serde_json::Value;

/// Algorithms that an issuer may sign with: none with a shared secret.
const ALGORITHMS: &[(&str, SignatureScheme)] = &[
    ("ES256", SignatureScheme::ECDSA_NISTP256_SHA256),
    ("ES384", SignatureScheme::ECDSA_NISTP384_SHA384),
    ("ES512", SignatureScheme::ECDSA_NISTP521_SHA512),
    ("PS256", SignatureScheme::RSA_PSS_SHA256),
    ("PS384", SignatureScheme::RSA_PSS_SHA384),
    ("PS512", SignatureScheme::RSA_PSS_SHA512),
    ("RS256", SignatureScheme::RSA_PKCS1_SHA256),
    ("RS384", SignatureScheme::RSA_PKCS1_SHA384),
    ("RS512", SignatureScheme::RSA_PKCS1_SHA512),
];

/// A public key of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub id: String,
    kind: Kind,
    /// As it stands in a certificate: a point, or modulus and exponent.
    public: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elliptic,
    Rsa,
}

impl Key {
    /// A key for signatures; nothing for keys of other kinds or uses.
    pub(super) fn parse(jwk: &Value) -> Option<Key> {
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str()?.trim_end_matches('=')).ok();
        if jwk["use"].as_str().is_some_and(|own| own != "sig") {
            return None;
        }
        let (kind, public) = match jwk["kty"].as_str()? {
            "EC" => {
                let length = match jwk["crv"].as_str()? {
                    "P-256" => 32,
                    "P-384" => 48,
                    "P-521" => 66,
                    _ => return None,
                };
                let mut point = vec![4];
                for coordinate in ["x", "y"] {
                    let coordinate = bytes(coordinate).filter(|bytes| bytes.len() <= length)?;
                    point.extend(std::iter::repeat_n(0, length - coordinate.len()));
                    point.extend(coordinate);
                }
                (Kind::Elliptic, point)
            }
            "RSA" => (Kind::Rsa, sequence(&[integer(&bytes("n")?), integer(&bytes("e")?)])),
            _ => return None,
        };
        Some(Key { id: jwk["kid"].as_str().unwrap_or("").to_owned(), kind, public })
    }

    /// Whether the key signed a message.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some((name, scheme)) = ALGORITHMS.iter().find(|(own, _)| *own == algorithm) else { return false };
        let signature = match (self.kind, name.starts_with("ES")) {
            (Kind::Elliptic, true) if signature.len().is_multiple_of(2) => {
                let (r, s) = signature.split_at(signature.len() / 2);
                sequence(&[integer(r), integer(s)])
            }
            (Kind::Rsa, false) => signature.to_vec(),
            _ => return false,
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let known = provider.signature_verification_algorithms.mapping.iter().find(|(own, _)| own == scheme);
        let verifiers = known.map(|(_, verifiers)| *verifiers).unwrap_or_default();
        verifiers.iter().any(|verifier| verifier.verify_signature(&self.public, message, &signature).is_ok())
    }
}

/// A positive INTEGER of ASN.1.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let sign = bytes.first().is_none_or(|first| first & 0x80 != 0);
    let mut content = if sign { vec![0] } else { Vec::new() };
    content.extend_from_slice(bytes);
    element(2, &content)
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(short) => out.extend([0x81, short]),
        Err(_) => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A token taken apart.
pub(super) struct Parts<'a> {
    pub algorithm: String,
    pub key_id: String,
    pub claims: serde_json::Map<String, Value>,
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
}

/// Takes a token apart; nothing for what is no token of this form.
pub(super) fn parts(token: &str) -> Option<Parts<'_>> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.').filter(|(_, payload)| !payload.contains('.'))?;
    let json = |text: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    let header = json(header)?;
    let Some(Value::Object(claims)) = json(payload) else { return None };
    let text = |name: &str| header[name].as_str().unwrap_or("").to_owned();
    Some(Parts {
        algorithm: text("alg"),
        key_id: text("kid"),
        claims,
        signed: signed.as_bytes(),
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The example of RFC 7515, A.2.
    const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    /// The example of RFC 7515, A.3.
    const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    #[test]
    fn published_signatures_verify() {
        let rsa = json!({"kty": "RSA", "n": RSA_N, "e": "AQAB"});
        let elliptic = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        for (token, right, wrong) in [(RSA_TOKEN, &rsa, &elliptic), (EC_TOKEN, &elliptic, &rsa)] {
            let parts = parts(token).unwrap();
            assert_eq!(parts.claims["iss"], "joe");
            let verifies = |key: &Value, algorithm: &str, signature: &[u8]| {
                Key::parse(key).unwrap().verifies(algorithm, parts.signed, signature)
            };
            assert!(verifies(right, &parts.algorithm, &parts.signature));
            assert!(!verifies(wrong, &parts.algorithm, &parts.signature));
            let mut other = parts.signature.clone();
            other[5] ^= 1;
            assert!(!verifies(right, &parts.algorithm, &other));
            for algorithm in ["none", "HS256", "RS512", "PS256", "ES384"] {
                assert!(!verifies(right, algorithm, &parts.signature), "{algorithm}");
            }
        }
    }

    #[test]
    fn other_keys_are_left_out() {
        let cases = [
            json!({"kty": "oct", "k": "AA"}),
            json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
            json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
            json!({"kty": "RSA", "use": "enc", "n": RSA_N, "e": "AQAB"}),
        ];
        for key in cases {
            assert_eq!(Key::parse(&key), None, "{key}");
        }
        for token in ["", "a", "a.b", "a.b.c", "e30.e30.!", "e30.W10.AA", "e30.e30.e30.AA"] {
            assert!(parts(token).is_none(), "{token}");
        }
    }
}
