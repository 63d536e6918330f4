//! What is planned for which Job and pods.

use super::*;
use crate::testing::{object, plan_of, plan_with_failure};
use k8s_client::Verb;
use k8s_object::{ApiError, NamespacedName};
use serde_json::Value;

const START: &str = "2025-12-31T23:00:00Z";

fn job(spec: Value, status: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"generation": 1, "creationTimestamp": START},
        "spec": {
            "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "podReplacementPolicy": "TerminatingOrFailed", "selector": {"matchLabels": {"uid": "j"}},
            "template": {
                "metadata": {"labels": {"uid": "j"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
            },
        },
        "status": {"startTime": START, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}},
    });
    crate::json::merge(&mut value["spec"], &spec);
    crate::json::merge(&mut value["status"], &status);
    object(&JOBS, "a", "work", value)
}

fn pod(name: &str, phase: &str, extra: Value) -> Arc<Object> {
    let owner =
        json!({"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": "jobs-a-work", "controller": true});
    let mut value = json!({
        "metadata": {
            "labels": {"uid": "j"}, "ownerReferences": [owner], "finalizers": [TRACKING], "creationTimestamp": START,
        },
        "spec": {"nodeName": "n1"}, "status": {"phase": phase},
    });
    crate::json::merge(&mut value, &extra);
    object(&PODS, "a", name, value)
}

/// A pod that exited with a code.
fn exited(name: &str, code: i64, at: &str, extra: Value) -> Arc<Object> {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let state = json!([{"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": at}}}]);
    let mut value = pod(name, phase, json!({"status": {"containerStatuses": state}})).value();
    crate::json::merge(&mut value, &extra);
    Arc::new(Object::from_value(&value).unwrap())
}

fn index(index: i64) -> Value {
    json!({"metadata": {"annotations": {member::INDEX: index.to_string()}}})
}

fn key() -> Key {
    Key::new(JOBS, "a", "work")
}

fn actions(objects: &[Arc<Object>]) -> Vec<String> {
    plan_of(&CONTROLLER, objects, &key()).actions
}

/// The actions in few words: verbs and names, and of a status what is not empty without times.
fn brief(objects: &[Arc<Object>]) -> Vec<String> {
    actions(objects).iter().map(|action| shorten(action)).collect()
}

fn shorten(action: &str) -> String {
    let Some((_, status)) = action.split_once("update jobs/status a/work ") else {
        return match action.split_once(" {") {
            Some((head, _)) => head.to_owned(),
            None => action.to_owned(),
        };
    };
    let change: Value = serde_json::from_str(status).unwrap();
    let mut words = Vec::new();
    for (key, value) in change["status"].as_object().unwrap() {
        match (key.as_str(), value) {
            ("startTime" | "completionTime", _) | (_, Value::Null) => {}
            ("conditions", Value::Array(conditions)) => words.extend(
                conditions
                    .iter()
                    .map(|own| format!("{}={}", own["type"].as_str().unwrap(), own["status"].as_str().unwrap())),
            ),
            ("uncountedTerminatedPods", uncounted) => {
                for (kind, uids) in uncounted.as_object().unwrap().iter().filter(|(_, uids)| !uids.is_null()) {
                    let uids: Vec<&str> = uids.as_array().unwrap().iter().map(|uid| uid.as_str().unwrap()).collect();
                    words.push(format!("{kind}:[{}]", uids.join(" ").replace("pods-a-", "")));
                }
            }
            (key, value) if *value != json!(0) => words.push(format!("{key}:{value}")),
            _ => {}
        }
    }
    words.sort();
    format!("status {}", words.join(" "))
}

