//! One provider of a configuration: how it marks what it writes, and how it reads it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use world::World;

use super::ciphers::{self, CipherError};
use super::envelope::Envelope;
use super::kms::{Kms, KmsCiphertext, KmsError};

/// Decrypted seeds that are kept, the last used first: one for each key that the service has had.
const MAX_SEEDS: usize = 256;
const SEED_BYTES: usize = 32;

pub(super) enum Provider {
    /// As it is.
    Identity,
    /// Keys by name; the first writes.
    Static(Static, Vec<(String, Vec<u8>)>),
    Kms(Envelopes),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Static {
    Cbc,
    Gcm,
}

/// A provider that a key management service stands behind.
pub(super) struct Envelopes {
    prefix: String,
    service: Arc<dyn Kms>,
    state: Mutex<Seeds>,
}

#[derive(Default)]
struct Seeds {
    /// What is written with now.
    current: Option<(KmsCiphertext, Arc<[u8]>)>,
    known: Vec<(KmsCiphertext, Arc<[u8]>)>,
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Plain(Bytes),
    /// Another provider wrote it.
    Foreign,
    /// The service has to be asked first.
    Unknown(KmsCiphertext),
    Damaged(CipherError),
}

impl Static {
    fn prefix(self) -> &'static str {
        match self {
            Static::Cbc => "k8s:enc:aescbc:v1:",
            Static::Gcm => "k8s:enc:aesgcm:v1:",
        }
    }
}

impl Provider {
    pub(super) fn kms(name: &str, service: Arc<dyn Kms>) -> Provider {
        Provider::Kms(Envelopes { prefix: format!("k8s:enc:kms:v2:{name}:"), service, state: Mutex::default() })
    }

    /// Makes it ready to write: a service may have another key by now, or none.
    pub(super) async fn prepare(&self, world: &World) -> Result<(), KmsError> {
        match self {
            Provider::Kms(envelopes) => envelopes.prepare(world).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn learn(&self, source: &KmsCiphertext) -> Result<(), KmsError> {
        match self {
            Provider::Kms(envelopes) => envelopes.learn(source).await,
            _ => Ok(()),
        }
    }

    /// Whether a stored value is as this provider would write it now.
    pub(super) async fn is_own(&self, stored: &Bytes) -> bool {
        match self {
            Provider::Identity => !stored.starts_with(super::MARK),
            Provider::Static(kind, keys) => {
                keys.first().is_some_and(|(name, _)| stored.starts_with(format!("{}{name}:", kind.prefix()).as_bytes()))
            }
            Provider::Kms(envelopes) => envelopes.is_own(stored).await,
        }
    }

    pub(super) fn write(&self, world: &World, context: &[u8], plain: &Bytes) -> Result<Bytes, KmsError> {
        let error = |error: CipherError| KmsError(error.to_string());
        match self {
            Provider::Identity => Ok(plain.clone()),
            Provider::Static(kind, keys) => {
                let (name, key) = keys.first().ok_or_else(|| error(CipherError::Key))?;
                let sealed = match kind {
                    Static::Cbc => ciphers::cbc_seal(world, key, plain),
                    Static::Gcm => ciphers::gcm_seal(world, key, context, plain),
                };
                let prefix = format!("{}{name}:", kind.prefix());
                Ok([prefix.as_bytes(), &sealed.map_err(error)?].concat().into())
            }
            Provider::Kms(envelopes) => envelopes.write(world, context, plain),
        }
    }

    pub(super) fn read(&self, context: &[u8], stored: &Bytes) -> Read {
        match self {
            // What nobody has encrypted is not asked for.
            Provider::Identity => Read::Foreign,
            Provider::Static(kind, keys) => {
                let Some(rest) = stored.strip_prefix(kind.prefix().as_bytes()) else { return Read::Foreign };
                for (name, key) in keys {
                    let sealed = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
                    let Some(sealed) = sealed else { continue };
                    let opened = match kind {
                        Static::Cbc => ciphers::cbc_open(key, sealed),
                        Static::Gcm => ciphers::gcm_open(key, context, sealed),
                    };
                    return opened.map_or_else(Read::Damaged, |plain| Read::Plain(plain.into()));
                }
                Read::Foreign
            }
            Provider::Kms(envelopes) => envelopes.read(context, stored),
        }
    }
}

impl Envelopes {
    fn state(&self) -> std::sync::MutexGuard<'_, Seeds> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn prepare(&self, world: &World) -> Result<(), KmsError> {
        let key_id = match self.service.key_id().await {
            Ok(key_id) => key_id,
            // What is there goes on: the seed is known, whatever the service says.
            Err(_) if self.state().current.is_some() => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.state().current.as_ref().is_some_and(|(source, _)| source.key_id == key_id) {
            return Ok(());
        }
        let mut seed = [0; SEED_BYTES];
        world.fill(&mut seed);
        let source = self.service.encrypt(&seed).await?;
        let seed: Arc<[u8]> = seed.into();
        let mut state = self.state();
        state.current = Some((source.clone(), seed.clone()));
        state.keep(source, seed);
        Ok(())
    }

    async fn is_own(&self, stored: &Bytes) -> bool {
        let envelope = stored.strip_prefix(self.prefix.as_bytes()).and_then(Envelope::decode);
        match (envelope, self.service.key_id().await) {
            (Some(envelope), Ok(key_id)) => envelope.source.key_id == key_id,
            // Whoever cannot say which key there is cannot write with it either.
            (envelope, Err(_)) => envelope.is_some(),
            (None, Ok(_)) => false,
        }
    }

    async fn learn(&self, source: &KmsCiphertext) -> Result<(), KmsError> {
        if self.state().find(source).is_some() {
            return Ok(());
        }
        let seed = self.service.decrypt(source).await?;
        self.state().keep(source.clone(), seed.into());
        Ok(())
    }

    fn write(&self, world: &World, context: &[u8], plain: &Bytes) -> Result<Bytes, KmsError> {
        let current = self.state().current.clone();
        let (source, seed) = current.ok_or_else(|| KmsError("there is no key yet".to_owned()))?;
        let data = ciphers::extended_seal(world, &seed, context, plain).map_err(|error| KmsError(error.to_string()))?;
        Ok([self.prefix.as_bytes(), &Envelope { data, source }.encode()].concat().into())
    }

    fn read(&self, context: &[u8], stored: &Bytes) -> Read {
        let Some(rest) = stored.strip_prefix(self.prefix.as_bytes()) else { return Read::Foreign };
        let Some(Envelope { data, source }) = Envelope::decode(rest) else { return Read::Damaged(CipherError::Short) };
        let Some(seed) = self.state().find(&source) else { return Read::Unknown(source) };
        ciphers::extended_open(&seed, context, &data).map_or_else(Read::Damaged, |plain| Read::Plain(plain.into()))
    }
}

impl Seeds {
    fn find(&mut self, source: &KmsCiphertext) -> Option<Arc<[u8]>> {
        let at = self.known.iter().position(|(known, _)| known == source)?;
        self.known[..=at].rotate_right(1);
        Some(self.known[0].1.clone())
    }

    fn keep(&mut self, source: KmsCiphertext, seed: Arc<[u8]>) {
        self.known.insert(0, (source, seed));
        self.known.truncate(MAX_SEEDS);
    }
}
