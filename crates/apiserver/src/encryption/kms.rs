//! The port to a key management service, as KMS v2 plugins have it (k8s.io/kms `v2`): it encrypts what keys are made from, and never
//! sees an object.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use world::{BoxFuture, World};

use super::ciphers;

/// The service does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KmsError(pub String);

/// Something that the service has encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsCiphertext {
    pub bytes: Vec<u8>,
    /// The key that it was encrypted with.
    pub key_id: String,
    /// What the service wants to see again when it decrypts.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// A key management service.
pub trait Kms: Send + Sync {
    /// The key that it encrypts with now. A new one makes what the old one encrypted stale.
    ///
    /// # Errors
    /// If it is not well.
    fn key_id(&self) -> BoxFuture<'_, Result<String, KmsError>>;

    /// Encrypts a few bytes.
    ///
    /// # Errors
    /// If it cannot.
    fn encrypt<'a>(&'a self, plain: &'a [u8]) -> BoxFuture<'a, Result<KmsCiphertext, KmsError>>;

    /// Decrypts what it has encrypted.
    ///
    /// # Errors
    /// If it cannot, or is not allowed to.
    fn decrypt<'a>(&'a self, cipher: &'a KmsCiphertext) -> BoxFuture<'a, Result<Vec<u8>, KmsError>>;
}

/// A service in memory: keys by id, the last of which encrypts. It can be made to fail, for those who want to see what follows.
pub struct LocalKms {
    world: World,
    state: Mutex<Keys>,
}

/// One key of a service.
#[derive(Clone)]
pub struct KmsKey {
    id: String,
    material: [u8; KmsKey::BYTES],
}

impl KmsKey {
    /// Bytes of its material.
    pub const BYTES: usize = 32;

    /// A key of material that is already there.
    pub fn new(id: &str, material: [u8; KmsKey::BYTES]) -> KmsKey {
        KmsKey { id: id.to_owned(), material }
    }

    /// Encrypts a few bytes.
    ///
    /// # Errors
    /// If they are too many.
    pub fn encrypt(&self, world: &World, plain: &[u8]) -> Result<KmsCiphertext, KmsError> {
        let sealed = ciphers::gcm_seal(world, &self.material, self.id.as_bytes(), plain);
        let bytes = sealed.map_err(|error| KmsError(error.to_string()))?;
        Ok(KmsCiphertext { bytes, key_id: self.id.clone(), annotations: BTreeMap::new() })
    }

    /// Decrypts what it has encrypted.
    ///
    /// # Errors
    /// If that was another key, or the bytes are damaged.
    pub fn decrypt(&self, cipher: &KmsCiphertext) -> Result<Vec<u8>, KmsError> {
        let opened = ciphers::gcm_open(&self.material, self.id.as_bytes(), &cipher.bytes);
        opened.map_err(|error| KmsError(error.to_string()))
    }
}

struct Keys {
    keys: Vec<KmsKey>,
    /// Why it does nothing now.
    down: Option<String>,
    decrypted: u64,
}

impl LocalKms {
    /// A service with one key.
    pub fn new(world: &World, key_id: &str) -> LocalKms {
        let keys = Keys { keys: Vec::new(), down: None, decrypted: 0 };
        let kms = LocalKms { world: world.clone(), state: Mutex::new(keys) };
        kms.rotate(key_id);
        kms
    }

    /// From now on it encrypts with another key.
    pub fn rotate(&self, key_id: &str) {
        let mut material = [0; KmsKey::BYTES];
        self.world.fill(&mut material);
        self.state().keys.push(KmsKey::new(key_id, material));
    }

    /// From now on it refuses everything, for this reason; or nothing any more.
    pub fn fail(&self, why: Option<&str>) {
        self.state().down = why.map(str::to_owned);
    }

    /// How often it was asked to decrypt.
    pub fn decrypted(&self) -> u64 {
        self.state().decrypted
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn well(&self) -> Result<std::sync::MutexGuard<'_, Keys>, KmsError> {
        let state = self.state();
        match &state.down {
            Some(why) => Err(KmsError(why.clone())),
            None => Ok(state),
        }
    }

    fn seal(&self, plain: &[u8]) -> Result<KmsCiphertext, KmsError> {
        let state = self.well()?;
        let key = state.keys.last().ok_or_else(|| KmsError("there is no key".to_owned()))?;
        key.encrypt(&self.world, plain)
    }

    fn open(&self, cipher: &KmsCiphertext) -> Result<Vec<u8>, KmsError> {
        let mut state = self.well()?;
        state.decrypted += 1;
        let key = state.keys.iter().find(|key| key.id == cipher.key_id);
        key.ok_or_else(|| KmsError(format!("there is no key {:?}", cipher.key_id)))?.decrypt(cipher)
    }
}

impl Kms for LocalKms {
    fn key_id(&self) -> BoxFuture<'_, Result<String, KmsError>> {
        let key_id = self.well().map(|state| state.keys.last().map(|key| key.id.clone()).unwrap_or_default());
        Box::pin(async move { key_id })
    }

    fn encrypt<'a>(&'a self, plain: &'a [u8]) -> BoxFuture<'a, Result<KmsCiphertext, KmsError>> {
        Box::pin(async move { self.seal(plain) })
    }

    fn decrypt<'a>(&'a self, cipher: &'a KmsCiphertext) -> BoxFuture<'a, Result<Vec<u8>, KmsError>> {
        Box::pin(async move { self.open(cipher) })
    }
}
