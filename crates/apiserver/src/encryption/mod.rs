//! Encryption at rest: what the store holds of some resources is unreadable without their keys.
//!
//! Values are encrypted on their way to the store and decrypted on their way into the watch caches; everything in between knows only
//! plain objects. A value is bound to its key in the store, so that one that was moved there is not taken for another.

mod ciphers;
mod config;
mod envelope;
mod kms;
mod provider;

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use k8s_object::{ApiError, Object};
use store::{KeyValue, Keyspace};
use world::World;

use crate::storage;
use provider::Read;

pub use config::{EncryptionConfig, EncryptionConfigError, KmsByName};
pub use kms::{Kms, KmsCiphertext, KmsError, KmsKey, LocalKms};

/// What everything encrypted begins with.
const MARK: &[u8] = b"k8s:enc:";

pub(crate) struct Encryption {
    world: World,
    config: RwLock<Option<Arc<EncryptionConfig>>>,
}

/// A value that was read.
enum Opened {
    Plain(Bytes),
    /// The service has to be asked first: see [`Encryption::open`].
    NotYet,
}

impl Encryption {
    pub(crate) fn new(world: &World, config: Option<Arc<EncryptionConfig>>) -> Encryption {
        Encryption { world: world.clone(), config: RwLock::new(config) }
    }

    /// From now on this configuration counts.
    pub(crate) fn replace(&self, config: Arc<EncryptionConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }

    fn config(&self) -> Option<Arc<EncryptionConfig>> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what is stored of an object is not as it would be written now, so that even a write that changes nothing does
    /// something: that is how clients have everything encrypted with a new key.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn is_stale(
        &self,
        space: &Keyspace,
        group: &str,
        plural: &str,
        key: &Bytes,
    ) -> Result<bool, ApiError> {
        let Some(config) = self.config() else { return Ok(false) };
        let Some(writer) = config.rule(group, plural).and_then(|rule| rule.providers.first()) else {
            return Ok(false);
        };
        let stored = space.get(key.clone()).await.map_err(storage::error)?;
        match stored {
            Some(stored) => Ok(!writer.is_own(&stored.value).await),
            None => Ok(false),
        }
    }

    /// What is to be stored under a key instead of a value.
    ///
    /// # Errors
    /// 500 when the key management service does not answer and there is no key of before.
    pub(crate) async fn seal(&self, group: &str, plural: &str, key: &Bytes, plain: &Bytes) -> Result<Bytes, ApiError> {
        let Some(config) = self.config() else { return Ok(plain.clone()) };
        let Some(provider) = config.rule(group, plural).and_then(|rule| rule.providers.first()) else {
            return Ok(plain.clone());
        };
        let failed = |error: KmsError| ApiError::internal(format!("failed to encrypt {plural}: {error}"));
        provider.prepare(&self.world).await.map_err(failed)?;
        provider.write(&self.world, key, plain).map_err(failed)
    }

    /// Reads a stored value with the keys that are known.
    ///
    /// # Errors
    /// 500 for what no provider can read.
    fn read(&self, key: &Bytes, stored: &Bytes) -> Result<Opened, ApiError> {
        Ok(match self.find(key, stored)? {
            Some(Found::Plain(plain)) => Opened::Plain(plain),
            Some(Found::Unknown(..)) => Opened::NotYet,
            None => Opened::Plain(stored.clone()),
        })
    }

    /// Reads a stored value, and asks the service for what is not known yet.
    ///
    /// # Errors
    /// 500 when the service does not answer, and for what no provider can read.
    async fn open(&self, key: &Bytes, stored: &Bytes) -> Result<Bytes, ApiError> {
        if let Some(Found::Unknown(provider, source)) = self.find(key, stored)? {
            let failed = |error: KmsError| ApiError::internal(format!("failed to decrypt DEK, error: {error}"));
            provider.learn(&source).await.map_err(failed)?;
        }
        match self.read(key, stored)? {
            Opened::Plain(plain) => Ok(plain),
            Opened::NotYet => Err(ApiError::internal("failed to decrypt DEK, error: too many keys are in use")),
        }
    }

    fn find(&self, key: &Bytes, stored: &Bytes) -> Result<Option<Found>, ApiError> {
        // What was written before there was a configuration stays readable, as with a provider `identity` at the end.
        if !stored.starts_with(MARK) {
            return Ok(None);
        }
        let Some(config) = self.config() else { return Ok(None) };
        let Some(of) = storage::parse(key) else { return Ok(None) };
        let Some(rule) = config.rule(of.group, of.plural) else { return Ok(None) };
        for provider in &rule.providers {
            match provider.read(key, stored) {
                Read::Foreign => {}
                Read::Plain(plain) => return Ok(Some(Found::Plain(plain))),
                Read::Unknown(source) => return Ok(Some(Found::Unknown(provider.clone(), source))),
                Read::Damaged(error) => return Err(self.unreadable(&of, &error.to_string())),
            }
        }
        Err(self.unreadable(&of, "no matching prefix found"))
    }

    fn unreadable(&self, key: &storage::StoredKey<'_>, why: &str) -> ApiError {
        let storage::StoredKey { plural, namespace, name, .. } = key;
        ApiError::internal(format!("the stored {plural} {namespace}/{name} cannot be decrypted: {why}"))
    }

    /// A stored object, with the keys that are known; `None` for one whose key has to be asked for.
    ///
    /// # Errors
    /// As [`Encryption::read`], and for an object that is damaged.
    pub(crate) fn object_now(&self, kv: &KeyValue) -> Result<Option<Object>, ApiError> {
        if !kv.value.starts_with(MARK) {
            return storage::object(kv).map(Some);
        }
        match self.read(&kv.key, &kv.value)? {
            Opened::Plain(value) if value == kv.value => storage::object(kv).map(Some),
            Opened::Plain(value) => storage::object(&KeyValue { value, ..kv.clone() }).map(Some),
            Opened::NotYet => Ok(None),
        }
    }

    /// A stored object.
    ///
    /// # Errors
    /// As [`Encryption::open`], and for an object that is damaged.
    pub(crate) async fn object(&self, kv: &KeyValue) -> Result<Object, ApiError> {
        if !kv.value.starts_with(MARK) {
            return storage::object(kv);
        }
        let value = self.open(&kv.key, &kv.value).await?;
        storage::object(&KeyValue { value, ..kv.clone() })
    }
}

enum Found {
    Plain(Bytes),
    Unknown(Arc<provider::Provider>, KmsCiphertext),
}