#[test]
fn a_new_job_starts_its_pods_and_says_so() {
    let new = job(json!({"parallelism": 2, "completions": 3}), json!({"startTime": null, "ready": null}));
    let plan = plan_of(&CONTROLLER, &[new], &key());
    assert_eq!(plan.actions.len(), 3);
    assert_eq!(plan.actions[..2], ["create pods a/work-", "create pods a/work-"]);
    assert!(
        plan.actions[2].contains(r#""active":2"#) && plan.actions[2].contains(r#""startTime":"2026-01-01T00:00:00Z""#)
    );
    let body = &plan.bodies[0];
    assert_eq!(body["metadata"]["finalizers"], json!([TRACKING]));
    assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "jobs-a-work");
    assert!(body["spec"].get("hostname").is_none());
}

#[test]
fn pods_that_end_are_counted_once_and_released() {
    let three = || job(json!({"completions": 3, "parallelism": 2}), json!({"active": 2}));
    let ok = || exited("a", 0, START, json!({}));
    assert_eq!(
        brief(&[three(), ok(), pod("b", "Running", json!({}))]),
        ["create pods a/work-", "status active:2 succeeded:[a]", "patch pods a/a", "status active:2 succeeded:1",]
    );
    // The pod stands in the status already: its finalizer is what is left to do.
    let named = job(json!({}), json!({"uncountedTerminatedPods": {"succeeded": ["pods-a-a"]}}));
    assert_eq!(
        brief(&[named, ok()]),
        [
            "status SuccessCriteriaMet=True succeeded:[a]",
            "patch pods a/a",
            "status Complete=True SuccessCriteriaMet=True succeeded:1",
            "event a/work Completed: Job completed",
        ]
    );
    // It has lost its finalizer: the number is what is left to do.
    let named =
        job(json!({"completions": 2}), json!({"active": 1, "uncountedTerminatedPods": {"succeeded": ["pods-a-a"]}}));
    let released = exited("a", 0, START, json!({"metadata": {"finalizers": null}}));
    assert_eq!(brief(&[named, released, pod("b", "Running", json!({}))]), ["status active:1 succeeded:1"]);
    let still = job(json!({"completions": 2}), json!({"active": 1, "succeeded": 1}));
    assert_eq!(brief(&[still, pod("b", "Running", json!({}))]), [""; 0], "nothing to do");
}

#[test]
fn without_completions_one_success_is_enough_and_the_others_end_by_themselves() {
    let open = || job(json!({"completions": null, "parallelism": 2}), json!({"active": 2}));
    let ok = || exited("a", 0, START, json!({}));
    let other = pod("b", "Running", json!({}));
    assert_eq!(brief(&[open(), ok(), other])[..1], ["status active:1 succeeded:[a]"]);
    assert_eq!(brief(&[open(), ok()]).last().unwrap(), "event a/work Completed: Job completed");
}

