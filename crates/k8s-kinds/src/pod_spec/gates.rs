//! Fields of pods that a minor does not serve by default: they go from what is written, unless they were there before (core
//! `dropDisabledFields`).

use serde_json::Value;

use super::{CONTAINER_LISTS, containers, env, resources};
use crate::fields::{at, items, items_mut, text};

/// The first minors that serve them by default: features `HostnameOverride` and `ImageVolume`.
const HOSTNAME_OVERRIDE_SINCE: u8 = 35;
const IMAGE_VOLUMES_SINCE: u8 = 35;

/// Whether any container has something at a path.
fn some_container(spec: &Value, has: impl Fn(&Value) -> bool) -> bool {
    CONTAINER_LISTS.iter().any(|list| items(spec, list).iter().any(&has))
}

fn has_file_key(container: &Value) -> bool {
    items(container, "env").iter().any(|variable| !at(variable, "valueFrom.fileKeyRef").is_null())
}

fn has_source(spec: &Value, source: &str) -> bool {
    items(spec, "volumes").iter().any(|volume| {
        !at(volume, source).is_null()
            || items(volume, "projected.sources").iter().any(|projection| !at(projection, source).is_null())
    })
}

/// Takes away what 1.`minor` does not serve and `old` does not have.
pub(crate) fn drop_unserved(spec: &mut Value, old: Option<&Value>, minor: u8) {
    let nothing = Value::Null;
    let old = old.unwrap_or(&nothing);
    let mut drop_field = |key: &str, since: u8, was_used: bool| {
        if minor < since
            && !was_used
            && let Some(map) = spec.as_object_mut()
        {
            map.remove(key);
        }
    };
    drop_field("resources", resources::OF_PODS_SINCE, resources::has_of_pod(old));
    drop_field("hostnameOverride", HOSTNAME_OVERRIDE_SINCE, !at(old, "hostnameOverride").is_null());
    let rules_served = minor >= containers::RESTART_RULES_SINCE
        || CONTAINER_LISTS.iter().any(|list| {
            let is_usual = |policy: &Value| policy.is_null() || (*list == "initContainers" && policy == "Always");
            let uses = |container: &Value| {
                !at(container, "restartPolicyRules").is_null() || !is_usual(at(container, "restartPolicy"))
            };
            items(old, list).iter().any(uses)
        });
    let files_served = minor >= env::FILES_SINCE || some_container(old, has_file_key);
    let signals_served = some_container(old, |container| !at(container, "lifecycle.stopSignal").is_null());
    for list in CONTAINER_LISTS {
        for container in items_mut(spec, list) {
            let Some(map) = container.as_object_mut() else { continue };
            if !rules_served {
                map.remove("restartPolicyRules");
                // Until then only what makes a sidecar was known.
                if list != "initContainers" || map.get("restartPolicy").is_some_and(|policy| policy != "Always") {
                    map.remove("restartPolicy");
                }
            }
            if !files_served && let Some(variables) = map.get_mut("env").and_then(Value::as_array_mut) {
                for variable in variables {
                    if let Some(source) = variable.get_mut("valueFrom").and_then(Value::as_object_mut) {
                        source.remove("fileKeyRef");
                    }
                }
            }
            // Not served by default in any minor (feature `ContainerStopSignals`).
            if !signals_served && let Some(lifecycle) = map.get_mut("lifecycle").and_then(Value::as_object_mut) {
                lifecycle.remove("stopSignal");
                if lifecycle.is_empty() {
                    map.remove("lifecycle");
                }
            }
        }
    }
    if minor < IMAGE_VOLUMES_SINCE && !has_source(old, "image") {
        drop_image_volumes(spec);
    }
    for volume in items_mut(spec, "volumes") {
        let Some(map) = volume.as_object_mut() else { continue };
        let sources = map.get_mut("projected").and_then(|projected| projected.get_mut("sources"));
        for projection in sources.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(map) = projection.as_object_mut() else { continue };
            // Not served by default in any minor (features `ClusterTrustBundleProjection`, `PodCertificateRequest`).
            for source in ["clusterTrustBundle", "podCertificate"] {
                if !has_source(old, source) {
                    map.remove(source);
                }
            }
        }
    }
}

/// Volumes of images go as a whole, and with them where containers mount them.
fn drop_image_volumes(spec: &mut Value) {
    let volumes = items(spec, "volumes").iter().filter(|volume| !at(volume, "image").is_null());
    let names: Vec<String> = volumes.map(|volume| text(volume, "name").to_owned()).collect();
    if names.is_empty() {
        return;
    }
    let drop = |of: &mut Value, list: &str, is_dropped: &dyn Fn(&Value) -> bool| {
        let Some(map) = of.as_object_mut() else { return };
        if let Some(list) = map.get_mut(list).and_then(Value::as_array_mut) {
            list.retain(|item| !is_dropped(item));
        }
        if map.get(list).and_then(Value::as_array).is_some_and(Vec::is_empty) {
            map.remove(list);
        }
    };
    drop(spec, "volumes", &|volume| !at(volume, "image").is_null());
    for list in CONTAINER_LISTS {
        for container in items_mut(spec, list) {
            drop(container, "volumeMounts", &|mount| names.iter().any(|name| name == text(mount, "name")));
        }
    }
}

/// The first minor that serves the health of what containers were given (feature `ResourceHealthStatus`).
const RESOURCE_HEALTH_SINCE: u8 = 36;

/// As [`drop_unserved`], of a pod's status.
pub(crate) fn drop_unserved_status(pod: &mut Value, minor: u8) {
    let Some(status) = pod.get_mut("status").filter(|_| minor < RESOURCE_HEALTH_SINCE) else { return };
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        for container in items_mut(status, list).filter_map(Value::as_object_mut) {
            container.remove("allocatedResourcesStatus");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_minor_does_not_serve_goes_unless_it_was_there() {
        let spec = json!({
            "resources": {"requests": {"cpu": "1"}}, "hostnameOverride": "h",
            "containers": [
                {"restartPolicy": "Never", "restartPolicyRules": [], "env": [{"valueFrom": {"fileKeyRef": {}}}]},
            ],
            "volumes": [{"name": "v", "image": {"reference": "x"}}],
        });
        let dropped = |old: Option<&Value>, minor: u8| {
            let mut spec = spec.clone();
            drop_unserved(&mut spec, old, minor);
            spec
        };
        assert_eq!(dropped(None, 33), json!({"containers": [{"env": [{"valueFrom": {}}]}]}));
        assert_eq!(dropped(None, 34)["resources"], spec["resources"]);
        assert_eq!(dropped(None, 35), spec);
        assert_eq!(dropped(Some(&spec), 33), spec);
    }
}
