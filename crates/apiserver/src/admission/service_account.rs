//! ServiceAccount: every pod runs as one, and finds its token, the cluster's CA and its namespace in a volume.

use std::time::Duration;

use k8s_object::{ApiError, NamespacedName};
use serde_json::{Value, json};

use super::{Operation, Review, Said, forbidden, namespace};
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
        // Not by index, which would put a null there: what is reviewed would change with every look.
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
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

/// Accounts with this annotation let their pods mount no secrets but theirs.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// What pods may refer to: mirror pods to nothing, others to the secrets of their account if it insists.
pub(super) fn judge(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    let call = review.call;
    let is_update = review.operation == Operation::Update && call.request.subresource == "ephemeralcontainers";
    if !call.resource.is("", "pods") || !(review.is_pod_create() || is_update) {
        return Ok(());
    }
    if !is_update && is_mirror(object) {
        return mirror(object).map_err(|why| forbidden(review, object, why));
    }
    let (namespace, name) = (namespace(call, object), object["spec"]["serviceAccountName"].as_str().unwrap_or(""));
    if name.is_empty() {
        let pod = object["metadata"]["name"].as_str().unwrap_or("");
        return Err(forbidden(review, object, &format!("no service account specified for pod {namespace}/{pod}")));
    }
    let Some(account) = call.core.lookup("", "serviceaccounts", namespace, name) else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(forbidden(review, object, &why));
    };
    // As Go reads a boolean.
    let enforced = account.meta().annotations.get(ENFORCE);
    if !enforced.is_some_and(|text| ["1", "t", "T", "true", "TRUE", "True"].contains(&text)) {
        return Ok(());
    }
    let account = account.value();
    let of = |field: &str| names(&account[field]);
    let fields: &[(&str, &str)] = match is_update {
        true => &[("ephemeralContainers", "ephemeral container")],
        false => &[("initContainers", "init container"), ("containers", "container")],
    };
    let pull = if is_update { None } else { Some(of("imagePullSecrets")) };
    secrets(object, name, &of("secrets"), pull.as_deref(), fields).map_err(|why| forbidden(review, object, &why))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn names(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(|own| own["name"].as_str()).map(str::to_owned).collect()
}

fn mirror(pod: &Value) -> Result<(), &'static str> {
    let spec = &pod["spec"];
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Err("a mirror pod may not reference service accounts");
    }
    let containers =
        ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|field| list(&spec[*field]));
    let by_container = containers.into_iter().any(|container| {
        list(&container["env"]).iter().any(|env| env["valueFrom"]["secretKeyRef"].is_object())
            || list(&container["envFrom"]).iter().any(|from| from["secretRef"].is_object())
    });
    let projected = || list(&spec["volumes"]).iter().flat_map(|volume| list(&volume["projected"]["sources"]));
    let by_volume = list(&spec["volumes"]).iter().any(|volume| {
        volume["secret"].is_object()
            || ["azureFile", "cephfs", "cinder", "csi", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"]
                .iter()
                .any(|kind| {
                    let source = &volume[*kind];
                    ["secretRef", "secretName", "nodePublishSecretRef"].iter().any(|field| !source[*field].is_null())
                })
    });
    let has = by_container
        || by_volume
        || !list(&spec["imagePullSecrets"]).is_empty()
        || projected().any(|source| source["secret"].is_object());
    if has {
        return Err("a mirror pod may not reference secrets");
    }
    if projected().any(|source| source["serviceAccountToken"].is_object()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Whether the account has all secrets that the pod names. `pull` are those for pulling images, if they are looked at.
fn secrets(
    pod: &Value,
    account: &str,
    known: &[String],
    pull: Option<&[String]>,
    fields: &[(&str, &str)],
) -> Result<(), String> {
    let spec = &pod["spec"];
    let has = |name: &str| known.iter().any(|own| own == name);
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let ending = format!("is not allowed because service account {account} does not reference that");
    if pull.is_some() {
        for volume in list(&spec["volumes"]).iter().filter(|volume| volume["secret"].is_object()) {
            let name = text(&volume["secret"]["secretName"]);
            if !has(&name) {
                return Err(format!("volume with secret.secretName=\"{name}\" {ending} secret"));
            }
        }
    }
    for (field, what) in fields {
        for container in list(&spec[*field]) {
            let own = text(&container["name"]);
            for env in list(&container["env"]).iter().filter(|env| env["valueFrom"]["secretKeyRef"].is_object()) {
                let name = text(&env["valueFrom"]["secretKeyRef"]["name"]);
                if !has(&name) {
                    let variable = text(&env["name"]);
                    return Err(format!(
                        "{what} {own} with envVar {variable} referencing secret.secretName=\"{name}\" {ending} secret"
                    ));
                }
            }
            for from in list(&container["envFrom"]).iter().filter(|from| from["secretRef"].is_object()) {
                let name = text(&from["secretRef"]["name"]);
                if !has(&name) {
                    return Err(format!(
                        "{what} {own} with envFrom referencing secret.secretName=\"{name}\" {ending} secret"
                    ));
                }
            }
        }
    }
    for (index, secret) in list(&spec["imagePullSecrets"]).iter().enumerate() {
        let name = text(&secret["name"]);
        if pull.is_some_and(|pull| !pull.contains(&name)) {
            return Err(format!("imagePullSecrets[{index}].name=\"{name}\" {ending} imagePullSecret"));
        }
    }
    Ok(())
}
