//! Says how many pods of each PodDisruptionBudget may be evicted now. It only counts: evictions charge a budget themselves,
//! and this controller must never delete a pod. What a pod's status announces in vain it takes back.

mod scale;
mod stale;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::Change;
use k8s_object::resources::{DEPLOYMENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS};
use k8s_object::views::{IntOrString, Pod};
use k8s_object::{GroupVersionResource, LabelSelector, Object};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use world::Timestamp;

use self::scale::{SETS, Total, Unknown, replicas};
use super::{time, with_condition};
use crate::controller::{Action, Controller, Key, Plan, Planned, Trigger, Watched};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "disruption-controller",
    event_source: "controllermanager",
    service_account: "disruption-controller",
    about: "Counts how many pods of a PodDisruptionBudget may be evicted.",
    watches: &[
        Watched { resource: PODS, indices: &[] },
        Watched { resource: BUDGETS, indices: &[] },
        Watched { resource: DEPLOYMENTS, indices: &[] },
        Watched { resource: REPLICA_SETS, indices: &[] },
        Watched { resource: REPLICATION_CONTROLLERS, indices: &[] },
        Watched { resource: STATEFUL_SETS, indices: &[] },
    ],
    watches_everything: false,
    triggers,
    plan,
    reports_failures: false,
    concurrency: 1,
    rest: Duration::from_millis(20),
};

const BUDGETS: GroupVersionResource = GroupVersionResource::of("policy", "v1", "poddisruptionbudgets");

