//! `minato cluster restore`: a cluster as it was at a past revision, as a new cluster or in place of the present one.
//!
//! The objects of the past are copied into a keyspace of their own, a new generation of the cluster's objects, while no control
//! plane of the target runs. Naming that generation in the record of the control plane is the one write that makes them the
//! cluster's. Before it, undoing is forgetting the copy; after it, only EKS has to be told. So whatever interrupts a restore,
//! either all of the past is served or none of it: [`recover`].
//!
//! All of it is done by the process that leads, under its guard: a process that has lost the lead in the midst of it writes nothing
//! more, and the next leader ends what it finds.
//!
//! What is not copied: keys that die with a lease (Events), and what stands for machines that do not exist now: Nodes whose
//! instance is gone, and the leases of kubelets. Pods of such nodes are copied: that their node is gone is noticed, and they are
//! replaced, as Kubernetes does it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use cloud_eks::Restoring;
use cloud_wire::AwsError;
use k8s_object::Object;
use k8s_object::views::Node;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{KeyRange, KeyValue, NO_LEASE, Op, RangeRequest, Txn};
use world::Timestamp;

use crate::Inner;
use crate::control_plane::{self, objects_prefix};
use crate::lead::Lead;
use crate::past::{Moment, Past};
use crate::planes::instance_of;

/// Objects in one transaction (a store takes 128 operations).
const BATCH_OBJECTS: usize = 100;
/// Bytes of keys and values in one transaction, below the store's limit of 1.5 MiB; a larger object goes alone.
const BATCH_BYTES: usize = 1 << 20;
/// Where EKS keeps its records.
const EKS: &str = "/aws/eks/";

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    cluster: String,
    #[serde(default)]
    revision: Option<i64>,
    /// RFC 3339.
    #[serde(default)]
    time: Option<String>,
    /// The name of the new cluster.
    #[serde(rename = "as", default)]
    new: Option<String>,
    #[serde(default)]
    replace: bool,
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterException", 400, message)
}

/// Carries a request out; returns when the objects are in place and the cluster goes on to become ACTIVE.
pub(crate) async fn handle(inner: &Arc<Inner>, body: &[u8]) -> Result<Value, AwsError> {
    let request: Request = serde_json::from_slice(body).map_err(|error| invalid(format!("the request: {error}")))?;
    let moment = match (request.revision, &request.time) {
        (Some(revision), None) => Moment::Revision(revision),
        (None, Some(text)) => Moment::Time(Timestamp::parse(text).map_err(|error| invalid(error.to_string()))?),
        _ => return Err(invalid("give either a revision or a time")),
    };
    if request.new.is_some() == request.replace {
        return Err(invalid("give either the name of a new cluster or that the present one is to be replaced"));
    }
    let lead = inner.lead_or_refuse().await?;
    // In a task of the leader: a client that goes away must not leave half of it.
    let (send, receive) = tokio::sync::oneshot::channel();
    let (task, leading) = (inner.clone(), lead.clone());
    lead.tasks().spawn("cluster restore", async move {
        // Whoever asked may be gone, which changes nothing.
        let _ = send.send(restore(&task, &leading, &request, moment).await);
    });
    let ended = "the process stops, or does not lead any more; what it has begun is finished or undone";
    receive.await.unwrap_or_else(|_| Err(AwsError::new("ServiceUnavailableException", 503, ended)))
}

async fn restore(inner: &Arc<Inner>, lead: &Lead, request: &Request, moment: Moment) -> Result<Value, AwsError> {
    let source = request.cluster.as_str();
    let past = Past::at(&inner.store, moment).await?;
    let revision = past.revision;
    let [cluster, groups, entries] = cloud_eks::Past::ranges(source);
    let records = [past.all(cluster, EKS).await?, past.all(groups, EKS).await?, past.all(entries, EKS).await?];
    let then = cloud_eks::Past::read(records)?.ok_or_else(|| {
        let message = format!("There was no cluster {source} at revision {revision}.");
        AwsError::new("ResourceNotFoundException", 404, message)
    })?;
    if then.cluster.endpoint.is_none() || then.cluster.restoring.is_some() {
        let status = then.cluster.status.name();
        return Err(invalid(format!(
            "Cluster {source} was {status} at revision {revision} and had no objects of its own yet"
        )));
    }
    let from = objects_prefix(source, control_plane::generation_at(&past, source).await?);
    let generation = inner.store.current_revision().await.map_err(|error| AwsError::internal(error.to_string()))?;
    let target = request.new.as_deref().unwrap_or(source);
    match &request.new {
        Some(name) => lead.eks.begin_restore_as(&then, name, generation, revision).await?,
        None => lead.eks.begin_restore_in_place(&then, generation, revision).await?,
    }
    let replaced = inner.control_plane(target);
    inner.stop_plane(target).await;
    let nodes = if request.replace { live_instances(lead, target).await? } else { BTreeSet::new() };
    let copied = copy(lead, inner, &past, &from, &objects_prefix(target, generation), &nodes).await;
    let restoring = Restoring { generation, revision, replaces: request.replace, nodegroups: Vec::new() };
    let objects = match copied {
        Ok(objects) => objects,
        Err(error) => {
            undo(inner, lead, target, &restoring).await?;
            return Err(error);
        }
    };
    control_plane::use_generation(inner, target, generation, lead.guard()).await.map_err(AwsError::internal)?;
    if let Some(plane) = replaced {
        // Before EKS says ACTIVE, so that nobody who believes it finds nothing there. If it fails, EKS tries again.
        let _ = inner.ensure_plane(&plane.spec_now(), Some(lead.guard())).await;
    }
    finish(inner, lead, target, generation).await?;
    Ok(json!({"cluster": target, "revision": revision, "objects": objects}))
}

