//! Pod.

use std::borrow::Cow;

use k8s_object::Cause;
use serde_json::{Value, json};
use world::Timestamp;

use crate::age::since;
use crate::causes::forbidden;
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, carry_over, child, flag, int, is_empty, items, items_mut, text, text_at};
use crate::pod_spec::{self, is_restartable_init};
use crate::strategy::{agree_on_first, drop_status, is_terminating, keep_apart};
use crate::{Context, Kind, STATUS, Subresource, is_pod_terminal, names, proxy, stream, workload};

pub(crate) static KIND: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    type_name: "io.k8s.api.core.v1.Pod",
    subresources: &[
        stream("attach", "PodAttachOptions"),
        Subresource { name: "binding", group: "", version: "v1", kind: "Binding", verbs: &["create"] },
        Subresource {
            name: "ephemeralcontainers",
            group: "",
            version: "",
            kind: "",
            verbs: &["get", "patch", "update"],
        },
        Subresource { name: "eviction", group: "policy", version: "v1", kind: "Eviction", verbs: &["create"] },
        stream("exec", "PodExecOptions"),
        Subresource { name: "log", group: "", version: "", kind: "", verbs: &["get"] },
        stream("portforward", "PodPortForwardOptions"),
        proxy("PodProxyOptions"),
        Subresource { name: "resize", group: "", version: "", kind: "", verbs: &["get", "patch", "update"] },
        STATUS,
    ],
    columns: &[
        NAME,
        Column::text("Ready", "Containers that are ready, of all that should be.", |object, now| {
            let summary = Summary::of(object, now);
            format!("{}/{}", summary.ready, summary.total).into()
        }),
        Column::text("Status", "Phase, or the reason that says more.", |object, now| {
            Summary::of(object, now).reason.into()
        }),
        Column::text("Restarts", "Restarts of containers, and when the last was.", |object, now| {
            Summary::of(object, now).restarts.into()
        }),
        AGE,
        Column::text("IP", "Address of the pod.", |object, _| ip(object)).wide(),
        Column::text("Node", "Where it runs.", |object, _| text_or(object, "spec.nodeName", "<none>")).wide(),
        Column::text("Nominated Node", "Where room is being made for it.", |object, _| {
            text_or(object, "status.nominatedNodeName", "<none>")
        })
        .wide(),
        Column::text("Readiness Gates", "Gates that are open, of all.", |object, _| gates(object).into()).wide(),
    ],
    selectable: &[
        "spec.hostNetwork",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.nominatedNodeName",
        "status.phase",
        "status.podIP",
    ],
    field,
    has_generation: true,
    default: |object, _| pod_spec::default_pod(object),
    prepare_create,
    prepare_update,
    validate,
    warnings,
    grace_period: |object, _, asked| pod_spec::grace_period(object, asked),
    returns_deleted: true,
    ..Kind::BASE
};

fn field<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    match path {
        "spec.hostNetwork" => if flag(object, path) { "true" } else { "false" }.into(),
        other => text_at(object, other),
    }
}

fn prepare_create(object: &mut Value, context: &Context<'_>) {
    drop_status(object, context);
    workload::drop_unserved(object, "/spec", context);
    let mut status = json!({"phase": "Pending", "qosClass": pod_spec::qos_class(at(object, "spec"))});
    if !items(object, "spec.schedulingGates").is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": context.now.to_string(),
        }]);
    }
    if let Some(map) = object.as_object_mut() {
        map.insert("status".to_owned(), status);
    }
    narrow_affinity(object);
    if context.minor >= pod_spec::MERGED_SPREAD_SINCE {
        narrow_spread(object);
    }
    pod_spec::apply_apparmor_annotations(object);
}

/// `matchLabelKeys` of spread constraints name labels of this pod too.
fn narrow_spread(object: &mut Value) {
    let labels = at(object, "metadata.labels").clone();
    let Some(spec) = object.get_mut("spec") else { return };
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        add_label_keys(constraint, &[("matchLabelKeys", "In")], &labels);
    }
}