#[test]
fn failures_wait_longer_and_longer_until_there_are_too_many() {
    let failed = |name, at| exited(name, 1, at, json!({}));
    let now_minus_4 = "2025-12-31T23:59:56Z";
    let plan = plan_of(&CONTROLLER, &[job(json!({}), json!({"active": 1})), failed("a", now_minus_4)], &key());
    let words: Vec<String> = plan.actions.iter().map(|action| shorten(action)).collect();
    assert_eq!(words, ["status failed:[a]", "patch pods a/a", "status failed:1"]);
    assert_eq!(plan.requeue_after, Some(Duration::from_secs(6)), "ten seconds after the failure");
    let released = exited("a", 1, START, json!({"metadata": {"finalizers": null}}));
    let twice = [job(json!({}), json!({"failed": 1})), released.clone(), failed("b", now_minus_4)];
    assert_eq!(plan_of(&CONTROLLER, &twice, &key()).requeue_after, Some(Duration::from_secs(16)));
    assert_eq!(brief(&[job(json!({}), json!({"failed": 1})), released.clone()])[0], "create pods a/work-");
    let over = [job(json!({"backoffLimit": 1}), json!({"failed": 1})), released, failed("b", now_minus_4)];
    assert_eq!(
        brief(&over),
        [
            "status FailureTarget=True failed:1 failed:[b]",
            "patch pods a/b",
            "status Failed=True FailureTarget=True failed:2",
            "event a/work BackoffLimitExceeded: Job has reached the specified backoff limit",
        ]
    );
    let restarts = json!({"status": {"containerStatuses": [{"name": "c", "restartCount": 3}]}});
    let in_place = json!({"backoffLimit": 3, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    let plan = brief(&[job(in_place, json!({"active": 1})), pod("a", "Running", restarts)]);
    assert_eq!(
        plan,
        [
            "delete pods a/a",
            "status FailureTarget=True failed:[a] terminating:1",
            "patch pods a/a",
            "status FailureTarget=True failed:1 terminating:1",
        ]
    );
}

#[test]
fn an_end_is_told_when_the_last_pod_is_gone() {
    let target = json!([{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "message": "late"}]);
    let going = pod("a", "Running", json!({"metadata": {"deletionTimestamp": START, "finalizers": ["x"]}}));
    let waiting = || job(json!({}), json!({"conditions": target, "failed": 1, "terminating": 1}));
    assert_eq!(brief(&[waiting(), going]), [""; 0]);
    assert_eq!(
        brief(&[waiting()]),
        ["status failed:1", "status Failed=True FailureTarget=True failed:1", "event a/work DeadlineExceeded: late",]
            .map(|line| line.replace("status failed:1", "status FailureTarget=True failed:1"))
    );
}

#[test]
fn deadlines_and_suspension() {
    let deadline = json!({"activeDeadlineSeconds": 3600});
    let plan = brief(&[job(deadline.clone(), json!({"active": 1})), pod("a", "Running", json!({}))]);
    assert_eq!(plan[..2], ["delete pods a/a", "status FailureTarget=True failed:[a] terminating:1"]);
    let later = json!({"startTime": "2025-12-31T23:30:00Z", "active": 1});
    let plan = plan_of(&CONTROLLER, &[job(deadline.clone(), later), pod("a", "Running", json!({}))], &key());
    assert_eq!((plan.actions.len(), plan.requeue_after), (0, Some(Duration::from_secs(1800))));
    let mut suspended = deadline;
    suspended["suspend"] = json!(true);
    let running = pod("a", "Running", json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    assert_eq!(
        brief(&[job(suspended.clone(), json!({"active": 1, "ready": 1})), running]),
        [
            "patch pods a/a",
            "delete pods a/a",
            "event a/work Suspended: Job suspended",
            "status Suspended=True terminating:1",
        ]
    );
    let stands = json!([{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}]);
    assert_eq!(brief(&[job(suspended, json!({"conditions": stands}))]), [""; 0]);
    let plan = actions(&[job(json!({}), json!({"conditions": stands}))]);
    assert_eq!(plan[..2], ["create pods a/work-", "event a/work Resumed: Job resumed"]);
    assert!(plan[2].contains(r#""startTime":"2026-01-01T00:00:00Z""#), "the deadline begins anew");
}

#[test]
fn indexes_have_pods_of_their_own() {
    let spec = || json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2});
    let objects = [
        job(spec(), json!({"completedIndexes": "0", "succeeded": 1, "active": 2})),
        exited("b", 0, START, index(1)),
        pod("c", "Running", index(2)),
        pod("d", "Running", index(2)),
        pod("e", "Running", index(9)),
    ];
    let plan = plan_of(&CONTROLLER, &objects, &key());
    let words: Vec<String> = plan.actions.iter().map(|action| shorten(action)).collect();
    assert_eq!(
        words[..4],
        ["patch pods a/e", "patch pods a/c", "delete pods a/e", "delete pods a/c"],
        "one of each index"
    );
    assert_eq!(words[4], r#"status active:1 completedIndexes:"0,1" succeeded:2 terminating:2"#);
    let objects = [job(spec(), json!({"completedIndexes": "0", "succeeded": 1})), pod("c", "Running", index(1))];
    let plan = plan_of(&CONTROLLER, &objects, &key());
    let body = &plan.bodies[0];
    assert_eq!((plan.bodies.len(), &body["metadata"]["generateName"]), (1, &json!("work-2-")));
    assert_eq!(body["metadata"]["labels"][member::INDEX], "2");
    assert_eq!(body["metadata"]["annotations"], json!({member::INDEX: "2"}));
    assert_eq!(body["spec"]["hostname"], "work-2");
    let path = "metadata.labels['batch.kubernetes.io/job-completion-index']";
    let variable = json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}}]);
    assert_eq!(body["spec"]["containers"][0]["env"], variable);
}