/// Ends the restores that the end of the last leader interrupted: those whose objects are in place are finished, the others
/// undone. Then forgets objects that no cluster has.
pub(crate) async fn recover(inner: &Arc<Inner>, lead: &Lead) -> Result<(), AwsError> {
    for (cluster, restoring) in lead.eks.restores().await? {
        let generation = control_plane::generation(inner, &cluster).await.map_err(AwsError::internal)?;
        if generation == Some(restoring.generation) {
            finish(inner, lead, &cluster, restoring.generation).await?;
        } else {
            undo(inner, lead, &cluster, &restoring).await?;
        }
    }
    sweep(inner, lead, |_| true).await
}

async fn finish(inner: &Arc<Inner>, lead: &Lead, cluster: &str, generation: i64) -> Result<(), AwsError> {
    lead.eks.finish_restore(cluster, generation).await?;
    sweep(inner, lead, |name| name == cluster).await
}

async fn undo(inner: &Arc<Inner>, lead: &Lead, cluster: &str, restoring: &Restoring) -> Result<(), AwsError> {
    erase(inner, lead, &objects_prefix(cluster, restoring.generation)).await?;
    if !restoring.replaces {
        control_plane::erase(inner, cluster, lead.guard()).await.map_err(AwsError::internal)?;
    }
    lead.eks.abandon_restore(cluster, restoring.generation).await
}

async fn erase(inner: &Arc<Inner>, lead: &Lead, prefix: &str) -> Result<(), AwsError> {
    let deleted = lead.space(inner).delete(KeyRange::prefix(prefix.to_owned())).await;
    deleted.map(drop).map_err(|error| AwsError::internal(error.to_string()))
}

/// Erases generations of objects that are no cluster's, of the clusters in question. Looks at one key of each generation.
async fn sweep(inner: &Arc<Inner>, lead: &Lead, in_question: impl Fn(&str) -> bool) -> Result<(), AwsError> {
    let failed = |error: store::StoreError| AwsError::internal(error.to_string());
    let underway = lead.eks.restores().await?;
    let mut start = Bytes::from_static(control_plane::OBJECTS.as_bytes());
    loop {
        let range = KeyRange::span(start.clone(), format!("{}0", control_plane::OBJECTS.trim_end_matches('/')));
        let request = RangeRequest { limit: 1, keys_only: true, ..RangeRequest::new(range) };
        let Some(kv) = inner.store.range(request).await.map_err(failed)?.kvs.pop() else { return Ok(()) };
        let Some((prefix, cluster, generation)) = control_plane::parse_objects(&kv.key) else {
            start = [kv.key.as_ref(), b"\0"].concat().into();
            continue;
        };
        let current = control_plane::generation(inner, &cluster).await.map_err(AwsError::internal)?;
        let copying = underway.iter().any(|(name, restoring)| *name == cluster && restoring.generation == generation);
        if in_question(&cluster) && current != Some(generation) && !copying {
            erase(inner, lead, &prefix).await?;
        }
        start = format!("{}0", prefix.trim_end_matches('/')).into();
    }
}

/// The instances that are nodes of a cluster now.
async fn live_instances(lead: &Lead, cluster: &str) -> Result<BTreeSet<String>, AwsError> {
    let (instances, _) = lead.ec2.instances().await?;
    let owner = format!("eks/{cluster}/");
    let ours = |instance: &cloud_ec2::Instance| instance.state.is_live() && instance.owner.starts_with(&owner);
    Ok(instances.into_iter().filter(ours).map(|instance| instance.id).collect())
}

/// Copies the objects below one prefix, as they were, to another; returns how many.
async fn copy(
    lead: &Lead,
    inner: &Arc<Inner>,
    past: &Past,
    from: &str,
    to: &str,
    nodes: &BTreeSet<String>,
) -> Result<usize, AwsError> {
    let failed = |error: store::StoreError| AwsError::internal(error.to_string());
    let space = lead.space(inner);
    let (mut copied, mut batch, mut bytes) = (0, Txn::default(), 0);
    let mut after = None;
    loop {
        let page = past.below(from, after.as_ref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for kv in page.iter().filter(|kv| is_copied(kv, from.len(), nodes)) {
            let key = [to.as_bytes(), &kv.key[from.len()..]].concat();
            let size = key.len() + kv.value.len();
            if batch.success.len() >= BATCH_OBJECTS || (bytes > 0 && bytes + size > BATCH_BYTES) {
                space.txn(std::mem::take(&mut batch)).await.map_err(failed)?;
                bytes = 0;
            }
            batch = batch.then(Op::put(key, kv.value.clone()));
            bytes += size;
            copied += 1;
        }
    }
    if !batch.success.is_empty() {
        space.txn(batch).await.map_err(failed)?;
    }
    Ok(copied)
}

/// See the module: what of the past also is of the present.
fn is_copied(kv: &KeyValue, prefix: usize, nodes: &BTreeSet<String>) -> bool {
    if kv.lease != NO_LEASE {
        return false;
    }
    let Some(key) = apiserver::parse_stored_key(&kv.key[prefix..]) else { return true };
    match (key.group, key.plural, key.namespace) {
        ("coordination.k8s.io", "leases", "kube-node-lease") => false,
        ("", "nodes", _) => {
            let node =
                Object::from_stored(kv.value.clone(), kv.mod_revision).ok().and_then(|node| node.view::<Node>().ok());
            node.is_some_and(|node| nodes.contains(instance_of(&node)))
        }
        _ => true,
    }
}
