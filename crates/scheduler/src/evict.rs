//! Makes room on a node: tells pods of lower priority to go, in a task of its own, so that no decision waits for it.

use std::sync::Arc;

use futures_util::future;
use k8s_client::{Client, Preconditions};
use k8s_object::{ApiError, resources};
use serde_json::{Value, json};
use world::World;

use crate::pod_info::{DISRUPTION_TARGET, PREEMPTED, PodInfo};
use crate::preemption::Preemption;
use crate::recorder::Recorder;
use crate::shell::{Inbox, Outcome, patch_status};

/// Tells all victims to go, all at once but the last: when that one has gone, `pod` is tried again, and then the others should be
/// on their way too.
pub(crate) async fn evict(
    client: &Client,
    world: &World,
    recorder: &Recorder,
    inbox: &Inbox,
    pod: Arc<PodInfo>,
    preemption: Preemption,
) {
    for displaced in preemption.displaced.iter().filter(|displaced| !displaced.nominated.is_empty()) {
        // What is not cleared costs that pod a second look at the node, nothing else.
        let _ = patch_status(client, displaced, json!({"nominatedNodeName": Value::Null})).await;
    }
    let evict = |victim| evict_one(client, world, recorder, &pod, victim, &preemption.node);
    let staying: Vec<&Arc<PodInfo>> = preemption.victims.iter().filter(|victim| !victim.terminating).collect();
    let Some((last, others)) = staying.split_last() else {
        inbox.finish(Outcome::Preempted(pod, false));
        return;
    };
    let mut told = future::join_all(others.iter().copied().map(evict)).await;
    inbox.finish(Outcome::Preempting(pod.clone()));
    told.push(evict(last).await);
    let failed = told.contains(&Told::Failed);
    let all_had_gone = told.iter().all(|told| *told == Told::HadGone);
    inbox.finish(Outcome::Preempted(pod, failed || all_had_gone));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Now,
    HadGone,
    Failed,
}

async fn evict_one(
    client: &Client,
    world: &World,
    recorder: &Recorder,
    preemptor: &PodInfo,
    victim: &Arc<PodInfo>,
    node: &str,
) -> Told {
    let had_gone = |error: ApiError| {
        // A conflict: another pod has the name by now.
        if error.is_not_found() || error.is_conflict() { Told::HadGone } else { Told::Failed }
    };
    let message = format!("{}: preempting to accommodate a higher priority pod", preemptor.scheduler_name);
    let mut condition = json!({
        "type": DISRUPTION_TARGET, "status": "True", "reason": PREEMPTED, "message": message,
        "lastTransitionTime": world.now().to_string(),
    });
    if victim.generation > 0 {
        condition["observedGeneration"] = json!(victim.generation);
    }
    if let Err(error) = patch_status(client, victim, json!({"conditions": [condition]})).await {
        return had_gone(error);
    }
    let uid = Some(victim.uid.to_string());
    let only_this = Preconditions { uid, ..Preconditions::default() };
    let (namespace, name) = (&victim.key.namespace, &victim.key.name);
    if let Err(error) = client.delete(&resources::PODS, namespace, name, only_this).await {
        return had_gone(error);
    }
    recorder.preempted(victim, preemptor, node);
    Told::Now
}
