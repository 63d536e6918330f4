//! What is planned for which CronJob and Jobs, at 2026-01-01T00:00:00Z.

use super::*;
use crate::testing::{object, plan_of, plan_with_failure};
use k8s_object::ApiError;

fn cron(spec: Value, status: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"creationTimestamp": "2025-12-31T12:30:00Z"},
        "spec": {
            "schedule": "0 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": {"x": "y"}, "annotations": {"n": "1"}},
                "spec": {"template": {"spec": {"containers": []}}},
            },
        },
        "status": {"lastScheduleTime": "2025-12-31T23:00:00Z"},
    });
    crate::json::merge(&mut value["spec"], &spec);
    crate::json::merge(&mut value["status"], &status);
    object(&CRON_JOBS, "a", "tick", value)
}

fn child(name: &str, end: &str, extra: Value) -> Arc<Object> {
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "cronjobs-a-tick", "controller": true});
    let mut value = json!({"metadata": {"ownerReferences": [owner]}, "status": {"startTime": "2025-12-31T20:00:00Z"}});
    if !end.is_empty() {
        value["status"]["conditions"] = json!([{"type": end, "status": "True"}]);
    }
    crate::json::merge(&mut value, &extra);
    object(&JOBS, "a", name, value)
}

fn reference(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": "a", "name": name, "uid": format!("jobs-a-{name}")})
}

fn key() -> Key {
    Key::new(CRON_JOBS, "a", "tick")
}

fn actions(objects: &[Arc<Object>]) -> Vec<String> {
    plan_of(&CONTROLLER, objects, &key()).actions
}

/// Minutes from 1970 to 2026-01-01T00:00:00Z.
const DUE: &str = "tick-29453760";

