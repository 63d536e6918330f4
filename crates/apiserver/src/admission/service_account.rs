//! ServiceAccount: every pod runs as one, and finds its token, the cluster's CA and its namespace in a volume.

use std::time::Duration;

use k8s_object::{ApiError, NamespacedName};
use serde_json::{Value, json};

use super::{Review, namespace};
use crate::core::Call;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// What the random part of the volume's name is drawn from, as for generated names.
const SUFFIX: &str = "bcdfghjklmnpqrstvwxz2456789";
/// Upstream's one hour and seven seconds: kubelets renew tokens before, and old SDKs do not complain.
const TOKEN_SECONDS: i64 = 3607;
/// How long to wait for the account of a namespace that has just been created (upstream: ten tries within two seconds).
const WAIT: Duration = Duration::from_secs(2);

fn account(object: &Value) -> &str {
    let spec = &object["spec"];
    let name = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    name.or_else(|| spec["serviceAccount"].as_str().filter(|name| !name.is_empty())).unwrap_or("default")
}

fn is_mirror(object: &Value) -> bool {
    object["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()
}

/// Waits for the pod's account.
pub(super) async fn wait(call: &Call<'_>, object: &Value) {
    let Some(cache) = call.core.registry.cache("", "serviceaccounts") else { return };
    let key = NamespacedName::new(namespace(call, object), account(object));
    let exists = || cache.get(&key).is_some();
    let namespace = call.core.lookup("", "namespaces", "", &key.namespace);
    if is_mirror(object) || exists() || namespace.is_none_or(|namespace| namespace.meta().is_terminating()) {
        return;
    }
    let mut changed = cache.subscribe();
    // Whether it came is seen by the plugin.
    let _ = call.core.world.timeout(WAIT, async { while !exists() && changed.changed().await.is_ok() {} }).await;
}

pub(super) fn admit(review: &Review<'_, '_>, object: &mut Value) -> Result<(), ApiError> {
    if !review.is_pod_create() || is_mirror(object) {
        return Ok(());
    }
    let call = review.call;
    let (namespace, name) = (namespace(call, object).to_owned(), account(object).to_owned());
    let pod = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
    let found = call.core.lookup("", "serviceaccounts", &namespace, &name).ok_or_else(|| {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        call.resource.forbidden(&pod, &why)
    })?;
    let found = found.value();
    let spec = &mut object["spec"];
    spec["serviceAccountName"] = json!(name);
    spec["serviceAccount"] = json!(name);
    if spec["imagePullSecrets"].as_array().is_none_or(|list| list.is_empty())
        && let Some(secrets) = found["imagePullSecrets"].as_array().filter(|list| !list.is_empty())
    {
        spec["imagePullSecrets"] = json!(secrets);
    }
    let mounted = spec["automountServiceAccountToken"].as_bool();
    if mounted.or_else(|| found["automountServiceAccountToken"].as_bool()).unwrap_or(true) {
        mount(call, spec);
    }
    Ok(())
}

fn mount(call: &Call<'_>, spec: &mut Value) {
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let known =
        volumes.iter().filter_map(|volume| volume["name"].as_str()).find(|name| name.starts_with(VOLUME_PREFIX));
    let volume = match known {
        Some(known) => known.to_owned(),
        None => format!("{VOLUME_PREFIX}{}", call.core.world.random_string(SUFFIX, 5)),
    };
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            let mounts = &mut container["volumeMounts"];
            if !mounts.is_array() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if !mounts.iter().any(|mount| mount["mountPath"] == MOUNT) {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT}));
                used = true;
            }
        }
    }
    if !used || known.is_some() {
        return;
    }
    if !spec["volumes"].is_array() {
        spec["volumes"] = json!([]);
    }
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 0o644, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
    }
}
