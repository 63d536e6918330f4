//! What providers encrypt with, byte for byte as upstream's do: AES-GCM with the nonce before it, AES-CBC with the IV before it, and
//! AES-GCM under a key of its own for each value.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::iv::FixedLength;
use world::World;

/// Bytes that each value's own key is derived with, and of that key.
const INFO_BYTES: usize = 32;
const BLOCK_BYTES: usize = 16;

/// A value could not be encrypted or decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CipherError {
    #[error("the key does not have a length that is known")]
    Key,
    #[error("the stored data was shorter than the required size")]
    Short,
    #[error("message authentication failed")]
    NotAuthentic,
}

fn gcm(key: &[u8]) -> Result<LessSafeKey, CipherError> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        32 => &AES_256_GCM,
        _ => return Err(CipherError::Key),
    };
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| CipherError::Key)
}

/// Nonce, ciphertext and tag; `context` must be the same when it is opened.
pub(crate) fn gcm_seal(world: &World, key: &[u8], context: &[u8], plain: &[u8]) -> Result<Vec<u8>, CipherError> {
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + 16);
    gcm_seal_to(world, key, context, plain, &mut sealed)?;
    Ok(sealed)
}

fn gcm_seal_to(
    world: &World,
    key: &[u8],
    context: &[u8],
    plain: &[u8],
    sealed: &mut Vec<u8>,
) -> Result<(), CipherError> {
    let key = gcm(key)?;
    let mut nonce = [0; NONCE_LEN];
    world.fill(&mut nonce);
    sealed.extend_from_slice(&nonce);
    let start = sealed.len();
    sealed.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(context), &mut sealed[start..]);
    sealed.extend_from_slice(tag.map_err(|_| CipherError::NotAuthentic)?.as_ref());
    Ok(())
}

pub(crate) fn gcm_open(key: &[u8], context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
    let key = gcm(key)?;
    let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(CipherError::Short)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CipherError::Short)?;
    let mut plain = rest.to_vec();
    let length = key.open_in_place(nonce, Aad::from(context), &mut plain).map_err(|_| CipherError::NotAuthentic)?.len();
    plain.truncate(length);
    Ok(plain)
}

/// As long as the keys that are derived.
struct KeyBytes;

impl KeyType for KeyBytes {
    fn len(&self) -> usize {
        INFO_BYTES
    }
}

fn derive(seed: &[u8], info: &[u8]) -> Result<[u8; INFO_BYTES], CipherError> {
    let mut key = [0; INFO_BYTES];
    let parts = [info];
    let expanded = Prk::new_less_safe(HKDF_SHA256, seed).expand(&parts, KeyBytes).map(|okm| okm.fill(&mut key));
    match expanded {
        Ok(Ok(())) => Ok(key),
        _ => Err(CipherError::Key),
    }
}

/// As [`gcm_seal`], under a key that is derived from the seed for this value alone, with what it was derived with before it.
pub(crate) fn extended_seal(world: &World, seed: &[u8], context: &[u8], plain: &[u8]) -> Result<Vec<u8>, CipherError> {
    let mut sealed = vec![0; INFO_BYTES];
    world.fill(&mut sealed);
    let key = derive(seed, &sealed)?;
    sealed.reserve(NONCE_LEN + plain.len() + 16);
    gcm_seal_to(world, &key, context, plain, &mut sealed)?;
    Ok(sealed)
}

pub(crate) fn extended_open(seed: &[u8], context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
    let (info, rest) = sealed.split_at_checked(INFO_BYTES).ok_or(CipherError::Short)?;
    gcm_open(&derive(seed, info)?, context, rest)
}

fn cbc(key: &[u8]) -> Result<UnboundCipherKey, CipherError> {
    let algorithm: &'static Algorithm = match key.len() {
        16 => &AES_128,
        32 => &AES_256,
        _ => return Err(CipherError::Key),
    };
    UnboundCipherKey::new(algorithm, key).map_err(|_| CipherError::Key)
}

/// IV and ciphertext, padded as PKCS #7 says.
pub(crate) fn cbc_seal(world: &World, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, CipherError> {
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(cbc(key)?).map_err(|_| CipherError::Key)?;
    let mut iv = [0; BLOCK_BYTES];
    world.fill(&mut iv);
    let mut cipher = plain.to_vec();
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(&mut cipher, context).map_err(|_| CipherError::NotAuthentic)?;
    Ok([iv.as_slice(), &cipher].concat())
}

pub(crate) fn cbc_open(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(cbc(key)?).map_err(|_| CipherError::Key)?;
    let (iv, rest) = sealed.split_first_chunk::<BLOCK_BYTES>().ok_or(CipherError::Short)?;
    let mut plain = rest.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(*iv));
    let length = key.decrypt(&mut plain, context).map_err(|_| CipherError::NotAuthentic)?.len();
    plain.truncate(length);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_context_and_nowhere_else() {
        let (world, _simulation) = World::simulated(1);
        let key = [7; 32];
        for length in [0, 1, 15, 16, 17, 1000] {
            let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let sealed = gcm_seal(&world, &key, b"a", &plain).unwrap();
            assert_eq!(gcm_open(&key, b"a", &sealed), Ok(plain.clone()));
            assert_eq!(gcm_open(&key, b"b", &sealed), Err(CipherError::NotAuthentic));
            assert_eq!(gcm_open(&[8; 32], b"a", &sealed), Err(CipherError::NotAuthentic));
            let sealed = extended_seal(&world, &key, b"a", &plain).unwrap();
            assert_eq!(extended_open(&key, b"a", &sealed), Ok(plain.clone()));
            assert_eq!(extended_open(&key, b"b", &sealed), Err(CipherError::NotAuthentic));
            let sealed = cbc_seal(&world, &key, &plain).unwrap();
            assert_eq!(cbc_open(&key, &sealed), Ok(plain));
        }
        for cut in [0, 5, 20, 40] {
            let sealed = vec![1; cut];
            assert!(gcm_open(&key, b"", &sealed).is_err());
            assert!(extended_open(&key, b"", &sealed).is_err());
            assert!(cbc_open(&key, &sealed).is_err());
        }
        assert_eq!(gcm_seal(&world, &[1; 7], b"", b""), Err(CipherError::Key));
    }
}
