//! Instances of node groups become nodes, and stop being nodes, as EC2 says. One task follows EC2; it looks at what there is, so
//! a restart or a lost watch only makes it look again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cloud_ec2::{Instance, InstanceChange, InstanceState};
use k8s_client::{Identity, Preconditions};
use k8s_object::resources::NODES;
use k8s_object::views::Taint;
use kubelet::{NodeSpec, PodAddresses, Removal};

use crate::Inner;
use crate::components::Components;
use crate::identity;
use crate::lead::Lead;
use crate::node_bootstrap::InstanceFacts;

/// Addresses that every node needs beside those of its pods: pods on the host's network have the host's.
const HOST_NETWORK_PODS: u32 = 2;
/// How long a terminated instance gives its pods.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Before looking again at what could not be done.
const RETRY: Duration = Duration::from_secs(1);

/// Starts following EC2, for as long as this process leads.
pub(crate) fn run(inner: &Arc<Inner>, lead: &Arc<Lead>) {
    let (region, term, stop) = (Arc::downgrade(inner), Arc::downgrade(lead), lead.tasks().stop());
    lead.tasks().spawn("nodes", async move {
        while let (Some(inner), Some(lead)) = (region.upgrade(), term.upgrade()) {
            if stop.or(follow(&inner, &lead)).await.is_none() {
                return;
            }
            if stop.or(inner.world.sleep(RETRY)).await.is_none() {
                return;
            }
        }
    });
}

/// Follows instances until something cannot be done now or the watch is lost.
async fn follow(inner: &Arc<Inner>, lead: &Lead) {
    let Ok((instances, mut watch)) = lead.ec2.instances().await else { return };
    let mut pending = current(instances);
    loop {
        for instance in pending.drain(..) {
            if !reconcile(inner, lead, &instance).await {
                return;
            }
        }
        tokio::select! {
            biased;
            changes = watch.next() => {
                let Ok(changes) = changes else { return };
                pending.extend(changes.into_iter().filter_map(|change| match change {
                    InstanceChange::Put(instance) => Some(*instance),
                    // It was terminated before, and its node with it.
                    InstanceChange::Gone(_) => None,
                }));
            }
            // The instances of that cluster were there before it: after a restart, all of them are.
            () = lead.started.notified() => {
                let Ok((instances, again)) = lead.ec2.instances().await else { return };
                (pending, watch) = (current(instances), again);
            }
        }
    }
}

/// Those that may still have a node. The address of one that has ended, and so its name, may be another's by now.
fn current(instances: Vec<Instance>) -> Vec<Instance> {
    let ended = |instance: &Instance| !instance.state.is_live();
    let names: BTreeSet<String> =
        instances.iter().filter(|instance| !ended(instance)).map(|instance| instance.private_dns.clone()).collect();
    instances.into_iter().filter(|instance| !ended(instance) || !names.contains(&instance.private_dns)).collect()
}

/// Makes a node of a running instance, and takes the node of one that ends away. False when it must be looked at again.
async fn reconcile(inner: &Arc<Inner>, lead: &Lead, instance: &Instance) -> bool {
    let Some((cluster, group)) = owner(instance) else { return true };
    // An instance of a cluster that does not run (yet) is no node of it; all are looked at again when it does.
    let Some(components) = lead.components(cluster) else { return true };
    match instance.state {
        InstanceState::Pending => true,
        InstanceState::Running => {
            if components.host.node(&instance.private_dns).is_none() {
                join(inner, lead, &components, group, instance).await;
            }
            true
        }
        InstanceState::ShuttingDown | InstanceState::Terminated => leave(&components, instance).await,
    }
}

/// Cluster and node group in an owner such as `eks/prod/workers`.
fn owner(instance: &Instance) -> Option<(&str, &str)> {
    instance.owner.strip_prefix("eks/")?.split_once('/')
}

