//! What stands in the store for a value that KMS v2 encrypts: message `EncryptedObject` of upstream's `kmsv2/v2/api.proto`.

use std::collections::BTreeMap;

use super::kms::KmsCiphertext;

/// The plaintext of the key's source is a seed from which each value's key is derived (`HKDF_SHA256_XNONCE_AES_GCM_SEED`).
const SEED: u64 = 1;
/// Bytes of an encrypted key, and of a key's id, that upstream takes.
const MAX_KEY_BYTES: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub data: Vec<u8>,
    pub source: KmsCiphertext,
}

impl Envelope {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.data.len() + self.source.bytes.len() + 128);
        field(&mut bytes, 1, &self.data);
        field(&mut bytes, 2, self.source.key_id.as_bytes());
        field(&mut bytes, 3, &self.source.bytes);
        for (key, value) in &self.source.annotations {
            let mut entry = Vec::new();
            field(&mut entry, 1, key.as_bytes());
            field(&mut entry, 2, value);
            field(&mut bytes, 4, &entry);
        }
        varint(&mut bytes, 5 << 3);
        varint(&mut bytes, SEED);
        bytes
    }

    /// `None` for what is no such message, or of a kind that is not known.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Envelope> {
        let (mut data, mut kind) = (Vec::new(), 0);
        let mut source = KmsCiphertext { bytes: Vec::new(), key_id: String::new(), annotations: BTreeMap::new() };
        while !bytes.is_empty() {
            match read(&mut bytes)? {
                (1, Part::Bytes(part)) => data = part.to_vec(),
                (2, Part::Bytes(part)) => source.key_id = String::from_utf8(part.to_vec()).ok()?,
                (3, Part::Bytes(part)) => source.bytes = part.to_vec(),
                (4, Part::Bytes(mut entry)) => {
                    let (mut key, mut value) = (String::new(), Vec::new());
                    while !entry.is_empty() {
                        match read(&mut entry)? {
                            (1, Part::Bytes(part)) => key = String::from_utf8(part.to_vec()).ok()?,
                            (2, Part::Bytes(part)) => value = part.to_vec(),
                            _ => {}
                        }
                    }
                    source.annotations.insert(key, value);
                }
                (5, Part::Number(number)) => kind = number,
                _ => {}
            }
        }
        let sizes = [source.bytes.len(), source.key_id.len()];
        let fits = sizes.iter().all(|size| (1..=MAX_KEY_BYTES).contains(size));
        (kind == SEED && !data.is_empty() && fits).then_some(Envelope { data, source })
    }
}

enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn field(bytes: &mut Vec<u8>, number: u64, content: &[u8]) {
    varint(bytes, number << 3 | 2);
    varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn read<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Part<'a>)> {
    let tag = read_varint(bytes)?;
    let part = match tag & 7 {
        0 => Part::Number(read_varint(bytes)?),
        2 => {
            let length = usize::try_from(read_varint(bytes)?).ok()?;
            let (content, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Part::Bytes(content)
        }
        _ => return None,
    };
    Some((tag >> 3, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let source = KmsCiphertext {
            bytes: vec![9; 200],
            key_id: "arn:aws:kms:eu-west-1:111122223333:key/x".to_owned(),
            annotations: BTreeMap::from([("a.example".to_owned(), vec![1, 2])]),
        };
        let envelope = Envelope { data: vec![5; 300], source };
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(&bytes), Some(envelope));
        for length in 0..bytes.len() {
            assert!(Envelope::decode(&bytes[..length]).is_none_or(|cut| !cut.data.is_empty()));
        }
        assert_eq!(Envelope::decode(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), None);
    }
}