#[test]
fn a_job_is_made_when_it_is_due_and_noted_when_it_is_seen() {
    let plan = plan_of(&CONTROLLER, &[cron(json!({}), json!({}))], &key());
    assert_eq!(
        plan.actions,
        [format!("create jobs a/{DUE}"), format!("event a/tick SuccessfulCreate: Created job {DUE}")]
    );
    let expected = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": DUE, "namespace": "a", "labels": {"x": "y"}, "annotations": {"n": "1", SCHEDULED: "2026-01-01T00:00:00Z"},
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "cronjobs-a-tick", "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {"template": {"spec": {"containers": []}}},
    });
    assert_eq!(plan.bodies, [expected]);
    let plan = plan_of(&CONTROLLER, &[cron(json!({}), json!({})), child(DUE, "", json!({}))], &key());
    assert_eq!(plan.actions.len(), 1, "{:?}", plan.actions);
    assert!(plan.actions[0].contains(r#""lastScheduleTime":"2026-01-01T00:00:00Z""#) && plan.actions[0].contains(DUE));
    assert_eq!(plan.requeue_after, Some(Duration::from_millis(3_600_100)));
    let tokyo = plan_of(&CONTROLLER, &[cron(json!({"timeZone": "Asia/Tokyo"}), json!({}))], &key());
    assert_eq!(tokyo.bodies[0]["metadata"]["annotations"][SCHEDULED], "2026-01-01T09:00:00+09:00");
}

#[test]
fn what_keeps_a_job_from_being_made() {
    let noted = json!({"lastScheduleTime": "2026-01-01T00:00:00Z"});
    let running = || child("r", "", json!({}));
    let active = json!({"active": [reference("r")]});
    let forbid = json!({"concurrencyPolicy": "Forbid"});
    let cases = [
        ("done", vec![cron(json!({}), noted)], vec![]),
        ("suspended", vec![cron(json!({"suspend": true}), json!({}))], vec![]),
        ("somebody else's", vec![cron(json!({}), json!({})), object(&JOBS, "a", DUE, json!({}))], vec![]),
        (
            "forbidden",
            vec![cron(forbid, active), running()],
            vec![
                "event a/tick JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid",
            ],
        ),
        (
            "no zone",
            vec![cron(json!({"timeZone": "Mars/Base"}), json!({}))],
            vec![r#"event a/tick UnknownTimeZone: invalid timeZone: "Mars/Base": unknown time zone Mars/Base"#],
        ),
        (
            "no schedule",
            vec![cron(json!({"schedule": "x"}), json!({}))],
            vec![
                r#"event a/tick UnparseableSchedule: unparseable schedule: "x" : expected exactly 5 fields, found 1: [x]"#,
            ],
        ),
        (
            "no day",
            vec![cron(json!({"schedule": "0 0 31 2 *"}), json!({}))],
            vec![
                "event a/tick InvalidSchedule: invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second",
            ],
        ),
    ];
    for (name, objects, expected) in cases {
        assert_eq!(actions(&objects), expected, "{name}");
    }
}

#[test]
fn jobs_run_beside_each_other_or_replace_each_other() {
    let active = || json!({"active": [reference("r")]});
    let running = || child("r", "", json!({}));
    assert_eq!(actions(&[cron(json!({}), active()), running()])[0], format!("create jobs a/{DUE}"));
    let plan = actions(&[cron(json!({"concurrencyPolicy": "Replace"}), active()), running()]);
    assert_eq!(
        plan[..3],
        [
            "delete jobs a/r Background".to_owned(),
            "event a/tick SuccessfulDelete: Deleted job r".to_owned(),
            format!("create jobs a/{DUE}"),
        ]
    );
    assert!(plan[4].contains(r#""active":null"#), "{plan:?}");
}

#[test]
fn ended_jobs_leave_the_list_and_old_ones_go() {
    let noted = |active: &[&str]| {
        let active: Vec<Value> = active.iter().map(|name| reference(name)).collect();
        json!({"lastScheduleTime": "2026-01-01T00:00:00Z", "active": active})
    };
    let done = child("d", "Complete", json!({"status": {"completionTime": "2025-12-31T21:00:00Z"}}));
    let plan = actions(&[cron(json!({}), noted(&["d"])), done]);
    assert_eq!(plan[0], "event a/tick SawCompletedJob: Saw completed job: d, condition: Complete");
    assert!(plan[1].contains(r#""lastSuccessfulTime":"2025-12-31T21:00:00Z""#) && plan[1].contains(r#""active":null"#));
    let plan = actions(&[cron(json!({}), noted(&["gone"]))]);
    assert_eq!(plan[0], "event a/tick MissingJob: Active job went missing: gone");
    let plan = actions(&[cron(json!({}), noted(&[])), child("stranger", "", json!({}))]);
    assert_eq!(plan, ["event a/tick UnexpectedJob: Saw a job that the controller did not create or forgot: stranger"]);
    let at = |hour: u32| json!({"status": {"startTime": format!("2025-12-31T{hour:02}:00:00Z")}});
    let objects = [
        cron(json!({"successfulJobsHistoryLimit": 1}), noted(&[])),
        child("a", "Complete", at(15)),
        child("b", "Complete", at(14)),
        child("c", "Failed", at(13)),
    ];
    assert_eq!(actions(&objects), ["delete jobs a/b Background", "event a/tick SuccessfulDelete: Deleted job b"]);
}

#[test]
fn starts_that_were_missed() {
    let late = json!({"lastScheduleTime": "2025-12-20T00:00:00Z"});
    let plan = actions(&[cron(json!({}), late.clone())]);
    assert_eq!(
        plan[0],
        "event a/tick TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
    );
    assert_eq!(plan[1], format!("create jobs a/{DUE}"), "only the latest");
    let half_past = json!({"schedule": "30 * * * *", "startingDeadlineSeconds": 600});
    let plan = plan_of(&CONTROLLER, &[cron(half_past, late)], &key());
    assert_eq!((plan.actions, plan.requeue_after), (vec![], Some(Duration::from_millis(1_800_100))));
    assert_eq!(mail_date(Timestamp::from_seconds(1_767_225_600)), "Thu, 01 Jan 2026 00:00:00 +0000");
}

#[test]
fn a_write_that_fails_is_told() {
    let failure = |verb| Failure {
        verb,
        resource: JOBS,
        object: NamespacedName::new("a", "x"),
        error: ApiError::forbidden("batch", "jobs", "x", "exceeded quota"),
    };
    let text =
        |verb| plan_with_failure(&CONTROLLER, &[cron(json!({}), json!({}))], &key(), failure(verb)).actions.join("");
    let why = r#"jobs.batch "x" is forbidden: exceeded quota"#;
    assert_eq!(text(Verb::Create), format!("event a/tick FailedCreate: Error creating job: {why}"));
    assert_eq!(text(Verb::Delete), format!("event a/tick FailedDelete: Deleted job: {why}"));
}
