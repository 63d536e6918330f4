//! Runs the engine on a real etcd: against the model, through the death of a member, and with TLS and a password.

#[path = "support/process.rs"]
mod process;
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use process::{Certificates, Cluster, Directory};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store::*;
use world::World;

/// Seeds per test, each with an etcd of its own. A failing one is printed.
const SEEDS: u64 = 3;
/// Commands per seed.
const STEPS: usize = 250;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// With `history`, watchers soon have to read what they missed from etcd.
fn agrees(seeds: std::ops::Range<u64>, history: Option<i64>) {
    if !process::found("etcd") {
        return;
    }
    for seed in seeds {
        println!("seed {seed}");
        let cluster = Cluster::start(1, None);
        block_on(async {
            let (chance, _simulation) = World::simulated(seed);
            let world = World::real();
            let mut options = EtcdOptions::new(cluster.endpoints());
            if let Some(history) = history {
                options.limits.history_revisions = history;
            }
            let store = Store::etcd(&world, options).await.unwrap();
            support::run(&world, &chance, store, STEPS, support::Engine::Remote).await;
        });
    }
}

#[test]
fn etcd_agrees_with_the_model() {
    agrees(0..SEEDS, None);
}

#[test]
fn etcd_agrees_with_the_model_when_watchers_must_read_old_history() {
    agrees(SEEDS..2 * SEEDS, Some(4));
}

#[test]
fn the_death_of_a_member_loses_no_write_and_no_event() {
    const WRITERS: usize = 4;
    const WRITES: usize = 150;
    if !process::found("etcd") {
        return;
    }
    let mut cluster = Cluster::start(3, None);
    block_on(async {
        let world = World::real();
        let store = Store::etcd(&world, EtcdOptions::new(cluster.endpoints())).await.unwrap();
        let from = store.current_revision().await.unwrap() + 1;
        let mut watcher =
            store.watch(WatchRequest { from: Some(from), ..WatchRequest::new(KeyRange::all()) }).await.unwrap();
        let acknowledged: Arc<Mutex<BTreeMap<Bytes, Revision>>> = Arc::default();
        let unknown: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let writers: Vec<world::Task> = (0..WRITERS)
            .map(|writer| {
                let (store, acknowledged, unknown) = (store.clone(), acknowledged.clone(), unknown.clone());
                world.spawn("writer", async move {
                    for i in 0..WRITES {
                        let key = Bytes::from(format!("{writer}/{i}"));
                        match store.put(key.clone(), "v").await {
                            Ok(revision) => drop(acknowledged.lock().unwrap().insert(key, revision)),
                            Err(StoreError::OutcomeUnknown { .. }) => unknown.lock().unwrap().push(key),
                            Err(error) => panic!("{key:?}: {error}"),
                        }
                    }
                })
            })
            .collect();
        // The client is connected to the first member, and in the middle of its work.
        let mut seen: Vec<(Bytes, Revision)> = Vec::new();
        let mut killed = false;
        let deadline = world.elapsed() + Duration::from_secs(300);
        loop {
            match world.timeout(Duration::from_millis(50), watcher.next()).await {
                Ok(batch) => seen.extend(batch.unwrap().events.into_iter().map(|e| (e.kv.key, e.kv.mod_revision))),
                Err(_) => {
                    let done = acknowledged.lock().unwrap().len() + unknown.lock().unwrap().len();
                    if done == WRITERS * WRITES && watcher.progress() >= store.current_revision().await.unwrap() {
                        break;
                    }
                }
            }
            if !killed && seen.len() > WRITERS * WRITES / 4 {
                killed = true;
                cluster.members[0].kill();
            }
            assert!(world.elapsed() < deadline, "{} events", seen.len());
        }
        for writer in &writers {
            writer.finished().await;
        }
        assert!(killed);
        let (acknowledged, unknown) = (acknowledged.lock().unwrap().clone(), unknown.lock().unwrap().clone());
        // Unknown is what was under way when the member died, and what waited in vain for the election of a leader if the
        // dead member was the leader. It is over when the others have one: then each writer goes on.
        for writer in 0..WRITERS {
            let last = Bytes::from(format!("{writer}/{}", WRITES - 1));
            assert!(acknowledged.contains_key(&last), "{unknown:?}");
        }
        let stored = store.range(RangeRequest::new(KeyRange::all())).await.unwrap();
        let mut stored: Vec<(Bytes, Revision)> = stored.kvs.into_iter().map(|kv| (kv.key, kv.mod_revision)).collect();
        stored.sort_by_key(|(_, revision)| *revision);
        assert_eq!(seen, stored, "every key was written once: one event each, in order");
        let stored: BTreeMap<Bytes, Revision> = stored.into_iter().collect();
        for (key, revision) in acknowledged.iter() {
            assert_eq!(stored.get(key), Some(revision), "{key:?} was acknowledged");
        }
        assert!(stored.keys().all(|key| acknowledged.contains_key(key) || unknown.contains(key)));
        println!("{} acknowledged, {} unknown", acknowledged.len(), unknown.len());
        store.shutdown().await;
    });
}

