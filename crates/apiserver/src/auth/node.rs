//! Which objects a node needs: those that a pod on it leads to.

use k8s_auth::Related;
use serde_json::Value;

use crate::core::Core;

/// Whether a pod on `node` leads to the object.
pub(super) fn related(core: &Core, node: &str, kind: Related, namespace: &str, name: &str) -> bool {
    let Some(cache) = core.registry.cache("", "pods") else { return false };
    let state = cache.read();
    let mut pods = state.indexed(node, namespace, None);
    if kind == Related::Pod {
        return pods.any(|(key, _)| key.name == name);
    }
    // Most pods lead elsewhere, which a look at their bytes tells: names have no characters that JSON would escape.
    let quoted = format!("\"{name}\"");
    let mentioned = |json: &[u8]| std::str::from_utf8(json).is_ok_and(|text| text.contains(&quoted));
    pods.any(|(_, held)| mentioned(held.object.json()) && refers(&held.object.value(), kind, name))
}

fn refers(pod: &Value, kind: Related, name: &str) -> bool {
    let spec = &pod["spec"];
    match kind {
        Related::ConfigMap => mentions(spec, name, &[], &["configMap", "configMapRef", "configMapKeyRef"]),
        Related::PersistentVolumeClaim => mentions(spec, name, &["claimName"], &[]),
        Related::Secret => mentions(
            spec,
            name,
            &["secretName"],
            &["secretRef", "secretKeyRef", "secret", "imagePullSecrets", "nodePublishSecretRef"],
        ),
        Related::ServiceAccount => spec["serviceAccountName"] == name,
        // Volumes and devices have no kinds here yet, so nothing leads to them; a pod is compared by its name.
        Related::PersistentVolume
        | Related::Pod
        | Related::ResourceClaim
        | Related::ResourceSlice
        | Related::VolumeAttachment => false,
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
        let pod = json!({"spec": {
            "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"envFrom": [{"configMapRef": {"name": "cm"}}], "env": [{"valueFrom": {"secretKeyRef": {"name": "key"}}}]}],
            "volumes": [{"secret": {"secretName": "vol"}}, {"projected": {"sources": [{"configMap": {"name": "ca"}}]}}],
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
        ];
        for (kind, name, expected) in cases {
            assert_eq!(refers(&pod, kind, name), expected, "{kind:?} {name}");
        }
    }
}
