//! Encryption at rest: what the store holds, and what happens when keys change or cannot be had.

mod support;

use std::sync::Arc;

use apiserver::{EncryptionConfig, KmsByName, LocalKms};
use base64::Engine;
use serde_json::Value;
use store::{Limits, RangeRequest, Store};
use support::http::{ask, with_names};
use support::{Cluster, start_with};
use world::{Simulation, World};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// `the quick brown fox`, as Secrets have it.
const HIDDEN: &str = "dGhlIHF1aWNrIGJyb3duIGZveA==";

struct Lab {
    world: World,
    simulation: Simulation,
    store: Store,
    kms: Arc<LocalKms>,
}

impl Lab {
    fn new() -> Lab {
        let (world, simulation) = World::simulated(1);
        let store = Store::memory(&world, Limits::default());
        let kms = Arc::new(LocalKms::new(&world, "key-1"));
        Lab { world, simulation, store, kms }
    }

    /// Runs a test on an API server with this configuration; the store stays for the next.
    fn with<F: Future<Output = ()>>(&mut self, config: Option<EncryptionConfig>, test: impl FnOnce(Cluster) -> F) {
        let (world, store) = (self.world.clone(), self.store.clone());
        self.simulation.block_on(async move {
            let change = |options: &mut apiserver::Options| {
                with_names(options);
                options.encryption = config.map(Arc::new);
            };
            let cluster = start_with(&world, &store, change).await;
            let tasks = cluster.tasks.clone();
            test(cluster).await;
            tasks.shutdown(std::time::Duration::from_secs(10)).await;
        });
    }

    fn kms(&self) -> Option<EncryptionConfig> {
        Some(EncryptionConfig::secrets("test", self.kms.clone()))
    }

    /// What the store holds of a Secret.
    fn stored(&mut self, name: &str) -> Vec<u8> {
        let keyspace = self.store.keyspace("cluster/");
        let key = format!("registry/secrets/default/{name}");
        let range = RangeRequest::new(store::KeyRange::key(key));
        let found = self.simulation.block_on(keyspace.range(range)).unwrap();
        found.kvs[0].value.to_vec()
    }
}