/// Adds the pod's own values of the labels that a term names to the selector of the term.
fn add_label_keys(term: &mut Value, lists: &[(&str, &str)], labels: &Value) {
    if !at(term, "labelSelector").is_object() {
        return;
    }
    let mut added = Vec::new();
    for (list, operator) in lists {
        for key in items(term, list).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if let Some(selector) = term.get_mut("labelSelector").filter(|_| !added.is_empty()) {
        match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
            Some(list) => list.extend(added),
            None => selector["matchExpressions"] = added.into(),
        }
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` of affinity terms name labels of this pod: their values join the selector.
fn narrow_affinity(object: &mut Value) {
    let labels = at(object, "metadata.labels").clone();
    let Some(affinity) = object.get_mut("spec").and_then(|spec| spec.get_mut("affinity")) else { return };
    let narrow = |term: &mut Value| {
        add_label_keys(term, &[("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")], &labels);
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = affinity.get_mut(kind) else { continue };
        items_mut(affinity, "requiredDuringSchedulingIgnoredDuringExecution").for_each(narrow);
        for weighted in items_mut(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                narrow(term);
            }
        }
    }
}

fn prepare_update(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    let Some(old) = context.old else { return };
    match context.subresource {
        "" => {}
        "status" => {
            if let Some(metadata) = object.get_mut("metadata") {
                carry_over(metadata, at(old, "metadata"), "ownerReferences");
            }
            if let Some(status) = child(object, "status") {
                agree_on_first(status, "podIP", "podIPs", |ip| json!({"ip": ip}));
                if text(status, "qosClass").is_empty() {
                    carry_over(status, at(old, "status"), "qosClass");
                }
            }
            pod_spec::keep_generations(object, old);
            pod_spec::drop_unserved_status(object, context.minor);
        }
        "ephemeralcontainers" => {
            let sent = at(object, "spec").clone();
            carry_over(object, old, "spec");
            carry_over(object, old, "status");
            keep_metadata(object, old);
            if let Some(spec) = child(object, "spec") {
                carry_over(spec, &sent, "ephemeralContainers");
            }
        }
        "resize" => {
            pod_spec::keep_all_but_resources(object, old);
            keep_metadata(object, old);
        }
        _ => {}
    }
    workload::drop_unserved(object, "/spec", context);
}

/// What a write of a part may not change of the object's metadata (apimachinery `ResetObjectMetaForStatus`).
fn keep_metadata(object: &mut Value, old: &Value) {
    const KEPT: [&str; 9] = [
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generation",
        "labels",
        "ownerReferences",
        "uid",
    ];
    if let Some(metadata) = object.get_mut("metadata") {
        KEPT.iter().for_each(|key| carry_over(metadata, at(old, "metadata"), key));
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let minor = context.minor;
    let Some(old) = context.old else {
        let mut causes = pod_spec::validate_pod(object, minor);
        if !is_empty(at(object, "spec.ephemeralContainers")) {
            causes.push(forbidden("spec.ephemeralContainers", "cannot be set on create"));
        }
        if !text(object, "spec.nodeName").is_empty() && !items(object, "spec.schedulingGates").is_empty() {
            causes.push(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"));
        }
        causes.extend(pod_spec::annotated(object, ""));
        return causes;
    };
    let of_part = match context.subresource {
        "" => pod_spec::validate_update(object, old),
        "ephemeralcontainers" => pod_spec::validate_ephemeral_containers(object, old),
        "resize" => pod_spec::validate_resize(object, old, context.minor),
        _ => return pod_spec::validate_status(object, old, minor),
    };
    // A pod that cannot be changed so at all is told nothing else.
    if of_part.iter().any(|cause| cause.field.is_empty()) {
        return of_part;
    }
    let mut causes = pod_spec::validate_pod(object, minor);
    causes.extend(of_part);
    causes
}

/// Only of new pods: nobody writes to a pod by hand, and kubelets do it often.
fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    if context.old.is_some() {
        return Vec::new();
    }
    let mut warnings = names::hostname_warnings(object, context, "the Pod's hostname");
    warnings.extend(pod_spec::warnings(object, ""));
    warnings
}

fn ip(object: &Value) -> Value {
    let first = items(object, "status.podIPs").first().map_or("", |address| text(address, "ip"));
    if first.is_empty() { text_or(object, "status.podIP", "<none>") } else { first.into() }
}

fn gates(object: &Value) -> String {
    let gates = items(object, "spec.readinessGates");
    let open = |gate: &&Value| {
        let kind = text(gate, "conditionType");
        let condition = items(object, "status.conditions").iter().find(|condition| text(condition, "type") == kind);
        condition.is_some_and(|condition| text(condition, "status") == "True")
    };
    match gates.len() {
        0 => "<none>".to_owned(),
        all => format!("{}/{all}", gates.iter().filter(open).count()),
    }
}

/// What `kubectl get pods` shows (printers `printPod`).
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: String,
}

/// Restarts of some containers, and the end of the last run, if it is known.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: String,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += int(container, "restartCount");
        // RFC 3339 in UTC sorts as text.
        let finished = text(container, "lastState.terminated.finishedAt");
        if finished > self.last.as_str() {
            self.last = finished.to_owned();
        }
    }

    fn written(&self, now: Timestamp) -> String {
        match (self.count, self.last.as_str()) {
            (0, _) | (_, "") => self.count.to_string(),
            (count, last) => format!("{count} ({} ago)", since(last, now)),
        }
    }
}

/// Why a container ended: its reason, else the signal or the exit code.
fn end(terminated: &Value) -> String {
    match (text(terminated, "reason"), int(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

impl Summary {
    fn of(pod: &Value, now: Timestamp) -> Summary {
        let conditions = items(pod, "status.conditions");
        let is_true = |kind: &str| {
            conditions.iter().any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
        };
        let gated = conditions.iter().any(|condition| {
            text(condition, "type") == "PodScheduled" && text(condition, "reason") == "SchedulingGated"
        });
        let mut reason = match (text(pod, "status.reason"), gated) {
            (_, true) => "SchedulingGated",
            ("", false) => text(pod, "status.phase"),
            (reason, false) => reason,
        }
        .to_owned();
        let sidecars: Vec<&str> = items(pod, "spec.initContainers")
            .iter()
            .filter(|container| is_restartable_init(container))
            .map(|container| text(container, "name"))
            .collect();
        let total = items(pod, "spec.containers").len() + sidecars.len();
        let mut ready = 0;
        let (mut restarts, mut sidecar_restarts) = (Restarts::default(), Restarts::default());
        let mut initializing = false;
        for (index, container) in items(pod, "status.initContainerStatuses").iter().enumerate() {
            restarts.add(container);
            let is_sidecar = sidecars.contains(&text(container, "name"));
            if is_sidecar {
                sidecar_restarts.add(container);
            }
            let terminated = at(container, "state.terminated");
            if terminated.is_object() && int(terminated, "exitCode") == 0 {
                continue;
            }
            if is_sidecar && flag(container, "started") {
                ready += usize::from(flag(container, "ready"));
                continue;
            }
            let waiting = text(container, "state.waiting.reason");
            reason = if terminated.is_object() {
                format!("Init:{}", end(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", items(pod, "spec.initContainers").len())
            };
            initializing = true;
            break;
        }
        if !initializing || is_true("Initialized") {
            restarts = sidecar_restarts;
            let mut running = false;
            for container in items(pod, "status.containerStatuses").iter().rev() {
                restarts.add(container);
                let (waiting, terminated) =
                    (text(container, "state.waiting.reason"), at(container, "state.terminated"));
                if !waiting.is_empty() {
                    reason = waiting.to_owned();
                } else if terminated.is_object() {
                    reason = end(terminated);
                } else if flag(container, "ready") && at(container, "state.running").is_object() {
                    running = true;
                    ready += 1;
                }
            }
            // One container has ended well, another still runs.
            if reason == "Completed" && running {
                reason = if is_true("Ready") { "Running" } else { "NotReady" }.to_owned();
            }
        }
        if is_terminating(pod) {
            if text(pod, "status.reason") == "NodeLost" {
                reason = "Unknown".to_owned();
            } else if !is_pod_terminal(pod) {
                reason = "Terminating".to_owned();
            }
        }
        Summary { ready, total, reason, restarts: restarts.written(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn shown(pod: &Value) -> (String, String, String) {
        let summary = Summary::of(pod, Timestamp::parse(NOW).unwrap());
        (format!("{}/{}", summary.ready, summary.total), summary.reason, summary.restarts)
    }

    #[test]
    fn pods_show_what_kubectl_shows() {
        let running = json!({"name": "c", "ready": true, "state": {"running": {}}});
        let pod = |status: Value| json!({"spec": {"containers": [{"name": "c"}]}, "status": status});
        let cases = [
            (pod(json!({"phase": "Pending"})), ("0/1", "Pending", "0")),
            (pod(json!({"phase": "Running", "containerStatuses": [running]})), ("1/1", "Running", "0")),
            (pod(json!({"phase": "Failed", "reason": "Evicted"})), ("0/1", "Evicted", "0")),
            (
                pod(json!({"phase": "Running", "containerStatuses": [{"restartCount": 3,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}}]})),
                ("0/1", "CrashLoopBackOff", "3 (5m ago)"),
            ),
            (
                pod(json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 2}}}]})),
                ("0/1", "ExitCode:2", "0"),
            ),
            (
                pod(json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"signal": 9}}}]})),
                ("0/1", "Signal:9", "0"),
            ),
            (
                pod(
                    json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
                ),
                ("0/1", "SchedulingGated", "0"),
            ),
            (
                json!({"metadata": {"deletionTimestamp": NOW}, "spec": {"containers": [{}]}, "status": {"phase": "Running", "containerStatuses": [running]}}),
                ("1/1", "Terminating", "0"),
            ),
            (
                json!({"metadata": {"deletionTimestamp": NOW}, "spec": {"containers": [{}]}, "status": {"phase": "Running", "reason": "NodeLost"}}),
                ("0/1", "Unknown", "0"),
            ),
            (
                json!({"spec": {"containers": [{}, {}]}, "status": {"phase": "Running", "containerStatuses": [
                    {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}, running]}}),
                ("1/2", "NotReady", "0"),
            ),
        ];
        for (pod, (ready, status, restarts)) in cases {
            assert_eq!(shown(&pod), (ready.into(), status.into(), restarts.into()), "{pod}");
        }
    }

    #[test]
    fn init_containers_and_sidecars_show() {
        let spec = json!({
            "containers": [{"name": "c"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        });
        let pod = |init: Value| json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": init}});
        let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let cases = [
            (json!([{"name": "i", "state": {"running": {}}}]), ("0/2", "Init:0/2")),
            (
                json!([{"name": "i", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]),
                ("0/2", "Init:ImagePullBackOff"),
            ),
            (
                json!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]),
                ("0/2", "Init:Error"),
            ),
            (json!([done, {"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}}]), ("0/2", "Init:1/2")),
            (
                json!([done, {"name": "s", "started": true, "ready": true, "state": {"running": {}}}]),
                ("1/2", "Pending"),
            ),
        ];
        for (init, (ready, status)) in cases {
            let (own_ready, own_status, _) = shown(&pod(init));
            assert_eq!((own_ready.as_str(), own_status.as_str()), (ready, status));
        }
    }

    #[test]
    fn the_server_owns_the_status_of_a_new_pod() {
        let mut pod = json!({"spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Running"}});
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        prepare_create(&mut pod, &context);
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    }

    #[test]
    fn label_keys_of_affinity_join_its_selector() {
        let mut pod = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "t", "labelSelector": {}, "matchLabelKeys": ["app", "absent"]}]}}},
        });
        narrow_affinity(&mut pod);
        let terms = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        assert_eq!(
            terms[0]["labelSelector"]["matchExpressions"],
            json!([{"key": "app", "operator": "In", "values": ["web"]}])
        );
    }

    #[test]
    fn grace_is_given_only_where_something_may_run() {
        let pod = |node: &str, phase: &str| json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 20}, "status": {"phase": phase}});
        let cases = [
            (pod("", "Pending"), None, 0),
            (pod("n", "Running"), None, 20),
            (pod("n", "Running"), Some(5), 5),
            (pod("n", "Running"), Some(0), 0),
            (pod("n", "Running"), Some(-1), 1),
            (pod("n", "Succeeded"), Some(5), 0),
        ];
        for (pod, asked, expected) in cases {
            assert_eq!((KIND.grace_period)(&pod, &Default::default(), asked), expected, "{pod} {asked:?}");
        }
    }

    #[test]
    fn broken_pods_are_refused_in_upstreams_words() {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        let container = json!({"name": "c", "image": "nginx"});
        let with = |key: &str, value: Value| {
            let mut container = container.clone();
            container[key] = value;
            json!({"containers": [container]})
        };
        let cases = [
            (json!({"containers": [container]}), vec![]),
            (json!({}), vec!["spec.containers: Required value"]),
            (json!({"containers": [{"name": "c"}]}), vec!["spec.containers[0].image: Required value"]),
            (json!({"containers": [container, container]}), vec![r#"spec.containers[1].name: Duplicate value: "c""#]),
            (
                json!({"containers": [container], "restartPolicy": "Sometimes"}),
                vec![
                    r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#,
                ],
            ),
            (
                with("imagePullPolicy", json!("Maybe")),
                vec![
                    r#"spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never""#,
                ],
            ),
            (
                with("volumeMounts", json!([{"name": "v", "mountPath": "/v"}])),
                vec![r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#],
            ),
            (
                with("resources", json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
                vec![
                    r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
                ],
            ),
            (
                with("ports", json!([{"containerPort": 70000}])),
                vec![
                    "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                ],
            ),
            (
                with("livenessProbe", json!({"periodSeconds": 1})),
                vec!["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
            ),
            (
                with(
                    "env",
                    json!([{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
                ),
                vec![
                    r#"spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty"#,
                ],
            ),
            (
                json!({"containers": [container], "initContainers": [{"name": "i", "image": "x", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]}),
                vec![
                    "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
                ],
            ),
            (
                json!({"containers": [container], "tolerations": [{"operator": "Equal"}]}),
                vec![
                    r#"spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
                ],
            ),
            (
                json!({"containers": [container], "topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}),
                vec!["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
            ),
            (
                json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]}),
                vec!["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
            ),
        ];
        for (spec, expected) in cases {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
            (KIND.default)(&mut pod, &context);
            let causes: Vec<String> = validate(&pod, &context)
                .into_iter()
                .map(|cause| format!("{}: {}", cause.field, cause.message))
                .collect();
            assert_eq!(causes, expected, "{pod}");
        }
    }
}
