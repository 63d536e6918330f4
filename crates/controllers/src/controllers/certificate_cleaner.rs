//! Deletes certificate signing requests that nobody needs any more: an hour after they were issued, denied or failed, and a day after
//! they were made if nobody has decided on them. Those that are approved and wait for their signer stay.

use std::time::Duration;

use k8s_auth::end_of_certificate;
use world::Timestamp;

use super::certificate_request::{SIGNING_REQUESTS, SigningRequest, trigger};
use super::time;
use crate::controller::{Action, Controller, Key, Plan, Planned, Watched};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "certificatesigningrequest-cleaner-controller",
    event_source: "certificatesigningrequest-cleaner-controller",
    service_account: "certificate-controller",
    about: "Deletes certificate signing requests that nobody needs any more.",
    watches: &[Watched { resource: SIGNING_REQUESTS, indices: &[] }],
    watches_everything: false,
    triggers: trigger,
    plan,
    reports_failures: false,
    concurrency: 1,
    rest: Duration::from_secs(1),
};

const DECIDED: Duration = Duration::from_secs(3600);
const PENDING: Duration = Duration::from_secs(24 * 3600);

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&SIGNING_REQUESTS, &key.object) else { return Ok(plan) };
    let request = object.view::<SigningRequest>()?;
    let mut ends: Vec<Timestamp> = Vec::new();
    for condition in &request.status.conditions {
        let counts = match condition.kind.as_str() {
            "Approved" => request.is_issued(),
            kind => matches!(kind, "Denied" | "Failed"),
        };
        if counts && condition.last_update_time.is_some() {
            ends.push(time(condition.last_update_time.as_ref()) + DECIDED);
        }
    }
    if request.has("Approved") && request.is_issued() {
        ends.extend(end_of_certificate(&request.certificate()));
    }
    if request.status.conditions.is_empty() && object.meta().creation_timestamp.is_some() {
        ends.push(time(object.meta().creation_timestamp.as_ref()) + PENDING);
    }
    match ends.into_iter().min() {
        Some(end) if end < now => plan.then(Action::delete(SIGNING_REQUESTS, &object)),
        // Time is kept to the second.
        Some(end) => plan.requeue(end.since(now) + Duration::from_secs(1)),
        None => {}
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::super::certificate_testing::{csr, options, request};
    use super::*;
    use crate::options::CertificatePolicy::Eks;
    use crate::testing::{object, plan_with};
    use serde_json::{Value, json};

    #[test]
    fn what_is_over_goes_and_what_is_not_waits() {
        // It is midnight.
        let at = |time: &str| json!({"metadata": {"creationTimestamp": time}});
        let told = |kind: &str, time: &str| json!({"status": {"conditions": [{"type": kind, "lastUpdateTime": time}]}});
        let issued = |time: &str| {
            let mut value = told("Approved", time);
            value["status"]["certificate"] = json!("eA==");
            value
        };
        let (yesterday, late) = ("2025-12-30T23:59:59Z", "2025-12-31T23:30:00Z");
        let cases = [
            ("pending for a day", at(yesterday), None),
            ("pending", at(late), Some(23 * 3600 + 1800)),
            ("denied", told("Denied", yesterday), None),
            ("denied of late", told("Denied", late), Some(1800)),
            ("failed", told("Failed", yesterday), None),
            ("issued", issued(yesterday), None),
            ("issued of late", issued(late), Some(1800)),
            ("approved, but waiting", told("Approved", yesterday), Some(0)),
        ];
        for (name, extra, wait) in cases {
            let mut value: Value = csr("c", "x.io/y", &["client auth"], &request("jane", "dev", false), &[]).value();
            crate::json::merge(&mut value, &extra);
            let objects = [object(&SIGNING_REQUESTS, "", "c", value)];
            let plan = plan_with(&options(Eks), &CONTROLLER, &objects, &Key::new(SIGNING_REQUESTS, "", "c"));
            let gone = plan.actions == ["delete certificatesigningrequests c"];
            assert_eq!(gone, wait.is_none(), "{name}: {:?}", plan.actions);
            let expected = wait.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds + 1));
            assert_eq!(plan.requeue_after, expected, "{name}");
        }
    }
}
