//! Writes as a cluster makes them: pods, node leases, events that run out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Cmp, Compare, KeyRange, LeaseId, Op, Store, StoreError, Txn};
use world::World;

use crate::HOUR;
use crate::watchers::Watched;

/// Nodes, each of which renews its lease object this often.
const NODES: u64 = 100;
const RENEW: Duration = Duration::from_secs(10);

/// Pods at the same time.
const PODS: usize = 300;
const NAMESPACES: u64 = 20;

/// A pod is made, and the oldest deleted, this often.
const POD_EVERY: Duration = Duration::from_millis(400);

/// Events live as long as a lease that many of them share, as in kube-apiserver.
const EVENT_TTL: Duration = Duration::from_secs(60);
const EVENTS_PER_LEASE: usize = 50;
const EVENT_EVERY: Duration = Duration::from_millis(500);

/// Leases that their holder keeps alive for a while, and then lets go.
const HOLDERS: u64 = 30;
const HOLD_TTL: Duration = Duration::from_secs(15);

/// Events of two lifetimes, since a lease is shared.
const EVENTS: usize = (3 * EVENT_TTL.as_millis() / EVENT_EVERY.as_millis()) as usize;

/// Bounds of what is live.
pub const MOST_KEYS: usize = NODES as usize + PODS + EVENTS + HOLDERS as usize + 10;
pub const MOST_LEASES: usize = EVENTS / EVENTS_PER_LEASE + HOLDERS as usize + 10;

pub fn pod_prefix(namespace: u64) -> String {
    format!("/registry/pods/namespace-{namespace:02}/")
}

pub fn node_key(node: u64) -> Bytes {
    Bytes::from(format!("/registry/leases/kube-node-lease/node-{node:03}"))
}

/// Bytes of an object's size; nothing reads them.
fn object(world: &World, bytes: u64) -> Bytes {
    let mut value = vec![0; (bytes / 2 + world.below(bytes)) as usize];
    world.fill(&mut value[..16]);
    Bytes::from(value)
}

/// Starts all writers; they end with the hour.
pub fn start(world: &World, store: &Store, watched: &Arc<Watched>) {
    world.spawn("pods", pods(world.clone(), store.clone(), watched.clone()));
    world.spawn("events", events(world.clone(), store.clone()));
    for node in 0..NODES {
        world.spawn("node", renew(world.clone(), store.clone(), node, watched.clone()));
    }
    for holder in 0..HOLDERS {
        world.spawn("holder", hold(world.clone(), store.clone(), holder));
    }
}

/// Creates, updates twice (bound, running) and in the end deletes.
async fn pods(world: World, store: Store, watched: Arc<Watched>) {
    let mut live: VecDeque<Bytes> = VecDeque::new();
    let mut number = 0;
    while world.elapsed() < HOUR {
        world.sleep(POD_EVERY).await;
        let key = Bytes::from(format!("{}pod-{number:06}", pod_prefix(world.below(NAMESPACES))));
        number += 1;
        let create = Txn::when(Compare::absent(key.clone())).then(Op::put(key.clone(), object(&world, 2_000)));
        let mut revision = store.txn(create).await.expect("a pod is created").revision;
        for _ in 0..2 {
            let unchanged = Compare::unchanged(key.clone(), revision);
            let update = Txn::when(unchanged).then(Op::put(key.clone(), object(&world, 2_500)));
            let updated = store.txn(update).await.expect("a pod is updated");
            assert!(updated.succeeded, "nobody else writes a pod");
            revision = updated.revision;
        }
        watched.pods_written(3);
        live.push_back(key);
        if live.len() > PODS {
            let oldest = live.pop_front().expect("there are some");
            assert_eq!(store.delete(KeyRange::key(oldest)).await, Ok(1), "a pod is deleted");
            watched.pods_written(1);
        }
    }
}

async fn renew(world: World, store: Store, node: u64, watched: Arc<Watched>) {
    world.sleep(RENEW / 1000 * world.below(1000) as u32).await;
    while world.elapsed() < HOUR {
        store.put(node_key(node), object(&world, 300)).await.expect("a node renews its lease");
        watched.node_renewed(node);
        world.sleep(RENEW).await;
    }
}

async fn events(world: World, store: Store) {
    let (mut lease, mut bound, mut number): (Option<LeaseId>, usize, u64) = (None, EVENTS_PER_LEASE, 0);
    while world.elapsed() < HOUR {
        world.sleep(EVENT_EVERY).await;
        if bound >= EVENTS_PER_LEASE {
            lease = Some(store.lease_grant(EVENT_TTL, None).await.expect("a lease of events").id);
            bound = 0;
        }
        let Some(id) = lease else { continue };
        let key = Bytes::from(format!("/registry/events/default/event-{number:06}"));
        number += 1;
        bound += 1;
        let put = Op::Put { key, value: object(&world, 800), lease: id, prev_kv: false };
        match store.txn(Txn::of(put)).await {
            Ok(_) => {}
            Err(StoreError::LeaseNotFound { .. }) => bound = EVENTS_PER_LEASE,
            Err(error) => panic!("an event: {error}"),
        }
    }
}

/// Takes a lock whose lease it keeps alive, and lets it run out, again and again.
async fn hold(world: World, store: Store, holder: u64) {
    let key = Bytes::from(format!("/locks/{holder}"));
    while world.elapsed() < HOUR {
        let lease = store.lease_grant(HOLD_TTL, None).await.expect("a lease is granted").id;
        let put = Op::Put { key: key.clone(), value: Bytes::new(), lease, prev_kv: false };
        let free = Compare::Version { key: key.clone(), op: Cmp::Equal, version: 0 };
        assert!(store.txn(Txn::when(free).then(put)).await.expect("a lock").succeeded, "the lock had run out");
        for _ in 0..world.below(6) {
            world.sleep(HOLD_TTL / 2).await;
            store.lease_keep_alive(lease).await.expect("it has not run out");
        }
        let before = store.get(key.clone()).await.expect("a read");
        assert!(before.is_some_and(|kv| kv.lease == lease), "a lock vanished while its lease was kept alive");
        // A second more than its time to live: now it is gone.
        world.sleep(HOLD_TTL + Duration::from_secs(1)).await;
        assert_eq!(store.get(key.clone()).await, Ok(None), "a lock outlived its lease");
        assert!(store.lease_keep_alive(lease).await.is_err(), "a lease outlived its time");
    }
}