#[test]
fn revisions_of_others_are_progress() {
    if !process::found("etcd") {
        return;
    }
    let cluster = Cluster::start(1, None);
    block_on(async {
        let world = World::real();
        let open = async |prefix: &str| {
            let options = EtcdOptions { prefix: prefix.to_owned(), ..EtcdOptions::new(cluster.endpoints()) };
            Store::etcd(&world, options).await.unwrap()
        };
        let (store, other) = (open("/a/").await, open("/b/").await);
        let mut watcher = store.watch(WatchRequest::new(KeyRange::all())).await.unwrap();
        let revision = other.put("k", "v").await.unwrap();
        assert_eq!(store.get("k").await, Ok(None), "the keys of others are not seen");
        assert_eq!(store.current_revision().await, Ok(revision), "their revisions are");
        let deadline = world.elapsed() + Duration::from_secs(20);
        while watcher.progress() < revision {
            assert!(world.elapsed() < deadline, "{} does not reach {revision}", watcher.progress());
            let came = world.timeout(Duration::from_millis(10), watcher.next()).await;
            assert!(came.is_err(), "{came:?} came from nowhere");
        }
        let everything = store.range(RangeRequest::new(KeyRange::all())).await.unwrap();
        assert_eq!(everything.count, 0, "what marks progress is not a key of the store");
    });
}

#[test]
fn tls_and_passwords_are_used_and_tokens_renewed() {
    if !process::found("etcd") || !process::found("etcdctl") {
        return;
    }
    let directory = Directory::new();
    let write = |name: &str, text: String| -> PathBuf {
        let path = directory.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = write("ca.pem", parameters.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(parameters, ca_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        (write(&format!("{name}.pem"), certificate.pem()), write(&format!("{name}.key"), key.serialize_pem()))
    };
    let ((server, server_key), (client, client_key)) = (issue("server"), issue("client"));
    let certificates = Certificates { ca: &ca, certificate: &server, key: &server_key };
    let mut cluster = Cluster::start(1, Some(&certificates));
    let endpoint = cluster.endpoints().remove(0);
    let tls = format!("ca={}&cert={}&key={}", ca.display(), client.display(), client_key.display());
    block_on(async {
        let world = World::real();
        let open = async |user: &str, query: &str| {
            let mut options = EtcdOptions::parse(&format!("etcd://{user}{endpoint}?{query}")).unwrap();
            options.retry_for = Duration::from_secs(if query.is_empty() { 1 } else { 15 });
            Store::etcd(&world, options).await
        };
        open("", &tls).await.unwrap().put("k", "before").await.unwrap();
        assert!(open("", "").await.is_err(), "without TLS");
        for command in ["user add root:secret", "user grant-role root root", "auth enable"] {
            let done = Command::new("etcdctl")
                .env("ETCDCTL_API", "3")
                .arg(format!("--endpoints=https://{endpoint}"))
                .arg(format!("--cacert={}", ca.display()))
                .arg(format!("--cert={}", client.display()))
                .arg(format!("--key={}", client_key.display()))
                .args(command.split(' '))
                .output()
                .unwrap();
            assert!(done.status.success(), "{command}: {done:?}");
        }
        let refused = open("root:wrong@", &tls).await.unwrap_err().to_string();
        assert!(refused.contains("invalid user ID or password") && !refused.contains("wrong"), "{refused}");
        let store = open("root:secret@", &tls).await.unwrap();
        let mut watcher = store.watch(WatchRequest::new(KeyRange::key("k"))).await.unwrap();
        store.put("k", "one").await.unwrap();
        assert_eq!(watcher.next().await.unwrap().events[0].kv.value, "one");
        // A member that starts anew has forgotten all tokens.
        cluster.members[0].kill();
        cluster.members[0].start();
        let revision = store.current_revision().await.unwrap();
        assert_eq!(store.put("k", "two").await, Ok(revision + 1));
        assert_eq!(watcher.next().await.unwrap().events[0].kv.value, "two");
    });
}