async fn create(cluster: &Cluster, name: &str) -> u16 {
    let secret = format!(r#"{{"metadata": {{"name": "{name}"}}, "data": {{"k": "{HIDDEN}"}}}}"#);
    ask(cluster, "admin", &format!("POST {SECRETS}"), &[], &secret).await.status
}

async fn read(cluster: &Cluster, name: &str) -> Value {
    ask(cluster, "admin", &format!("GET {SECRETS}/{name}"), &[], "").await.json()["data"]["k"].clone()
}

async fn touch(cluster: &Cluster, name: &str) -> u16 {
    let merge = ["content-type: application/merge-patch+json"];
    let patch = r#"{"metadata": {"labels": {"touched": "yes"}}}"#;
    ask(cluster, "admin", &format!("PATCH {SECRETS}/{name}"), &merge, patch).await.status
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn secrets_are_unreadable_in_the_store_and_nowhere_else() {
    let mut lab = Lab::new();
    lab.with(None, |cluster| async move { assert_eq!(create(&cluster, "before").await, 201) });
    assert!(has(&lab.stored("before"), HIDDEN));
    let config = lab.kms();
    lab.with(config, |cluster| async move {
        assert_eq!(create(&cluster, "after").await, 201);
        for name in ["before", "after"] {
            assert_eq!(read(&cluster, name).await, HIDDEN, "{name}");
        }
        let map = r#"{"metadata": {"name": "open"}, "data": {"k": "seen"}}"#;
        ask(&cluster, "admin", "POST /api/v1/namespaces/default/configmaps", &[], map).await;
    });
    let stored = lab.stored("after");
    assert!(stored.starts_with(b"k8s:enc:kms:v2:test:") && !has(&stored, HIDDEN) && !has(&stored, "touched"));
    // What was written before is encrypted when it is written next.
    let config = lab.kms();
    let kms = lab.kms.clone();
    lab.with(config, |cluster| async move {
        assert_eq!(kms.decrypted(), 1, "a restart asks once for each key, not for each object");
        assert_eq!(touch(&cluster, "before").await, 200);
        assert_eq!(read(&cluster, "after").await, HIDDEN);
    });
    assert!(lab.stored("before").starts_with(b"k8s:enc:kms:v2:test:"));
}

#[test]
fn a_new_key_writes_and_the_old_one_still_reads() {
    let mut lab = Lab::new();
    let (config, kms) = (lab.kms(), lab.kms.clone());
    lab.with(config, |cluster| async move {
        create(&cluster, "a").await;
        create(&cluster, "b").await;
        kms.rotate("key-2");
        assert_eq!(touch(&cluster, "b").await, 200);
        assert_eq!((read(&cluster, "a").await, read(&cluster, "b").await), (HIDDEN.into(), HIDDEN.into()));
    });
    assert!(has(&lab.stored("a"), "key-1") && has(&lab.stored("b"), "key-2"));
}

#[test]
fn without_the_service_what_is_known_goes_on() {
    let mut lab = Lab::new();
    let (config, kms) = (lab.kms(), lab.kms.clone());
    lab.with(config, |cluster| async move {
        kms.fail(Some("the key is disabled"));
        let secret = format!(r#"{{"metadata": {{"name": "x"}}, "data": {{"k": "{HIDDEN}"}}}}"#);
        let answer = ask(&cluster, "admin", &format!("POST {SECRETS}"), &[], &secret).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (500, &Value::from("InternalError")));
        assert!(answer.text().contains("failed to encrypt secrets: the key is disabled"), "{}", answer.text());
        kms.fail(None);
        assert_eq!(create(&cluster, "x").await, 201);
        kms.fail(Some("the key is disabled"));
        assert_eq!(create(&cluster, "y").await, 201, "the seed is known");
        assert_eq!(read(&cluster, "x").await, HIDDEN);
    });
}

#[test]
fn a_value_is_bound_to_its_key() {
    let mut lab = Lab::new();
    let config = lab.kms();
    lab.with(config, |cluster| async move {
        create(&cluster, "a").await;
    });
    let value = lab.stored("a");
    let keyspace = lab.store.keyspace("cluster/");
    lab.simulation.block_on(keyspace.put("registry/secrets/default/moved", value)).unwrap();
    let (world, store, config) = (lab.world.clone(), lab.store.clone(), lab.kms());
    let error = lab.simulation.block_on(async move {
        let tasks = world.tasks("apiserver");
        let mut options = support::options(&world, &store);
        options.encryption = config.map(Arc::new);
        apiserver::ApiServer::start(options, &tasks).await.err().map(|error| error.to_string())
    });
    let error = error.unwrap_or_default();
    assert!(
        error.contains("the stored secrets default/moved cannot be decrypted: message authentication failed"),
        "{error}"
    );
}

#[test]
fn keys_of_a_configuration_encrypt_too() {
    let key = |letter: char| base64::engine::general_purpose::STANDARD.encode([letter as u8; 32]);
    let config = |providers: &str| {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: [{providers}]\n"
        );
        Some(EncryptionConfig::parse(&text, &KmsByName::new()).unwrap())
    };
    let keys = |kind: &str, names: &[char]| {
        let keys: Vec<String> = names.iter().map(|name| format!("{{name: {name}, secret: {}}}", key(*name))).collect();
        format!("{{{kind}: {{keys: [{}]}}}}", keys.join(", "))
    };
    let mut lab = Lab::new();
    for (name, providers, prefix) in [
        ("a", keys("aescbc", &['a']), "k8s:enc:aescbc:v1:a:"),
        ("b", format!("{}, {}", keys("aesgcm", &['b', 'c']), keys("aescbc", &['a'])), "k8s:enc:aesgcm:v1:b:"),
        ("c", format!("{}, {}", keys("aesgcm", &['c', 'b']), keys("aescbc", &['a'])), "k8s:enc:aesgcm:v1:c:"),
    ] {
        lab.with(config(&providers), |cluster| async move {
            assert_eq!(create(&cluster, name).await, 201);
            for old in ["a", "b", "c"].into_iter().take_while(|old| *old <= name) {
                assert_eq!(read(&cluster, old).await, HIDDEN, "{old} with the keys of {name}");
            }
        });
        let stored = lab.stored(name);
        assert!(stored.starts_with(prefix.as_bytes()) && !has(&stored, HIDDEN), "{name}");
    }
}

#[test]
fn what_the_server_writes_by_itself_is_encrypted_too() {
    let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [resourcequotas, poddisruptionbudgets.policy, namespaces, clusterroles.rbac.authorization.k8s.io]\n  providers: [{{aescbc: {{keys: [{{name: a, secret: {key}}}]}}}}]\n"
    );
    let config = || Some(EncryptionConfig::parse(&text, &KmsByName::new()).unwrap());
    let mut lab = Lab::new();
    lab.with(config(), |cluster| async move {
        let client = cluster.admin();
        let account = serde_json::json!({"metadata": {"name": "default"}});
        client.create(&k8s_object::resources::SERVICE_ACCOUNTS, "default", account).await.unwrap();
        let quotas = k8s_object::GroupVersionResource::of("", "v1", "resourcequotas");
        let quota = serde_json::json!({
            "metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "5"}},
        });
        client.create(&quotas, "default", quota).await.unwrap();
        let mut quota = client.get(&quotas, "default", "q").await.unwrap().value();
        quota["status"] = serde_json::json!({"hard": {"count/configmaps": "5"}, "used": {"count/configmaps": "0"}});
        client.update(&quotas, "default", "q", "status", quota).await.unwrap();
        let map = serde_json::json!({"metadata": {"name": "m"}});
        client.create(&k8s_object::resources::CONFIG_MAPS, "default", map).await.unwrap();
        let charged = client.get(&quotas, "default", "q").await.unwrap().value();
        assert_eq!(charged["status"]["used"]["count/configmaps"], "1");

        let labels = serde_json::json!({"app": "web"});
        let pod = serde_json::json!({
            "metadata": {"name": "p", "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        let pods = k8s_object::resources::PODS;
        client.create(&pods, "default", pod).await.unwrap();
        let status = serde_json::json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        client.patch(&pods, "default", "p", "status", k8s_client::PatchType::Merge, status).await.unwrap();
        let budgets = k8s_object::GroupVersionResource::of("policy", "v1", "poddisruptionbudgets");
        let budget = serde_json::json!({
            "metadata": {"name": "b"}, "spec": {"minAvailable": 0, "selector": {"matchLabels": labels}},
        });
        client.create(&budgets, "default", budget).await.unwrap();
        let allowed = serde_json::json!({"status": {
            "disruptionsAllowed": 1, "observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1,
        }});
        client.patch(&budgets, "default", "b", "status", k8s_client::PatchType::Merge, allowed).await.unwrap();
        let eviction = serde_json::json!({"metadata": {"name": "p"}});
        client.create_subresource(&pods, "default", "p", "eviction", eviction).await.unwrap();
        let budget = client.get(&budgets, "default", "b").await.unwrap().value();
        assert_eq!(budget["status"]["disruptionsAllowed"], 0, "{budget}");
    });
    let keyspace = lab.store.keyspace("cluster/");
    for key in [
        "resourcequotas/default/q",
        "poddisruptionbudgets.policy/default/b",
        "namespaces/kube-system",
        "clusterroles.rbac.authorization.k8s.io/view",
    ] {
        let found = lab.simulation.block_on(keyspace.get(format!("registry/{key}"))).unwrap().unwrap();
        assert!(found.value.starts_with(b"k8s:enc:aescbc:v1:a:"), "{key}: {}", String::from_utf8_lossy(&found.value));
    }
}

#[test]
fn what_is_written_beside_an_object_is_encrypted_too() {
    let mut lab = Lab::new();
    let config = EncryptionConfig::parse(
        r#"{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": [
            {"resources": ["ipaddresses.networking.k8s.io"], "providers": [{"aescbc": {"keys": [{"name": "k", "secret": "MDEyMzQ1Njc4OWFiY2RlZg=="}]}}]}
        ]}"#,
        &KmsByName::new(),
    );
    lab.with(Some(config.unwrap()), |cluster| async move {
        let service = r#"{"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}"#;
        let made = ask(&cluster, "admin", "POST /api/v1/namespaces/default/services", &[], service).await.json();
        let path =
            format!("GET /apis/networking.k8s.io/v1/ipaddresses/{}", made["spec"]["clusterIP"].as_str().unwrap());
        assert_eq!(ask(&cluster, "admin", &path, &[], "").await.json()["spec"]["parentRef"]["name"], "web");
    });
    let keyspace = lab.store.keyspace("cluster/");
    let range = RangeRequest::new(store::KeyRange::prefix("registry/ipaddresses.networking.k8s.io/"));
    let found = lab.simulation.block_on(keyspace.range(range)).unwrap();
    assert!(found.kvs.len() >= 2, "those of both Services");
    for stored in found.kvs {
        assert!(stored.value.starts_with(b"k8s:enc:aescbc:v1:k:"), "{:?}", stored.key);
    }
}
