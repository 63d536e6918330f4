//! IAM tokens that were verified a moment ago, so that a client that asks often is not verified at every request; and in the same
//! way whom the kubelets of nodes are, who have no tokens but name the session of their instance.
//!
//! What is remembered holds exactly as long as it would be found again: until the token expires, or anything changes that it was
//! found from: keys and roles of IAM, clusters and access entries of EKS, the ConfigMap aws-auth.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use cloud_eks::AssociatedPolicy;
use k8s_object::UserInfo;
use sha2::{Digest, Sha256};
use store::{KeyRange, Store, StoreError, WatchRequest, Watcher};
use world::Timestamp;

/// Tokens of a cluster that are remembered; a client has one for some minutes.
pub(crate) const MAX_TOKENS: usize = 1024;

/// What a token stands for.
#[derive(Clone)]
pub(crate) struct Known {
    pub user: Arc<UserInfo>,
    pub policies: Arc<[AssociatedPolicy]>,
    /// Never, for a node.
    pub expires_at: Option<Timestamp>,
    /// Revision of aws-auth that it was found from; none where there is no such ConfigMap.
    pub aws_auth: Option<String>,
}

impl Known {
    fn is_good_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// Under which a token is remembered: nobody learns a token from how long a look-up takes.
type Key = [u8; 32];

#[derive(Default)]
struct State {
    /// Sees what users depend on; absent until it is first needed, and after it fell behind.
    watcher: Option<Watcher>,
    /// Counts the times that all was forgotten.
    generation: u64,
    tokens: BTreeMap<Key, Known>,
}

/// The tokens of one cluster.
pub(crate) struct KnownTokens {
    store: Store,
    max: usize,
    state: Mutex<State>,
}

/// Where a token that is not known will be remembered, if nothing changes until then.
pub(crate) struct Ticket {
    key: Key,
    generation: u64,
}

impl KnownTokens {
    /// Remembers so many at most.
    pub(crate) fn new(store: &Store, max: usize) -> KnownTokens {
        KnownTokens { store: store.clone(), max, state: Mutex::default() }
    }

    /// What the token stands for, if that is known; `aws_auth` is the present revision of that ConfigMap.
    ///
    /// # Errors
    /// The store's, when it cannot be watched.
    pub(crate) async fn find(
        &self,
        token: &str,
        aws_auth: Option<&str>,
        now: Timestamp,
    ) -> Result<Result<Known, Ticket>, StoreError> {
        let key: Key = Sha256::digest(token.as_bytes()).into();
        if self.lock().watcher.is_none() {
            // Everything of `/aws/eks/` and `/aws/iam/`, and nothing beside.
            let watcher = self.store.watch(WatchRequest::new(KeyRange::span("/aws/eks/", "/aws/iam0"))).await?;
            let mut state = self.lock();
            state.forget();
            state.watcher = Some(watcher);
        }
        let mut state = self.lock();
        state.look();
        let ticket = Ticket { key, generation: state.generation };
        Ok(match state.tokens.get(&key) {
            Some(known) if known.aws_auth.as_deref() == aws_auth && known.is_good_at(now) => Ok(known.clone()),
            _ => Err(ticket),
        })
    }

    /// Remembers what a token stands for, unless something has changed since it was looked up.
    pub(crate) fn keep(&self, ticket: Ticket, known: Known, now: Timestamp) {
        let mut state = self.lock();
        state.look();
        if state.generation != ticket.generation {
            return;
        }
        if state.tokens.len() >= self.max {
            state.tokens.retain(|_, known| known.is_good_at(now));
        }
        if state.tokens.len() >= self.max {
            state.tokens.pop_first();
        }
        state.tokens.insert(ticket.key, known);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self) {
        self.tokens.clear();
        self.generation += 1;
    }

    /// Forgets everything if anything has changed.
    fn look(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut context = Context::from_waker(Waker::noop());
        let (mut changed, mut lost) = (false, false);
        while let Poll::Ready(batch) = pin!(watcher.next()).poll(&mut context) {
            changed = true;
            if batch.is_err() {
                lost = true;
                break;
            }
        }
        if lost {
            self.watcher = None;
        }
        if changed {
            self.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Limits;
    use world::World;

    fn known(expires: i64, aws_auth: Option<&str>) -> Known {
        Known {
            user: Arc::new(UserInfo::new("jane", &[])),
            policies: Arc::new([]),
            expires_at: Some(Timestamp::from_seconds(expires)),
            aws_auth: aws_auth.map(str::to_owned),
        }
    }

    #[test]
    fn tokens_are_known_until_something_changes() {
        let (world, mut simulation) = World::simulated(1);
        simulation.block_on(async move {
            let store = Store::memory(&world, Limits::default());
            let tokens = KnownTokens::new(&store, MAX_TOKENS);
            let at = Timestamp::from_seconds;
            let is_known =
                async |aws_auth: Option<&str>, now: i64| tokens.find("token", aws_auth, at(now)).await.unwrap().is_ok();
            let learn = async |expires: i64| {
                let Err(ticket) = tokens.find("token", None, at(0)).await.unwrap() else { panic!("it is known") };
                tokens.keep(ticket, known(expires, None), at(0));
            };
            learn(100).await;
            assert!(is_known(None, 99).await);
            assert!(!is_known(None, 100).await, "it has expired");
            assert!(!is_known(Some("7"), 0).await, "there is another aws-auth");
            store.put("/aws/ec2/instances/i", "x").await.unwrap();
            store.put("/clusters/a/registry/pods/b", "x").await.unwrap();
            assert!(is_known(None, 0).await, "that has nothing to do with it");
            for key in ["/aws/eks/entries/a", "/aws/iam/keys/b"] {
                store.put(key, "x").await.unwrap();
                assert!(!is_known(None, 0).await, "{key}");
                learn(100).await;
                assert!(is_known(None, 0).await, "{key}");
            }
            // What changes while a token is verified counts too.
            let Err(ticket) = tokens.find("other", None, at(0)).await.unwrap() else { panic!("it is known") };
            store.put("/aws/iam/keys/b", "y").await.unwrap();
            tokens.keep(ticket, known(100, None), at(0));
            assert!(tokens.find("other", None, at(0)).await.unwrap().is_err());
        });
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let (world, mut simulation) = World::simulated(1);
        simulation.block_on(async move {
            let tokens = KnownTokens::new(&Store::memory(&world, Limits::default()), MAX_TOKENS);
            for index in 0..MAX_TOKENS + 10 {
                let at = Timestamp::from_seconds(0);
                let Err(ticket) = tokens.find(&index.to_string(), None, at).await.unwrap() else { panic!("known") };
                tokens.keep(ticket, known(100, None), at);
            }
            assert_eq!(tokens.lock().tokens.len(), MAX_TOKENS);
        });
    }
}