async fn join(inner: &Arc<Inner>, lead: &Lead, components: &Components, group: &str, instance: &Instance) {
    let cluster = components.plane.spec.name.as_str();
    let Some(kind) = cloud_ec2::find_instance_type(&instance.instance_type) else { return };
    let Ok(Some(nodegroup)) = lead.eks.nodegroup(cluster, group).await else { return };
    let facts = InstanceFacts {
        instance_id: instance.id.clone(),
        instance_type: instance.instance_type.clone(),
        vcpus: kind.vcpus,
        memory_mib: kind.memory_mib,
        architecture: kind.architecture.kubernetes().to_owned(),
        eni_max_pods: kind.max_pods(),
        region: inner.region.clone(),
        zone: instance.zone.clone(),
        zone_id: instance.zone_id.clone(),
        private_dns_name: instance.private_dns.clone(),
        disk_gib: u64::try_from(nodegroup.disk).unwrap_or(20),
        node_group: group.to_owned(),
        capacity_type: nodegroup.capacity.clone(),
        image_id: instance.image.clone(),
        labels: nodegroup.labels.clone(),
        taints: nodegroup
            .taints
            .iter()
            .map(|taint| Taint {
                key: taint.key.clone(),
                value: taint.value.clone(),
                effect: taint.kubernetes_effect().to_owned(),
                time_added: None,
            })
            .collect(),
    };
    let wanted = usize::try_from(facts.max_pods().saturating_sub(HOST_NETWORK_PODS)).unwrap_or(usize::MAX);
    // Fewer addresses than asked for leave pods waiting for one, as they do on EKS.
    let addresses = match lead.ec2.pod_addresses(&instance.id).await {
        Ok(held) if !held.is_empty() => held.into_iter().collect(),
        _ => lead.ec2.assign_pod_addresses(&instance.id, wanted).await.unwrap_or_default(),
    };
    let spec = NodeSpec {
        name: instance.private_dns.clone(),
        provider_id: facts.provider_id(),
        labels: facts.node_labels(),
        annotations: BTreeMap::new(),
        register_with_taints: facts.taints.clone(),
        capacity: facts.capacity(),
        allocatable: facts.allocatable(),
        addresses: vec![
            ("InternalIP".to_owned(), instance.private_ip.to_string()),
            ("InternalDNS".to_owned(), instance.private_dns.clone()),
            ("Hostname".to_owned(), instance.private_dns.clone()),
        ],
        kubelet_version: cloud_eks::git_version(&nodegroup.version).unwrap_or_default(),
        os_image: "Amazon Linux 2023 (simulated by Minato)".to_owned(),
        kernel_version: "6.12.0-simulated.amzn2023".to_owned(),
        container_runtime: "minato://0.1.0".to_owned(),
        architecture: facts.architecture.clone(),
        identity: node_identity(inner, cluster, instance).await,
        pod_addresses: PodAddresses::list(addresses.into_iter().map(IpAddr::V4)),
        network: None,
    };
    // A node of this name that is there already is this one: the task has looked again.
    let _ = components.host.add_node(spec);
}

/// The kubelet's identity: the session of its instance's role, mapped by EKS at every request, so that a node whose role has no
/// access does not join, and one that loses it is locked out.
async fn node_identity(inner: &Arc<Inner>, cluster: &str, instance: &Instance) -> Identity {
    let (inner, cluster) = (Arc::downgrade(inner), cluster.to_owned());
    let (id, role) = (instance.id.clone(), instance.role.clone().unwrap_or_default());
    Identity::Provider(Arc::new(move || {
        let (inner, cluster, id, role) = (inner.clone(), cluster.clone(), id.clone(), role.clone());
        Box::pin(async move {
            let inner = inner.upgrade().ok_or_else(k8s_object::ApiError::unauthorized)?;
            identity::identify_node(&inner, &cluster, &role, &id).await.map_err(identity::refused)
        })
    }))
}

/// Stops a node's kubelet and deletes the Node, as the cloud controller does for an instance that is gone. False when the Node is
/// still there.
async fn leave(components: &Components, instance: &Instance) -> bool {
    let name = &instance.private_dns;
    // It may never have joined.
    let _ = components.host.remove_node(name, Removal::Graceful { grace: SHUTDOWN_GRACE });
    match components.eks().delete(&NODES, "", name, Preconditions::default()).await {
        Err(error) => error.is_not_found(),
        Ok(()) => true,
    }
}
