//! CronJob: Jobs by the clock.

use k8s_object::Cause;
use serde_json::Value;

use super::{job, job_rules};
use crate::age::since;
use crate::causes::{invalid, non_negative, not_supported, required};
use crate::columns::{AGE, Column, NAME, label_selector, of_containers};
use crate::cron;
use crate::fields::{at, child, default_to, default_zero_to, flag, items, text};
use crate::strategy::{drop_status, keep_apart};
use crate::{Context, Kind, STATUS, names, workload};

pub(crate) static KIND: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    type_name: "io.k8s.api.batch.v1.CronJob",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Schedule", "When it makes Jobs.", |object, _| text(object, "spec.schedule").into()),
        Column::text("Timezone", "The zone of its schedule.", |object, _| {
            at(object, "spec.timeZone").as_str().unwrap_or("<none>").into()
        }),
        Column {
            kind: "boolean",
            ..Column::text("Suspend", "Whether it makes none for now.", |object, _| {
                match at(object, "spec.suspend").as_bool() {
                    Some(true) => "True".into(),
                    Some(false) => "False".into(),
                    None => "<unset>".into(),
                }
            })
        },
        Column::integer("Active", "Jobs that run now.", |object, _| items(object, "status.active").len().into()),
        Column::text("Last Schedule", "Time since it last made a Job.", |object, now| {
            match text(object, "status.lastScheduleTime") {
                "" => "<none>".into(),
                moment => since(moment, now).into(),
            }
        }),
        AGE,
        Column::text("Containers", "Names of the template's containers.", |object, _| {
            of_containers(at(object, POD_SPEC), "name").into()
        })
        .wide(),
        Column::text("Images", "Images of the template's containers.", |object, _| {
            of_containers(at(object, POD_SPEC), "image").into()
        })
        .wide(),
        Column::text("Selector", "Selects the pods of its Jobs.", |object, _| {
            label_selector(at(object, "spec.jobTemplate.spec.selector")).into()
        })
        .wide(),
    ],
    has_generation: true,
    default,
    prepare_create: |object, context| {
        drop_status(object, context);
        workload::drop_unserved(object, POD_POINTER, context);
    },
    prepare_update: |object, context| {
        keep_apart(object, context);
        workload::drop_unserved(object, POD_POINTER, context);
    },
    validate,
    warnings,
    ..Kind::BASE
};

const POD_SPEC: &str = "spec.jobTemplate.spec.template.spec";
const POD_POINTER: &str = "/spec/jobTemplate/spec/template/spec";
/// Bytes of a name: the names of its Jobs add eleven, and are labels.
const NAME_LIMIT: usize = 52;

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    default_zero_to(spec, "concurrencyPolicy", "Allow");
    default_to(spec, "suspend", false);
    default_to(spec, "successfulJobsHistoryLimit", 3);
    default_to(spec, "failedJobsHistoryLimit", 1);
    if let Some(template) = child(spec, "jobTemplate").and_then(|template| child(template, "spec")) {
        job::default_spec(template);
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return Vec::new();
    }
    let spec = at(object, "spec");
    let old = context.old.map(|old| at(old, "spec"));
    let mut causes = schedule(spec, old);
    causes.extend(non_negative("spec.startingDeadlineSeconds", at(spec, "startingDeadlineSeconds")));
    if old.is_none_or(|old| at(old, "timeZone") != at(spec, "timeZone")) {
        causes.extend(time_zone(spec));
    }
    match text(spec, "concurrencyPolicy") {
        "" => causes.push(required("spec.concurrencyPolicy", "")),
        "Allow" | "Forbid" | "Replace" => {}
        other => causes.push(not_supported("spec.concurrencyPolicy", other, &["Allow", "Forbid", "Replace"])),
    }
    const TEMPLATE: &str = "spec.jobTemplate.spec";
    let template = at(spec, "jobTemplate.spec");
    causes.extend(job_rules::validate(template, TEMPLATE, context.minor));
    let selector = at(template, "selector");
    if !selector.is_null() {
        let detail = "`selector` will be auto-generated";
        causes.push(invalid(format!("{TEMPLATE}.selector"), selector.clone(), detail));
    }
    if flag(template, "manualSelector") {
        causes.push(not_supported(format!("{TEMPLATE}.manualSelector"), true, &["nil", "false"]));
    }
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        causes.extend(non_negative(format!("spec.{key}"), at(spec, key)));
    }
    let name = text(object, "metadata.name");
    if old.is_none() && name.len() > NAME_LIMIT {
        causes.push(invalid("metadata.name", name, "must be no more than 52 characters"));
    }
    causes
}

