//! A node as its kubelet describes it to the API server: the Node object, its status, its Lease.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_client::Identity;
use k8s_object::Quantity;
use k8s_object::views::Taint;
use serde_json::{Map, Value, json};
use world::Timestamp;

use crate::ids::stable_uuid;
use crate::network::{PodAddresses, PodNetwork};
use crate::runtime::Image;

/// How long a Lease holds without renewal (kubelet `nodeLeaseDurationSeconds`).
pub(crate) const LEASE_SECONDS: i64 = 40;
/// How many images a Node's status lists (kubelet `nodeStatusMaxImages`).
const MAX_IMAGES: usize = 50;

/// A node to simulate.
#[derive(Clone)]
pub struct NodeSpec {
    pub name: String,
    /// `aws:///eu-west-1a/i-0123456789abcdef0`; empty for none.
    pub provider_id: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Taints the node registers with (`--register-with-taints`).
    pub register_with_taints: Vec<Taint>,
    pub capacity: BTreeMap<String, Quantity>,
    /// Enforced when pods are admitted.
    pub allocatable: BTreeMap<String, Quantity>,
    /// Type and address: `InternalIP`, `InternalDNS`, `Hostname`, `ExternalIP` …
    pub addresses: Vec<(String, String)>,
    /// `v1.33.4-eks-e386d34`
    pub kubelet_version: String,
    pub os_image: String,
    pub kernel_version: String,
    /// `containerd://2.1.4`
    pub container_runtime: String,
    /// `amd64` or `arm64`
    pub architecture: String,
    /// Who the kubelet is to the API server. Asked at every request: a node may lose its access at any time.
    pub identity: Identity,
    /// What its pods get their addresses from, unless `network` is given.
    pub pod_addresses: PodAddresses,
    /// Where its pods get their addresses.
    pub network: Option<Arc<dyn PodNetwork>>,
}

/// What a status says that changes while the node runs.
pub(crate) struct Condition<'a> {
    /// `Err` with the reason and message of Ready=False.
    pub(crate) ready: Result<(), (&'static str, &'a str)>,
    pub(crate) images: Vec<Image>,
    /// How often the machine has been started.
    pub(crate) boots: u32,
}

impl NodeSpec {
    /// The addresses of type `InternalIP`, in order.
    pub(crate) fn internal_addresses(&self) -> Vec<IpAddr> {
        let internal = self.addresses.iter().filter(|(kind, _)| kind == "InternalIP");
        internal.filter_map(|(_, address)| address.parse().ok()).collect()
    }

    /// The labels of the Node: those given, and those every kubelet sets.
    pub(crate) fn all_labels(&self) -> BTreeMap<String, String> {
        let hostname = self.addresses.iter().find(|(kind, _)| kind == "Hostname").map_or(&self.name, |(_, name)| name);
        let mut labels: BTreeMap<String, String> = [
            ("beta.kubernetes.io/arch", &self.architecture),
            ("kubernetes.io/arch", &self.architecture),
            ("kubernetes.io/hostname", hostname),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
        labels.insert("beta.kubernetes.io/os".to_owned(), "linux".to_owned());
        labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
        labels.extend(self.labels.clone());
        labels
    }

    /// The Node to register.
    pub(crate) fn object(&self, condition: &Condition<'_>, now: Timestamp) -> Value {
        let taints = self.register_with_taints.iter().map(|taint| {
            let mut value = json!({"key": taint.key, "effect": taint.effect});
            if !taint.value.is_empty() {
                value["value"] = json!(taint.value);
            }
            value
        });
        let mut annotations = self.annotations.clone();
        annotations.insert("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned());
        let mut spec = Map::new();
        if !self.provider_id.is_empty() {
            spec.insert("providerID".to_owned(), json!(self.provider_id));
        }
        if !self.register_with_taints.is_empty() {
            spec.insert("taints".to_owned(), taints.collect());
        }
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.all_labels(), "annotations": annotations},
            "spec": spec,
            "status": self.status(condition, &Value::Null, now),
        })
    }

    /// The status; conditions of others, and times of transitions, come from `current`.
    pub(crate) fn status(&self, condition: &Condition<'_>, current: &Value, now: Timestamp) -> Value {
        let images: Vec<Value> = condition
            .images
            .iter()
            .take(MAX_IMAGES)
            .map(|image| json!({"names": image.names, "sizeBytes": image.size_bytes}))
            .collect();
        let addresses: Vec<Value> =
            self.addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        json!({
            "capacity": self.capacity,
            "allocatable": self.allocatable,
            "addresses": addresses,
            "conditions": self.conditions(condition, current, now),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": images,
            "nodeInfo": {
                "architecture": self.architecture,
                "bootID": stable_uuid(&[&self.name, &self.provider_id, "boot", &condition.boots.to_string()]),
                "containerRuntimeVersion": self.container_runtime,
                "kernelVersion": self.kernel_version,
                "kubeProxyVersion": "",
                "kubeletVersion": self.kubelet_version,
                "machineID": stable_uuid(&[&self.name, &self.provider_id, "machine"]).replace('-', ""),
                "operatingSystem": "linux",
                "osImage": self.os_image,
                "systemUUID": stable_uuid(&[&self.name, &self.provider_id, "system"]),
            },
        })
    }

    fn conditions(&self, condition: &Condition<'_>, current: &Value, now: Timestamp) -> Value {
        let ready = match condition.ready {
            Ok(()) => ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            Err((reason, message)) => ("Ready", "False", reason, message),
        };
        let own = [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ready,
        ];
        let current = current["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let others = current.iter().filter(|other| own.iter().all(|(kind, ..)| other["type"] != *kind)).cloned();
        let own = own.iter().map(|(kind, status, reason, message)| {
            let before = current.iter().find(|before| before["type"] == *kind && before["status"] == *status);
            let since = before.and_then(|before| before["lastTransitionTime"].as_str());
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now.to_string(),
                "lastTransitionTime": since.map_or_else(|| now.to_string(), str::to_owned),
            })
        });
        others.chain(own).collect()
    }

    /// The Lease to create, owned by the Node with that uid.
    pub(crate) fn lease(&self, node_uid: &str, now: Timestamp) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "namespace": "kube-node-lease",
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node_uid}],
            },
            "spec": {
                "holderIdentity": self.name,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": now.to_micro_string(),
            },
        })
    }
}
