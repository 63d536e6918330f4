//! Answers that are believed for a while, by a digest of what was asked: a token does not stay in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Answers that are kept; beyond that those that have run out go, and then the first.
const MAX_ANSWERS: usize = 10_000;

pub(super) type Key = [u8; 32];

pub(super) fn key(parts: &[&[u8]]) -> Key {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

pub(super) struct Cache<T>(Mutex<BTreeMap<Key, (Duration, T)>>);

impl<T: Clone> Cache<T> {
    pub(super) fn new() -> Cache<T> {
        Cache(Mutex::new(BTreeMap::new()))
    }

    pub(super) fn get(&self, key: &Key, now: Duration) -> Option<T> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    pub(super) fn put(&self, key: Key, answer: T, now: Duration, lifetime: Duration) {
        if lifetime.is_zero() {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ANSWERS {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= MAX_ANSWERS {
            known.pop_first();
        }
        known.insert(key, (now + lifetime, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_run_out_and_are_few() {
        let cache = Cache::new();
        let at = Duration::from_secs;
        let one = key(&[b"a", b"b"]);
        assert_ne!(one, key(&[b"ab", b""]));
        cache.put(one, 1, at(0), at(10));
        assert_eq!((cache.get(&one, at(9)), cache.get(&one, at(10))), (Some(1), None));
        cache.put(key(&[b"never"]), 2, at(0), Duration::ZERO);
        assert_eq!(cache.get(&key(&[b"never"]), at(0)), None);
        for number in 0..2 * MAX_ANSWERS as u64 {
            cache.put(key(&[&number.to_be_bytes()]), 0, at(0), at(10));
        }
        assert!(cache.0.lock().unwrap().len() <= MAX_ANSWERS);
    }
}
