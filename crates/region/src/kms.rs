//! The keys of KMS that clusters encrypt their Secrets with. There is no KMS API yet: a key of this account and region is there as
//! soon as a cluster names its ARN, with material of the world's randomness that stays in the region's store, apart from all
//! clusters, and goes nowhere else.

use std::sync::Arc;

use apiserver::{EncryptionConfig, Kms, KmsCiphertext, KmsError, KmsKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud_iam::records::{Record, RecordError, Tx, transact};
use serde::{Deserialize, Serialize};
use store::{Keyspace, Store};
use world::{BoxFuture, World};

/// Where they are in the store.
const SPACE: &str = "/aws/kms/";
/// Keys of a region: as many as there can be clusters, ten times over, since they outlive them.
const MAX_KEYS: usize = 1000;
/// The name of the provider in front of what is encrypted. What is stored bears it, so it stays.
const PROVIDER: &str = "aws-kms";

/// A key. Stored under its ARN.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredKey {
    /// Base64 of 32 bytes.
    material: String,
    /// Microseconds since the epoch.
    created: i64,
}

impl Record for StoredKey {
    const KIND: &'static str = "key";
}

/// All keys of a region.
#[derive(Clone)]
pub(crate) struct Keys {
    world: World,
    space: Keyspace,
}

impl Keys {
    pub(crate) fn new(world: &World, store: &Store) -> Keys {
        Keys { world: world.clone(), space: store.keyspace(SPACE) }
    }

    /// The key of an ARN, which is made when it is named for the first time.
    pub(crate) async fn ensure(&self, arn: &str) -> Result<KmsKey, KmsError> {
        let mut material = [0; KmsKey::BYTES];
        self.world.fill(&mut material);
        let new = StoredKey { material: STANDARD.encode(material), created: self.world.now().micros() };
        let new = &new;
        let made = transact(&self.space, |mut tx| async move {
            if let Some(key) = tx.get::<StoredKey>(arn).await? {
                return Ok(Some(key));
            }
            if tx.list::<StoredKey>("").await?.len() >= MAX_KEYS {
                return Ok(None);
            }
            tx.put(arn, new);
            Ok::<_, RecordError>(Some(new.clone()))
        });
        match made.await.map_err(|error| KmsError(error.to_string()))? {
            Some(key) => read(arn, &key),
            None => Err(KmsError(format!("a region has at most {MAX_KEYS} KMS keys"))),
        }
    }

    async fn get(&self, arn: &str) -> Result<KmsKey, KmsError> {
        let found = Tx::new(&self.space).get::<StoredKey>(arn).await.map_err(|error| KmsError(error.to_string()))?;
        read(arn, &found.ok_or_else(|| KmsError(format!("there is no KMS key {arn}")))?)
    }

    /// What a cluster encrypts with this key, if it has one; what it has encrypted before can be read either way, and so can what
    /// another process encrypts that has heard of the key first.
    pub(crate) fn encryption(&self, key: Option<&str>) -> Arc<EncryptionConfig> {
        let service = Arc::new(ClusterKey { keys: self.clone(), arn: key.map(str::to_owned) });
        Arc::new(match key {
            Some(_) => EncryptionConfig::secrets(PROVIDER, service),
            None => EncryptionConfig::readable_secrets(PROVIDER, service),
        })
    }
}

fn read(arn: &str, key: &StoredKey) -> Result<KmsKey, KmsError> {
    let material = STANDARD.decode(&key.material).ok().and_then(|material| material.try_into().ok());
    material.map(|material| KmsKey::new(arn, material)).ok_or_else(|| KmsError(format!("the KMS key {arn} is damaged")))
}

/// The keys as one cluster uses them.
struct ClusterKey {
    keys: Keys,
    /// What it encrypts with.
    arn: Option<String>,
}

impl ClusterKey {
    fn own(&self) -> Result<&str, KmsError> {
        self.arn.as_deref().ok_or_else(|| KmsError("the cluster has no encryption config".to_owned()))
    }
}

impl Kms for ClusterKey {
    fn key_id(&self) -> BoxFuture<'_, Result<String, KmsError>> {
        Box::pin(async move { self.own().map(str::to_owned) })
    }

    fn encrypt<'a>(&'a self, plain: &'a [u8]) -> BoxFuture<'a, Result<KmsCiphertext, KmsError>> {
        Box::pin(async move { self.keys.ensure(self.own()?).await?.encrypt(&self.keys.world, plain) })
    }

    fn decrypt<'a>(&'a self, cipher: &'a KmsCiphertext) -> BoxFuture<'a, Result<Vec<u8>, KmsError>> {
        Box::pin(async move { self.keys.get(&cipher.key_id).await?.decrypt(cipher) })
    }
}
