//! Defaults of pods and pod templates that upstream sets in code (core/v1 `defaults.go`).

use serde_json::{Value, json};

use super::{CONTAINER_LISTS, resources};
use crate::fields::{at, child, default_to, default_zero_to, flag, items_mut, text};

/// Permissions of files in volumes: 0644, which JSON writes in decimal.
const FILE_MODE: i64 = 420;

/// Of a pod: those of templates, and what only a running pod needs.
pub(crate) fn default_pod(pod: &mut Value) {
    let Some(spec) = child(pod, "spec") else { return };
    let host_network = flag(spec, "hostNetwork");
    // Ephemeral containers get none of this.
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            default_requests(container);
            if host_network {
                for port in items_mut(container, "ports") {
                    let number = at(port, "containerPort").clone();
                    default_zero_to(port, "hostPort", number);
                }
            }
        }
    }
    resources::default_of_pod(spec);
    default_to(spec, "enableServiceLinks", true);
    default_spec(spec);
}

/// Where a limit is set and no request, the request is the limit.
fn default_requests(container: &mut Value) {
    let limits = at(container, "resources.limits").clone();
    if let Value::Object(limits) = limits
        && !limits.is_empty()
        && let Some(requests) = child(container, "resources").and_then(|resources| child(resources, "requests"))
    {
        for (name, amount) in limits {
            default_to(requests, &name, amount);
        }
    }
}

/// Of the spec of a pod or template.
pub(crate) fn default_spec(spec: &mut Value) {
    default_zero_to(spec, "dnsPolicy", "ClusterFirst");
    default_zero_to(spec, "restartPolicy", "Always");
    default_zero_to(spec, "schedulerName", "default-scheduler");
    default_to(spec, "securityContext", json!({}));
    default_to(spec, "terminationGracePeriodSeconds", 30);
    // `serviceAccount` is the old name of `serviceAccountName`: whichever is set, both are.
    let account =
        [text(spec, "serviceAccountName"), text(spec, "serviceAccount")].into_iter().find(|name| !name.is_empty());
    if let Some(account) = account.map(str::to_owned)
        && let Some(map) = spec.as_object_mut()
    {
        map.insert("serviceAccount".to_owned(), account.clone().into());
        map.insert("serviceAccountName".to_owned(), account.into());
    }
    for volume in items_mut(spec, "volumes") {
        default_volume(volume);
    }
    for list in CONTAINER_LISTS {
        for container in items_mut(spec, list) {
            default_container(container);
        }
    }
}

fn default_volume(volume: &mut Value) {
    let has_source =
        volume.as_object().is_some_and(|map| map.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        default_to(volume, "emptyDir", json!({}));
    }
    for source in ["configMap", "downwardAPI", "projected", "secret"] {
        if let Some(source) = volume.get_mut(source).filter(|source| source.is_object()) {
            default_to(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(host_path) = volume.get_mut("hostPath") {
        default_to(host_path, "type", "");
    }
    if let Some(image) = volume.get_mut("image") {
        let policy = pull_policy(text(image, "reference"));
        default_zero_to(image, "pullPolicy", policy);
    }
    if let Some(downward) = volume.get_mut("downwardAPI") {
        default_field_refs(downward);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items_mut(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                default_to(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = source.get_mut("downwardAPI") {
                default_field_refs(downward);
            }
        }
    }
    if let Some(claim) = volume.get_mut("ephemeral").and_then(|source| source.get_mut("volumeClaimTemplate"))
        && let Some(spec) = claim.get_mut("spec")
    {
        default_to(spec, "volumeMode", "Filesystem");
    }
}

fn default_field_refs(downward: &mut Value) {
    for item in items_mut(downward, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            default_zero_to(field, "apiVersion", "v1");
        }
    }
}

fn default_container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    default_zero_to(container, "imagePullPolicy", policy);
    default_zero_to(container, "terminationMessagePath", "/dev/termination-log");
    default_zero_to(container, "terminationMessagePolicy", "File");
    default_to(container, "resources", json!({}));
    for port in items_mut(container, "ports") {
        default_zero_to(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        if let Some(field) = variable.get_mut("valueFrom").and_then(|source| source.get_mut("fieldRef")) {
            default_zero_to(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            default_zero_to(probe, "timeoutSeconds", 1);
            default_zero_to(probe, "periodSeconds", 10);
            default_zero_to(probe, "successThreshold", 1);
            default_zero_to(probe, "failureThreshold", 3);
            default_http_get(probe);
            if let Some(grpc) = probe.get_mut("grpc").filter(|grpc| grpc.is_object()) {
                default_to(grpc, "service", "");
            }
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = container.get_mut("lifecycle").and_then(|lifecycle| lifecycle.get_mut(hook)) {
            default_http_get(hook);
        }
    }
}

fn default_http_get(handler: &mut Value) {
    if let Some(http) = handler.get_mut("httpGet").filter(|http| http.is_object()) {
        default_zero_to(http, "path", "/");
        default_zero_to(http, "scheme", "HTTP");
    }
}

/// `Always` for the tag `latest`, also where neither tag nor digest says otherwise.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let has_digest = image.contains('@');
    let name = last.split('@').next().unwrap_or(last);
    match name.split_once(':') {
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if has_digest => "IfNotPresent",
        None => "Always",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_upstreams_defaults() {
        let mut pod = json!({"spec": {
            "serviceAccount": "old",
            "volumes": [
                {"name": "e"},
                {"name": "c", "configMap": {"name": "x"}},
                {"name": "h", "hostPath": {"path": "/"}},
                {"name": "p", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ]}},
            ],
            "containers": [{
                "name": "c", "image": "nginx",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0},
                "readinessProbe": {"grpc": {"port": 80}, "periodSeconds": 3},
            }],
        }});
        default_pod(&mut pod);
        assert_eq!(
            pod["spec"],
            json!({
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30, "enableServiceLinks": true,
                "serviceAccount": "old", "serviceAccountName": "old",
                "volumes": [
                    {"name": "e", "emptyDir": {}},
                    {"name": "c", "configMap": {"name": "x", "defaultMode": 420}},
                    {"name": "h", "hostPath": {"path": "/", "type": ""}},
                    {"name": "p", "projected": {"defaultMode": 420, "sources": [
                        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                        {"downwardAPI": {"items": [
                            {"path": "n", "fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}]}},
                    ]}},
                ],
                "containers": [{
                    "name": "c", "image": "nginx", "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                    "readinessProbe": {"grpc": {"port": 80, "service": ""}, "timeoutSeconds": 1,
                        "periodSeconds": 3, "successThreshold": 1, "failureThreshold": 3},
                }],
            })
        );
    }

    #[test]
    fn defaults_are_set_once_and_for_all() {
        let mut pod =
            json!({"spec": {"containers": [{"name": "c", "image": "a:1", "resources": {"limits": {"cpu": 1}}}]}});
        default_pod(&mut pod);
        let once = pod.clone();
        default_pod(&mut pod);
        assert_eq!(pod, once);
    }

    #[test]
    fn broken_shapes_do_no_harm() {
        for mut pod in [json!(null), json!([]), json!({"spec": 3}), json!({"spec": {"containers": [3, {"ports": {}}]}})]
        {
            default_pod(&mut pod);
        }
    }

    #[test]
    fn host_network_publishes_every_port() {
        let mut pod = json!({"spec": {"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]}});
        default_pod(&mut pod);
        assert_eq!(pod["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:00", "IfNotPresent"),
            ("nginx:latest@sha256:00", "Always"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
