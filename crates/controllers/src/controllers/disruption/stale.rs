//! Takes back what a pod's status says about its coming end when nobody ends it: a DisruptionTarget that has been true for two
//! minutes without a deletion is false.

use std::sync::Arc;
use std::time::Duration;

use k8s_object::Object;
use k8s_object::resources::PODS;
use k8s_object::views::{Condition, Pod};
use serde_json::json;
use world::Timestamp;

use crate::controller::{Action, Key, Plan, Planned};
use crate::controllers::{disruption_target, time, with_condition};
use crate::view::View;

/// How long a pod may be announced to end (upstream's `stalePodDisruptionTimeout`).
const STALE_AFTER: Duration = Duration::from_secs(2 * 60);

/// The announcement, if it may become stale: those of kubelets hold until the pod has ended, and so do those of pods that have.
fn announcement<'a>(object: &Object, pod: &'a Pod) -> Option<&'a Condition> {
    let own = pod.condition("DisruptionTarget")?;
    let stays = own.status != "True" || own.reason == "TerminationByKubelet";
    (!stays && !object.meta().is_terminating() && !pod.is_finished()).then_some(own)
}

/// Whether the pod has to be looked at.
pub(super) fn concerns(object: &Object) -> bool {
    object.view::<Pod>().is_ok_and(|pod| announcement(object, &pod).is_some())
}

pub(super) fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&PODS, &key.object) else { return Ok(plan) };
    let pod = object.view::<Pod>()?;
    let Some(own) = announcement(&object, &pod) else { return Ok(plan) };
    let until = time(own.last_transition_time.as_ref()) + STALE_AFTER;
    if until > now {
        plan.requeue(until.since(now));
        return Ok(plan);
    }
    plan.then(withdraw(&object, now));
    Ok(plan)
}

fn withdraw(object: &Arc<Object>, now: Timestamp) -> Action {
    let condition = disruption_target(object, "False", now);
    let conditions = with_condition(&object.value()["status"]["conditions"], condition);
    let change = json!({"status": {"conditions": conditions}});
    Action::Update { resource: PODS, base: object.clone(), subresource: "status", change }
}

#[cfg(test)]
mod tests {
    use crate::controller::Key;
    use crate::controllers::disruption::CONTROLLER;
    use crate::testing::{object, plan_of};
    use k8s_object::resources::PODS;
    use serde_json::{Value, json};
    use std::time::Duration;

    #[test]
    fn announcements_end_when_nobody_acts_on_them() {
        // Time is 2026-01-01T00:00:00Z.
        const TAKEN_BACK: &str = r#"update pods/status a/p {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":3,"status":"False","type":"DisruptionTarget"}]}}"#;
        let announced = |since: &str, reason: &str| {
            json!({
                "metadata": {"generation": 3},
                "status": {"phase": "Running", "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": since},
                ]},
            })
        };
        let (old, new) = ("2025-12-31T23:58:00Z", "2025-12-31T23:58:30Z");
        let cases = [
            ("fresh", announced(new, ""), json!({}), Some(30), vec![]),
            ("stale", announced(old, "PreemptionByScheduler"), json!({}), None, vec![TAKEN_BACK]),
            ("of a kubelet", announced(old, "TerminationByKubelet"), json!({}), None, vec![]),
            ("ended", announced(old, ""), json!({"status": {"phase": "Failed"}}), None, vec![]),
            ("going", announced(old, ""), json!({"metadata": {"deletionTimestamp": new}}), None, vec![]),
        ];
        for (name, mut pod, extra, requeue, actions) in cases {
            crate::json::merge(&mut pod, &extra);
            let pods = [object(&PODS, "a", "p", pod)];
            let plan = plan_of(&CONTROLLER, &pods, &Key::new(PODS, "a", "p"));
            assert_eq!(plan.requeue_after, requeue.map(Duration::from_secs), "{name}");
            assert_eq!(plan.actions, actions, "{name}");
            let marked = super::concerns(&object(&PODS, "a", "p", pods[0].value()));
            assert_eq!(marked, requeue.is_some() || !actions.is_empty(), "{name}");
        }
        let calm: Value = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(!super::concerns(&object(&PODS, "a", "p", calm)));
    }
}
