//! Nodes, and pods of Deployments, as controllers and kubelets write them.

use k8s_client::Client;
use k8s_object::{ApiError, GroupVersionResource};
use serde_json::{Value, json};

pub const NODE: GroupVersionResource = GroupVersionResource::of("", "v1", "nodes");
pub const POD: GroupVersionResource = GroupVersionResource::of("", "v1", "pods");
/// Over which the pods are spread.
pub const NAMESPACES: usize = 100;
/// Pods of one ReplicaSet.
const REPLICAS: usize = 50;

pub fn namespace(number: usize) -> String {
    format!("team-{:03}", number % NAMESPACES)
}

/// A namespace with the ServiceAccount that a controller would make.
pub async fn create_namespace(client: &Client, number: usize) -> Result<(), ApiError> {
    let name = namespace(number);
    client.create(&GroupVersionResource::of("", "v1", "namespaces"), "", json!({"metadata": {"name": name}})).await?;
    let account = json!({"metadata": {"name": "default"}});
    client.create(&GroupVersionResource::of("", "v1", "serviceaccounts"), &name, account).await.map(drop)
}

pub fn node_name(number: usize) -> String {
    format!("ip-10-{}-{}-{}.eu-west-1.compute.internal", number / 65_536, number / 256 % 256, number % 256)
}

pub fn node(number: usize) -> Value {
    let name = node_name(number);
    json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "m5.large", "eks.amazonaws.com/nodegroup": "workers",
            "topology.kubernetes.io/region": "eu-west-1", "topology.kubernetes.io/zone": "eu-west-1a",
        }},
        "spec": {"providerID": format!("aws:///eu-west-1a/i-{number:017x}")},
    })
}

pub fn node_status(number: usize) -> Value {
    let conditions: Vec<Value> = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
        .iter()
        .map(|kind| {
            json!({
                "type": kind, "status": if *kind == "Ready" { "True" } else { "False" },
                "lastHeartbeatTime": "2026-11-27T12:00:00Z", "lastTransitionTime": "2026-11-27T11:00:00Z",
                "reason": format!("Kubelet{kind}"), "message": "kubelet has looked at it",
            })
        })
        .collect();
    let images: Vec<Value> = (0..20)
        .map(|image| {
            let names = [
                format!("registry.example/team/app-{image}@sha256:{image:064x}"),
                format!("registry.example/team/app-{image}:1"),
            ];
            json!({"names": names, "sizeBytes": 12_345_678 + image})
        })
        .collect();
    let amount = json!({"cpu": "2", "memory": "7934400Ki", "ephemeral-storage": "83873772Ki", "pods": "110"});
    json!({"status": {
        "addresses": [{"type": "InternalIP", "address": format!("10.{}.{}.{}", number / 65_536, number / 256 % 256, number % 256)},
                      {"type": "Hostname", "address": node_name(number)}],
        "capacity": amount, "allocatable": amount, "conditions": conditions, "images": images,
        "nodeInfo": {
            "architecture": "amd64", "bootID": format!("boot-{number}"), "containerRuntimeVersion": "containerd://2.1.4",
            "kernelVersion": "6.12.46-66.121.amzn2023.x86_64", "kubeProxyVersion": "v1.34.4", "kubeletVersion": "v1.34.4-eks-4d696e6",
            "machineID": format!("{number:032x}"), "operatingSystem": "linux", "osImage": "Amazon Linux 2023.9.20251117",
            "systemUUID": format!("uuid-{number}"),
        },
    }})
}

fn image(number: usize) -> String {
    format!("registry.example/shop/frontend:v1.{}", number % 100)
}

/// A pod of a ReplicaSet of a Deployment, bound to one of `nodes`.
pub fn pod(number: usize, nodes: usize) -> Value {
    let set = format!("frontend-{:x}", 0x6d_4f75_cb9d_u64 + (number / NAMESPACES / REPLICAS) as u64);
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "timeoutSeconds": 1});
    json!({
        "metadata": {
            "name": format!("{set}-{number:06x}"), "generateName": format!("{set}-"),
            "labels": {"app": "frontend", "tier": "web", "pod-template-hash": &set[9..]},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": format!("4f6e4cde-8f0a-4b6e-9f0a-{:012x}", number / REPLICAS),
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": node_name(number % nodes),
            "containers": [{
                "name": "frontend", "image": image(number),
                "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "BACKEND", "value": "http://backend:8080"},
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "livenessProbe": probe, "readinessProbe": probe,
                "volumeMounts": [{"name": "settings", "mountPath": "/etc/frontend", "readOnly": true}],
            }],
            "volumes": [{"name": "settings", "configMap": {"name": "frontend"}}],
        },
    })
}

/// What the kubelet writes once it runs.
pub fn pod_status(number: usize) -> Value {
    let address = format!("10.{}.{}.{}", 64 + number / 65_536, number / 256 % 256, number % 256);
    let since = "2026-11-27T12:00:00Z";
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": since}))
            .collect();
    json!({"status": {
        "phase": "Running", "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}],
        "podIP": address, "podIPs": [{"ip": address}], "startTime": since, "conditions": conditions,
        "containerStatuses": [{
            "name": "frontend", "image": image(number), "imageID": format!("registry.example/shop/frontend@sha256:{:064x}", number % 100),
            "containerID": format!("containerd://{number:064x}"), "ready": true, "started": true, "restartCount": 0,
            "lastState": {}, "state": {"running": {"startedAt": since}},
        }],
    }})
}