fn schedule(spec: &Value, old: Option<&Value>) -> Vec<Cause> {
    const FIELD: &str = "spec.schedule";
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        return vec![required(FIELD, "")];
    }
    let mut causes = Vec::new();
    if let Some(problem) = cron::problem(schedule) {
        causes.push(invalid(FIELD, schedule, &problem));
    }
    if schedule.contains("TZ") {
        // A zone in the schedule is kept where it was written before that was refused.
        let had = old.is_some_and(|old| text(old, "schedule").contains("TZ"));
        if !had {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            causes.push(invalid(FIELD, schedule, detail));
        } else if !at(spec, "timeZone").is_null() {
            let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            causes.push(invalid(FIELD, schedule, detail));
        }
    }
    causes
}

fn time_zone(spec: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.timeZone";
    /// Bytes of one part of a zone's name.
    const PART_LIMIT: usize = 14;
    let Some(zone) = at(spec, "timeZone").as_str() else { return Vec::new() };
    if zone.is_empty() {
        return vec![invalid(FIELD, zone, "timeZone must be nil or non-empty string")];
    }
    let is_part = |part: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
        !matches!(part, "." | ".." | "")
            && !part.starts_with('-')
            && part.len() <= PART_LIMIT
            && part.bytes().all(known)
    };
    let unknown = || invalid(FIELD, zone, &format!("unknown time zone {zone}"));
    if !zone.split('/').all(is_part) {
        return vec![unknown()];
    }
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        let mut causes = vec![invalid(FIELD, zone, detail)];
        if zone != "Local" {
            causes.push(unknown());
        }
        return causes;
    }
    if cron::is_zone(zone) { Vec::new() } else { vec![unknown()] }
}

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    let mut warnings = names::hostname_warnings(object, context, "Pod names and hostnames");
    if workload::is_new_specification(object, context) {
        warnings.extend(job_rules::warnings(at(object, "spec.jobTemplate.spec"), "spec.jobTemplate.spec"));
    }
    if context.old.is_some() && context.is_main() && text(object, "spec.schedule").contains("TZ") {
        warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    fn cron_job(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {
            "template": {"spec": {"containers": [{"name": "c", "image": "busybox"}], "restartPolicy": "Never"}},
        }}}});
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        object
    }

    fn check(mut object: Value, old: Option<&Value>) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old, subresource: "" };
        default(&mut object, &context);
        let causes = validate(&object, &context);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn cron_jobs_are_judged_in_upstreams_words() {
        let cases = [
            (json!({"timeZone": "Asia/Tokyo"}), vec![]),
            (json!({"schedule": ""}), vec!["spec.schedule: Required value"]),
            (
                json!({"schedule": "61 * * * *"}),
                vec![r#"spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61"#],
            ),
            (
                json!({"schedule": "TZ=UTC * * * * *"}),
                vec![
                    r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#,
                ],
            ),
            (
                json!({"timeZone": "Mars/Base"}),
                vec![r#"spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base"#],
            ),
            (
                json!({"timeZone": "Local"}),
                vec![
                    r#"spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"#,
                ],
            ),
            (
                json!({"concurrencyPolicy": "Queue"}),
                vec![
                    r#"spec.concurrencyPolicy: Unsupported value: "Queue": supported values: "Allow", "Forbid", "Replace""#,
                ],
            ),
            (
                json!({"failedJobsHistoryLimit": -1}),
                vec!["spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(check(cron_job(spec.clone()), None), expected, "{spec}");
        }
        let mut long = cron_job(json!({}));
        long["metadata"]["name"] = json!("a".repeat(53));
        assert_eq!(check(long, None).len(), 1);
        let old = cron_job(json!({"schedule": "TZ=UTC * * * * *"}));
        assert!(check(old.clone(), Some(&old)).is_empty());
    }
}
