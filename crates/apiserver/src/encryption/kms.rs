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

struct Keys {
    keys: Vec<(String, [u8; 32])>,
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
        let mut key = [0; 32];
        self.world.fill(&mut key);
        self.state().keys.push((key_id.to_owned(), key));
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
        let (key_id, key) = state.keys.last().cloned().ok_or_else(|| KmsError("there is no key".to_owned()))?;
        let bytes = ciphers::gcm_seal(&self.world, &key, b"", plain).map_err(|error| KmsError(error.to_string()))?;
        Ok(KmsCiphertext { bytes, key_id, annotations: BTreeMap::new() })
    }

    fn open(&self, cipher: &KmsCiphertext) -> Result<Vec<u8>, KmsError> {
        let mut state = self.well()?;
        state.decrypted += 1;
        let key = state.keys.iter().find(|(id, _)| *id == cipher.key_id);
        let (_, key) = key.ok_or_else(|| KmsError(format!("there is no key {:?}", cipher.key_id)))?;
        ciphers::gcm_open(key, b"", &cipher.bytes).map_err(|error| KmsError(error.to_string()))
    }
}

impl Kms for LocalKms {
    fn key_id(&self) -> BoxFuture<'_, Result<String, KmsError>> {
        let key_id = self.well().map(|state| state.keys.last().map(|(id, _)| id.clone()).unwrap_or_default());
        Box::pin(async move { key_id })
    }

    fn encrypt<'a>(&'a self, plain: &'a [u8]) -> BoxFuture<'a, Result<KmsCiphertext, KmsError>> {
        Box::pin(async move { self.seal(plain) })
    }

    fn decrypt<'a>(&'a self, cipher: &'a KmsCiphertext) -> BoxFuture<'a, Result<Vec<u8>, KmsError>> {
        Box::pin(async move { self.open(cipher) })
    }
}
