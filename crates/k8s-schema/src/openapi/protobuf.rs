//! The v2 document as old discovery clients ask for it: gnostic's `openapi.v2.Document` in protobuf.
//!
//! Without definitions, which is all that kubectl needs: it reads this document only for kinds that the v3 documents do
//! not have, and does not check an object whose kind it finds nowhere. Must never claim to describe what is served.

use crate::model::Minor;

/// Fields of `openapi.v2.Document` (gnostic `OpenAPIv2.proto`).
const SWAGGER: u8 = 1;
const INFO: u8 = 2;
const PATHS: u8 = 8;
/// Fields of `openapi.v2.Info`.
const TITLE: u8 = 1;
const VERSION: u8 = 2;
/// The wire type of texts and messages.
const LENGTH_DELIMITED: u8 = 2;

/// The document at `/openapi/v2` in protobuf: its title and version, no paths and no definitions.
pub fn openapi_v2_protobuf(minor: Minor) -> Vec<u8> {
    let mut info = Vec::new();
    put(&mut info, TITLE, b"Kubernetes");
    put(&mut info, VERSION, format!("v1.{minor}.0").as_bytes());
    let mut document = Vec::new();
    put(&mut document, SWAGGER, b"2.0");
    put(&mut document, INFO, &info);
    put(&mut document, PATHS, b"");
    document
}

/// Appends a text or a message. Field numbers are below 16, so that a tag is one byte.
fn put(out: &mut Vec<u8>, field: u8, payload: &[u8]) {
    out.push(field << 3 | LENGTH_DELIMITED);
    let mut length = payload.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_version_and_no_definitions() {
        assert_eq!(openapi_v2_protobuf(34), b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.34.0\x42\x00");
    }

    #[test]
    fn long_payloads_have_long_lengths() {
        let mut out = Vec::new();
        put(&mut out, TITLE, &[b'x'; 300]);
        assert_eq!((&out[..3], out.len()), (&b"\x0a\xac\x02"[..], 303));
    }
}