/// How long an evicted pod may take until its deletion is seen; after that it counts as there again (upstream's
/// `DeletionTimeout`).
const DELETION_TIMEOUT: Duration = Duration::from_secs(2 * 60);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Budget {
    spec: BudgetSpec,
    status: BudgetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BudgetSpec {
    min_available: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
    /// Absent selects nothing, empty selects everything.
    selector: Option<LabelSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BudgetStatus {
    observed_generation: i64,
    #[serde(flatten)]
    counts: Counts,
    /// Names of evicted pods and when they were evicted.
    disrupted_pods: BTreeMap<String, String>,
    conditions: Vec<BudgetCondition>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Counts {
    current_healthy: i64,
    desired_healthy: i64,
    disruptions_allowed: i64,
    expected_pods: i64,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BudgetCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: String,
}

impl Budget {
    fn selects(&self, object: &Object) -> bool {
        self.spec.selector.as_ref().is_some_and(|selector| selector.matches(&object.meta().labels))
    }

    fn condition(&self) -> Option<&BudgetCondition> {
        self.status.conditions.iter().find(|condition| condition.kind == "DisruptionAllowed")
    }
}

fn triggers(change: &Change, view: &View<'_>) -> Vec<Trigger> {
    if change.resource == BUDGETS {
        return vec![Key { resource: BUDGETS, object: change.key.clone() }.into()];
    }
    let states = [change.new.as_deref(), change.old.as_deref()];
    let is_set = SETS.iter().any(|(resource, _)| change.resource == *resource);
    if is_set {
        // Only the number asked for counts, and whether the set is there at all.
        let replicas = states.map(|state| state.map(replicas));
        if replicas[0] == replicas[1] {
            return Vec::new();
        }
    }
    let concerns = |budget: &&Arc<Object>| {
        // The pods of a set may be selected by labels that the set itself does not have.
        is_set
            || budget
                .view::<Budget>()
                .is_ok_and(|budget| states.into_iter().flatten().any(|object| budget.selects(object)))
    };
    let budgets = view.list_namespace(&BUDGETS, &change.key.namespace);
    let announced = change.new.as_deref().filter(|new| change.resource == PODS && stale::concerns(new));
    let announced = announced.map(|pod| Key::of(PODS, pod));
    budgets.iter().filter(concerns).map(|budget| Key::of(BUDGETS, budget)).chain(announced).map(Trigger::from).collect()
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    if key.resource == PODS {
        return stale::plan(view, key, now);
    }
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&BUDGETS, &key.object) else { return Ok(plan) };
    let budget = object.view::<Budget>()?;
    let mut pods = Vec::new();
    for pod in view.list_namespace(&PODS, &key.object.namespace) {
        if budget.selects(&pod) {
            pods.push((pod.view::<Pod>()?, pod));
        }
    }
    let (Total { pods: expected_pods, unmanaged }, desired_healthy) = match expectation(view, &budget.spec, &pods) {
        Ok(expectation) => expectation,
        Err(Unknown::Ask(questions)) => return Ok(Plan::ask(questions)),
        Err(Unknown::Problem(problem)) => {
            fail_safe(&mut plan, &object, &budget, &problem, now);
            return Ok(plan);
        }
    };
    let mut disrupted = BTreeMap::new();
    for (_, pod) in pods.iter().filter(|(_, pod)| !pod.meta().is_terminating()) {
        let Some(since) = budget.status.disrupted_pods.get(&pod.meta().name) else { continue };
        let until = time(Some(since)) + DELETION_TIMEOUT;
        if until > now {
            plan.requeue(until.since(now));
            disrupted.insert(pod.meta().name.clone(), since.clone());
        } else {
            let message = format!("Pod was expected by PDB {} to be deleted but it wasn't", key.object);
            plan.then(Action::warning(pod, "NotDeleted", message));
        }
    }
    let healthy = pods.iter().filter(|(view, pod)| {
        !pod.meta().is_terminating() && !disrupted.contains_key(&pod.meta().name) && view.is_ready()
    });
    let current_healthy = number(healthy.count());
    // A budget that expects no pods allows nothing, so that the first pods are safe until they are counted.
    let disruptions_allowed = if expected_pods > 0 { (current_healthy - desired_healthy).max(0) } else { 0 };
    let counts = Counts { current_healthy, desired_healthy, disruptions_allowed, expected_pods };
    let (status, reason) =
        if disruptions_allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let generation = object.meta().generation;
    let old = &budget.status;
    let told = budget.condition().is_some_and(|own| own.status == status && own.reason == reason);
    if told && old.counts == counts && old.disrupted_pods == disrupted && old.observed_generation == generation {
        return Ok(plan);
    }
    if pods.is_empty() {
        plan.then(Action::event(&object, "NoPods", "No matching pods found"));
    }
    if unmanaged {
        let message = scale::unmanaged(&object.value()["spec"]["selector"]);
        plan.then(Action::warning(&object, "UnmanagedPods", message));
    }
    let condition = condition(&budget, status, reason, "", generation, now);
    plan.then(write(
        &object,
        json!({
            "conditions": with_condition(&object.value()["status"]["conditions"], condition),
            "currentHealthy": current_healthy,
            "desiredHealthy": desired_healthy,
            "disruptedPods": replaced(&old.disrupted_pods, &disrupted),
            "disruptionsAllowed": disruptions_allowed,
            "expectedPods": expected_pods,
            "observedGeneration": generation,
        }),
    ));
    Ok(plan)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How many pods there should be and how many of them healthy.
fn expectation(view: &View<'_>, spec: &BudgetSpec, pods: &[(Arc<Pod>, Arc<Object>)]) -> Result<(Total, i64), Unknown> {
    let scaled = |amount: &IntOrString, total| {
        let problem = || Unknown::Problem(format!("{amount:?} is neither a number nor a percentage"));
        amount.scaled(total, true).ok_or_else(problem)
    };
    let total = || scale::total(view, pods.iter().map(|(_, pod)| pod));
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let expected = total()?;
            let least = expected.pods.saturating_sub(scaled(most, expected.pods)?).max(0);
            Ok((expected, least))
        }
        // A plain number needs no controllers: pods that nobody controls count as well.
        (None, Some(IntOrString::Int(least))) => Ok((Total { pods: number(pods.len()), unmanaged: false }, *least)),
        (None, Some(least)) => {
            let expected = total()?;
            let least = scaled(least, expected.pods)?;
            Ok((expected, least))
        }
        (None, None) => Ok((Total::default(), 0)),
    }
}

/// Allows no evictions while it is not known how many are safe. The generation stays unobserved, as upstream leaves it.
fn fail_safe(plan: &mut Plan, object: &Arc<Object>, budget: &Budget, problem: &str, now: Timestamp) {
    let told = budget
        .condition()
        .is_some_and(|own| own.status == "False" && own.reason == "SyncFailed" && own.message == problem);
    if told && budget.status.counts.disruptions_allowed == 0 {
        return;
    }
    let message = format!("Failed to calculate the number of expected pods: {problem}");
    plan.then(Action::warning(object, "CalculateExpectedPodCountFailed", message));
    let Counts { current_healthy, desired_healthy, expected_pods, .. } = budget.status.counts;
    let condition = condition(budget, "False", "SyncFailed", problem, budget.status.observed_generation, now);
    plan.then(write(
        object,
        json!({
            "conditions": with_condition(&object.value()["status"]["conditions"], condition),
            // The schema requires all four counts, also in the first status of a budget.
            "currentHealthy": current_healthy,
            "desiredHealthy": desired_healthy,
            "disruptionsAllowed": 0,
            "expectedPods": expected_pods,
        }),
    ));
}

/// The condition `DisruptionAllowed`. Its time is that of the last change of its status.
fn condition(
    budget: &Budget,
    status: &str,
    reason: &str,
    message: &str,
    observed_generation: i64,
    now: Timestamp,
) -> Value {
    let known = budget.condition().filter(|own| own.status == status && !own.last_transition_time.is_empty());
    let mut json = json!({
        "type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": known.map_or_else(|| now.to_string(), |own| own.last_transition_time.clone()),
    });
    if observed_generation != 0 {
        json["observedGeneration"] = observed_generation.into();
    }
    json
}

/// A merge patch that makes one map the other; an empty one is absent.
fn replaced(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Value {
    if new.is_empty() {
        return Value::Null;
    }
    let gone = old.keys().map(|name| (name.clone(), Value::Null));
    let stay = new.iter().map(|(name, since)| (name.clone(), Value::from(since.as_str())));
    Value::Object(gone.chain(stay).collect::<Map<_, _>>())
}

fn write(object: &Arc<Object>, status: Value) -> Action {
    Action::Update { resource: BUDGETS, base: object.clone(), subresource: "status", change: json!({"status": status}) }
}

#[cfg(test)]
mod tests;
