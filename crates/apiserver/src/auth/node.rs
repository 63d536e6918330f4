//! Which objects a node needs: those that a pod on it leads to.

use k8s_auth::Related;
use serde_json::Value;

use crate::core::Core;

/// Marks pods that a kubelet made for what it runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether a pod on `node`, or a volume of one, leads to the object (node authorizer's graph).
pub(super) fn related(core: &Core, node: &str, kind: Related, namespace: &str, name: &str) -> bool {
    match kind {
        Related::VolumeAttachment => names_node(core, "storage.k8s.io", "volumeattachments", name, node),
        Related::ResourceSlice => names_node(core, "resource.k8s.io", "resourceslices", name, node),
        Related::PersistentVolume => {
            let Some(volume) = core.lookup("", "persistentvolumes", "", name) else { return false };
            claims_volume(core, node, &volume.value())
        }
        Related::Secret => pods_lead(core, node, kind, namespace, name) || volumes_lead(core, node, namespace, name),
        _ => pods_lead(core, node, kind, namespace, name),
    }
}

fn names_node(core: &Core, group: &str, plural: &str, name: &str, node: &str) -> bool {
    core.lookup(group, plural, "", name).is_some_and(|object| object.value()["spec"]["nodeName"] == node)
}

/// Whether the claim that a volume is bound to is used by a pod on the node.
fn claims_volume(core: &Core, node: &str, volume: &Value) -> bool {
    let claim = &volume["spec"]["claimRef"];
    let text = |field: &str| claim[field].as_str().unwrap_or("");
    !text("name").is_empty() && pods_lead(core, node, Related::PersistentVolumeClaim, text("namespace"), text("name"))
}

/// Whether a volume that a pod on the node uses is mounted with this secret.
fn volumes_lead(core: &Core, node: &str, namespace: &str, name: &str) -> bool {
    let quoted = format!("\"{name}\"");
    core.lookup_all("", "persistentvolumes", "").iter().any(|volume| {
        std::str::from_utf8(volume.bytes()).is_ok_and(|text| text.contains(&quoted))
            && mounts_with(&volume.value(), namespace, name)
            && claims_volume(core, node, &volume.value())
    })
}

/// Whether a kubelet needs the secret to mount the volume. Secrets without a namespace are in that of the claim.
fn mounts_with(volume: &Value, namespace: &str, name: &str) -> bool {
    let spec = &volume["spec"];
    let claimed = spec["claimRef"]["namespace"].as_str().unwrap_or("");
    let is = |reference: &Value, own: &str| {
        let place = match reference["namespace"].as_str().unwrap_or("") {
            "" => own,
            place => place,
        };
        reference["name"] == name && place == namespace
    };
    let azure = &spec["azureFile"];
    let place = azure["secretNamespace"].as_str().filter(|place| !place.is_empty()).unwrap_or(claimed);
    let of_azure = azure["secretName"] == name && place == namespace;
    let claim_default = ["cephfs", "flexVolume", "rbd", "scaleIO", "iscsi"];
    of_azure
        || claim_default.iter().any(|source| is(&spec[*source]["secretRef"], claimed))
        || ["cinder", "storageos"].iter().any(|source| is(&spec[*source]["secretRef"], ""))
        || ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"]
            .iter()
            .any(|field| is(&spec["csi"][*field], ""))
}

/// Whether a pod on the node leads to the object directly.
fn pods_lead(core: &Core, node: &str, kind: Related, namespace: &str, name: &str) -> bool {
    let Some(cache) = core.registry.cache("", "pods") else { return false };
    let state = cache.read();
    let mut pods = state.indexed(node, namespace, None);
    if kind == Related::Pod {
        return pods.any(|(key, _)| key.name == name);
    }
    // Most pods lead elsewhere, which a look at their bytes tells: names have no characters that JSON would escape.
    let quoted = format!("\"{name}\"");
    let mentioned = |pod: &str, json: &[u8]| {
        // A claim of an ephemeral volume is called after pod and volume, and written nowhere in the pod.
        let made =
            kind == Related::PersistentVolumeClaim && name.strip_prefix(pod).is_some_and(|tail| tail.starts_with('-'));
        made || std::str::from_utf8(json).is_ok_and(|text| text.contains(&quoted))
    };
    pods.any(|(key, held)| {
        let object = &held.object;
        // What a kubelet makes itself must not open anything to it.
        object.meta().annotations.get(MIRROR).is_none()
            && mentioned(&key.name, object.bytes())
            && refers(&object.value(), kind, name)
    })
}

