//! The counts of a DaemonSet's status. They are of nodes, not of pods.

use k8s_object::resources::DAEMON_SETS;
use serde_json::json;

use super::Sync;
use super::history::History;
use super::pods::DaemonPods;
use crate::controller::{Action, Plan};
use crate::json::count;

/// Writes the status if it changes, and asks to look again when the next pod becomes available.
pub(super) fn write(sync: &Sync<'_>, daemons: &DaemonPods, history: &History, plan: &mut Plan) {
    let (mut desired, mut current, mut misscheduled) = (0, 0, 0);
    let (mut ready, mut updated, mut available) = (0, 0, 0);
    for site in &sync.nodes {
        let first = daemons.of(&site.name).first();
        if !site.placement.should_run {
            misscheduled += i64::from(first.is_some());
            continue;
        }
        desired += 1;
        let Some(first) = first else { continue };
        current += 1;
        ready += i64::from(first.pod.is_ready());
        available += i64::from(first.is_available(sync.set, sync.now));
        updated += i64::from(first.is_updated(sync.set, &history.hash));
    }
    let waits = daemons.all().iter().filter_map(|daemon| daemon.available_at(sync.set));
    if let Some(next) = waits.filter(|at| *at > sync.now).min() {
        plan.requeue(next.since(sync.now));
    }
    let (old, generation) = (&sync.set.status, sync.object.meta().generation);
    let unavailable = desired - available;
    let collisions = (history.collisions > 0).then_some(history.collisions).or(old.collision_count);
    let unchanged = (desired, current, misscheduled, ready)
        == (old.desired_number_scheduled, old.current_number_scheduled, old.number_misscheduled, old.number_ready)
        && (updated, available, unavailable)
            == (old.updated_number_scheduled, old.number_available, old.number_unavailable)
        && collisions == old.collision_count
        && old.observed_generation >= generation;
    if unchanged {
        return;
    }
    let change = json!({"status": {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
        "observedGeneration": count(generation),
        "updatedNumberScheduled": count(updated),
        "numberAvailable": count(available),
        "numberUnavailable": count(unavailable),
        "collisionCount": collisions,
    }});
    plan.then(Action::Update { resource: DAEMON_SETS, base: sync.object.clone(), subresource: "status", change });
}