#[test]
fn an_index_may_fail_alone() {
    let spec = || {
        json!({
            "completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX,
        })
    };
    let failures = |index: i64, failures: i64| json!({"metadata": {"annotations": {member::INDEX: index.to_string(), member::FAILURES: failures.to_string()}}});
    let runs = || pod("b", "Running", failures(1, 0));
    // The failed pod is kept until another one takes over its count.
    let plan = plan_of(
        &CONTROLLER,
        &[job(spec(), json!({"active": 1})), exited("a", 1, START, failures(0, 0)), runs()],
        &key(),
    );
    assert_eq!(plan.bodies[0]["metadata"]["annotations"][member::FAILURES], "1");
    assert_eq!(plan.actions.len(), 2, "{:?}", plan.actions);
    let recent = exited("a", 1, "2025-12-31T23:59:58Z", failures(0, 0));
    let plan = plan_of(&CONTROLLER, &[job(spec(), json!({})), recent, runs()], &key());
    assert_eq!((plan.bodies.len(), plan.requeue_after), (0, Some(Duration::from_secs(8))));
    let again = exited("a", 1, START, failures(0, 1));
    assert_eq!(
        brief(&[job(spec(), json!({"active": 1, "failedIndexes": ""})), again.clone(), runs()]),
        [
            r#"status active:1 failedIndexes:"0" failed:[a]"#.to_owned(),
            "patch pods a/a".to_owned(),
            r#"status active:1 failed:1 failedIndexes:"0""#.to_owned(),
        ]
        .map(|line| line.replace(r#"failedIndexes:"0" failed:[a]"#, r#"failed:[a] failedIndexes:"0""#))
    );
    let end = brief(&[job(spec(), json!({"completedIndexes": "1", "succeeded": 1})), again.clone()]);
    assert_eq!(end.last().unwrap(), "event a/work FailedIndexes: Job has failed indexes");
    let mut most = spec();
    most["maxFailedIndexes"] = json!(0);
    let plan = brief(&[job(most, json!({"active": 1})), again, runs()]);
    assert_eq!(plan[0], "delete pods a/b");
    assert!(plan[1].starts_with("status FailureTarget=True"), "{plan:?}");
}

#[test]
fn policies_judge_failures_and_successes() {
    let policy = |rules: Value| json!({"podFailurePolicy": {"rules": rules}, "podReplacementPolicy": "Failed"});
    let codes = |action: &str| json!([{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]);
    let failed = || exited("a", 42, START, json!({}));
    let text = |action: &str| actions(&[job(policy(codes(action)), json!({"active": 1})), failed()]).join("\n");
    assert!(
        text("FailJob").contains("Container c for pod a/a failed with exit code 42 matching FailJob rule at index 0")
    );
    assert!(text("FailJob").contains(r#""reason":"PodFailurePolicy""#));
    let ignored = text("Ignore");
    assert!(!ignored.contains("pods-a-a") && ignored.contains("patch pods a/a"), "{ignored}");
    assert!(text("Count").contains(r#""failed":["pods-a-a"]"#));
    let disrupted = json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}});
    let rule = json!([{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
    let plan = actions(&[job(policy(rule), json!({"active": 1})), exited("a", 1, START, disrupted)]).join("\n");
    assert!(plan.contains("Pod a/a has condition DisruptionTarget matching FailJob rule at index 0"), "{plan}");
    // Only what has ended is replaced.
    let going = pod("a", "Running", json!({"metadata": {"deletionTimestamp": START}}));
    assert_eq!(brief(&[job(policy(json!([])), json!({"active": 1})), going.clone()]), ["status terminating:1"]);
    let replaced = ["create pods a/work-", "status active:1 failed:[a] terminating:1"];
    assert_eq!(brief(&[job(json!({}), json!({"active": 1})), going])[..2], replaced);
    let success = json!({
        "completionMode": "Indexed", "completions": 3, "parallelism": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]},
    });
    let objects = |ended: i64| {
        let others = (0..3).filter(|own| *own != ended).map(|own| pod(&format!("r{own}"), "Running", index(own)));
        let mut objects: Vec<_> = others.collect();
        objects.extend([job(success.clone(), json!({"active": 3})), exited("a", 0, START, index(ended))]);
        objects
    };
    let met = actions(&objects(1)).join("\n");
    assert!(met.contains("Matched rules at index 0") && met.contains("delete pods a/r0"), "{met}");
    assert!(!actions(&objects(0)).join("\n").contains("SuccessCriteriaMet"));
}

#[test]
fn too_many_pods_go_without_counting_and_too_few_wait_for_the_quota() {
    let objects = |failure: bool| {
        let running = |name: &str| pod(name, "Running", json!({}));
        let parallelism = if failure { 3 } else { 1 };
        vec![
            job(json!({"completions": 5, "parallelism": parallelism}), json!({"active": 2})),
            running("a"),
            running("b"),
        ]
    };
    assert_eq!(brief(&objects(false)), ["patch pods a/a", "delete pods a/a", "status active:1 terminating:1"]);
    let failure = crate::Failure {
        verb: Verb::Create,
        resource: PODS,
        object: NamespacedName::new("a", ""),
        error: ApiError::forbidden("", "pods", "", "exceeded quota"),
    };
    let mut later = objects(true);
    later.push(exited("c", 0, START, json!({})));
    let plan = plan_with_failure(&CONTROLLER, &later, &key(), failure);
    let words: Vec<String> = plan.actions.iter().map(|action| shorten(action)).collect();
    assert_eq!(words, ["status active:2 succeeded:[c]", "patch pods a/c", "status active:2 succeeded:1"]);
}

#[test]
fn pods_are_adopted_with_the_finalizer_and_left_overs_lose_it() {
    let orphan = pod("o", "Running", json!({"metadata": {"ownerReferences": null, "finalizers": ["x/y"]}}));
    let plan = actions(&[job(json!({}), json!({"active": 1})), orphan]);
    assert_eq!(plan.len(), 1, "{plan:?}");
    assert!(plan[0].contains(r#""finalizers":["x/y","batch.kubernetes.io/job-tracking"]"#), "{plan:?}");
    let release = |objects: &[Arc<Object>]| plan_of(&CONTROLLER, objects, &Key::new(PODS, "a", "p")).actions.len();
    let ended = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    let p = || pod("p", "Succeeded", json!({}));
    assert_eq!(release(&[p()]), 1, "its Job is gone");
    assert_eq!(release(&[p(), job(json!({}), ended.clone())]), 1, "its Job has ended");
    assert_eq!(release(&[p(), job(json!({}), json!({}))]), 0, "its Job counts it");
    assert_eq!(release(&[p(), job(json!({"managedBy": "x/y"}), ended.clone())]), 0, "somebody else counts it");
    assert_eq!(brief(&[p(), job(json!({}), ended)]), ["patch pods a/p"]);
    assert_eq!(brief(&[job(json!({"managedBy": "x/y"}), json!({}))]), [""; 0]);
    assert_eq!(brief(&[job(json!({"managedBy": OURSELVES}), json!({}))])[0], "create pods a/work-");
}

#[test]
fn a_job_that_is_going_makes_nothing_and_lets_its_pods_go() {
    let going = object(&JOBS, "a", "work", {
        let mut value = job(json!({"parallelism": 2, "completions": 2}), json!({"active": 1})).value();
        value["metadata"]["deletionTimestamp"] = json!(START);
        value["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        value
    });
    assert_eq!(brief(&[going, pod("a", "Running", json!({}))]), ["patch pods a/a"]);
}