fn refers(pod: &Value, kind: Related, name: &str) -> bool {
    let spec = &pod["spec"];
    match kind {
        Related::ConfigMap => mentions(spec, name, &[], &["configMap", "configMapRef", "configMapKeyRef"]),
        Related::PersistentVolumeClaim => {
            let made = |volume: &Value| {
                let of_pod = pod["metadata"]["name"].as_str().and_then(|pod| name.strip_prefix(pod));
                volume["ephemeral"].is_object()
                    && of_pod.and_then(|tail| tail.strip_prefix('-')) == volume["name"].as_str()
            };
            mentions(spec, name, &["claimName"], &[]) || spec["volumes"].as_array().into_iter().flatten().any(made)
        }
        Related::Secret => mentions(
            spec,
            name,
            &["secretName"],
            &["secretRef", "secretKeyRef", "secret", "imagePullSecrets", "nodePublishSecretRef"],
        ),
        Related::ServiceAccount => spec["serviceAccountName"] == name,
        Related::ResourceClaim => {
            let claims =
                |list: &Value| list.as_array().into_iter().flatten().any(|claim| claim["resourceClaimName"] == name);
            let status = &pod["status"];
            claims(&spec["resourceClaims"])
                || claims(&status["resourceClaimStatuses"])
                || status["extendedResourceClaimStatus"]["resourceClaimName"] == name
        }
        // A pod is compared by its name, the others are not found through pods.
        Related::PersistentVolume | Related::Pod | Related::ResourceSlice | Related::VolumeAttachment => false,
    }
}

/// Whether a field of `texts` is `name`, or a field of `objects` holds (a list of) maps that are called so.
fn mentions(value: &Value, name: &str, texts: &[&str], objects: &[&str]) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| {
            let named = |value: &Value| value["name"] == name;
            let direct = texts.contains(&key.as_str()) && value == name;
            let inside = objects.contains(&key.as_str())
                && (named(value) || value.as_array().is_some_and(|list| list.iter().any(named)));
            direct || inside || mentions(value, name, texts, objects)
        }),
        Value::Array(list) => list.iter().any(|value| mentions(value, name, texts, objects)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_of_pods_are_found() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu-x"}]}, "spec": {
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}, {"name": "own", "resourceClaimName": "mine"}],
            "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"envFrom": [{"configMapRef": {"name": "cm"}}], "env": [{"valueFrom": {"secretKeyRef": {"name": "key"}}}]}],
            "volumes": [{"persistentVolumeClaim": {"claimName": "data"}}, {"name": "tmp", "ephemeral": {}}, {"secret": {"secretName": "vol"}}, {"projected": {"sources": [{"configMap": {"name": "ca"}}]}}],
        }});
        let cases = [
            (Related::Secret, "pull", true),
            (Related::Secret, "key", true),
            (Related::Secret, "vol", true),
            (Related::Secret, "cm", false),
            (Related::ConfigMap, "cm", true),
            (Related::ConfigMap, "ca", true),
            (Related::ConfigMap, "key", false),
            (Related::ServiceAccount, "sa", true),
            (Related::ServiceAccount, "other", false),
            (Related::PersistentVolumeClaim, "data", true),
            (Related::PersistentVolumeClaim, "p-tmp", true),
            (Related::PersistentVolumeClaim, "p-other", false),
            (Related::ResourceClaim, "p-gpu-x", true),
            (Related::ResourceClaim, "mine", true),
            (Related::ResourceClaim, "t", false),
        ];
        for (kind, name, expected) in cases {
            assert_eq!(refers(&pod, kind, name), expected, "{kind:?} {name}");
        }
    }

    #[test]
    fn secrets_of_volumes_are_found() {
        let volume = |source: Value| {
            let mut spec = source;
            spec["claimRef"] = json!({"namespace": "ns", "name": "c"});
            json!({"spec": spec})
        };
        let reference = json!({"name": "s", "namespace": "other"});
        let cases = [
            (json!({"csi": {"nodePublishSecretRef": reference}}), "other", true),
            (json!({"csi": {"nodePublishSecretRef": reference}}), "ns", false),
            (json!({"csi": {"controllerPublishSecretRef": reference}}), "other", false),
            (json!({"rbd": {"secretRef": {"name": "s"}}}), "ns", true),
            (json!({"rbd": {"secretRef": reference}}), "ns", false),
            (json!({"azureFile": {"secretName": "s"}}), "ns", true),
            (json!({"azureFile": {"secretName": "s", "secretNamespace": "other"}}), "other", true),
        ];
        for (source, namespace, expected) in cases {
            let found = mounts_with(&volume(source.clone()), namespace, "s");
            assert_eq!(found, expected, "{source} in {namespace}");
        }
    }
}
