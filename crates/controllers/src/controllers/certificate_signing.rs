//! Signs requests that somebody has approved, with the cluster's authority.
//!
//! Which signers there are is the policy's: EKS signs what servers need and nothing that its API server would take for a
//! user, who comes from IAM or OIDC. Requests to any other signer wait for it, approved or not.

use std::time::Duration;

use k8s_auth::CertificateRequest;
use k8s_object::DecodeError;
use serde_json::json;
use world::Timestamp;

use super::certificate_request::{
    KUBELET_CLIENT, KUBELET_SERVING, SIGNING_REQUESTS, SigningRequest, judge_kubelet_client, judge_kubelet_serving,
    trigger, with_one_more,
};
use crate::controller::{Action, Controller, Key, Plan, Planned, Watched};
use crate::options::CertificatePolicy::{self, Eks, Upstream};
use crate::view::View;

pub(super) static CONTROLLER: Controller = Controller {
    name: "certificatesigningrequest-signing-controller",
    event_source: "certificatesigningrequest-signing-controller",
    service_account: "certificate-controller",
    about: "Signs approved certificate signing requests.",
    watches: &[Watched { resource: SIGNING_REQUESTS, indices: &[] }],
    watches_everything: false,
    triggers: trigger,
    plan,
    reports_failures: false,
    concurrency: 5,
    rest: Duration::ZERO,
};

/// How long certificates last, and at least: shorter ones are asked for in vain.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
const SHORTEST: Duration = Duration::from_secs(600);

/// Who signs, what they refuse to sign, and who has them.
struct Signer {
    name: &'static str,
    judge: fn(&SigningRequest, &CertificateRequest) -> Result<(), String>,
    of: &'static [CertificatePolicy],
}

static SIGNERS: &[Signer] = &[
    Signer { name: "beta.eks.amazonaws.com/app-serving", judge: judge_app_serving, of: &[Eks] },
    Signer { name: "kubernetes.io/kube-apiserver-client", judge: judge_client, of: &[Upstream] },
    Signer { name: KUBELET_CLIENT, judge: judge_kubelet_client, of: &[Upstream] },
    Signer { name: KUBELET_SERVING, judge: judge_kubelet_serving, of: &[Eks, Upstream] },
];

fn judge_client(request: &SigningRequest, _: &CertificateRequest) -> Result<(), String> {
    let usages = &request.spec.usages;
    let optional = ["digital signature", "key encipherment", "client auth"];
    if let Some(usage) = usages.iter().find(|usage| !optional.contains(&usage.as_str())) {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    if !usages.iter().any(|usage| usage == "client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

/// EKS's signer for what runs in the cluster (EKS User Guide, "Secure workloads with Kubernetes certificates"): any subject, any
/// names, no clients.
fn judge_app_serving(request: &SigningRequest, _: &CertificateRequest) -> Result<(), String> {
    let permitted = ["key encipherment", "digital signature", "server auth"];
    match request.spec.usages.iter().find(|usage| !permitted.contains(&usage.as_str())) {
        Some(usage) => Err(format!("invalid usage for serving certificate: {usage}")),
        None => Ok(()),
    }
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&SIGNING_REQUESTS, &key.object) else { return Ok(plan) };
    let request = object.view::<SigningRequest>()?;
    if request.is_issued() || !request.has("Approved") || request.has("Denied") || request.is("Failed") {
        return Ok(plan);
    }
    let options = view.options();
    let signer = SIGNERS.iter().find(|signer| signer.name == request.spec.signer_name);
    let Some(signer) = signer.filter(|signer| signer.of.contains(&options.certificates)) else { return Ok(plan) };
    let pem = request.pem();
    let asked = CertificateRequest::parse(&pem).map_err(|error| DecodeError {
        what: format!("CertificateSigningRequest {}", key.object),
        problem: error.to_string(),
    })?;
    if let Err(problem) = (signer.judge)(&request, &asked) {
        let condition = json!({
            "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": problem,
            "lastUpdateTime": now.to_string(),
        });
        let change = json!({"status": {"conditions": with_one_more(&object, condition)}});
        plan.then(Action::Update { resource: SIGNING_REQUESTS, base: object, subresource: "status", change });
        return Ok(plan);
    }
    let asked_for = request.spec.expiration_seconds.map_or(LONGEST, Duration::from_secs);
    let lifetime = asked_for.clamp(SHORTEST, LONGEST);
    plan.then(Action::Sign { base: object, request: pem, usages: request.spec.usages.clone(), lifetime });
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::super::certificate_testing::{csr, kubelet, options, request};
    use super::*;
    use crate::testing::{check_with, object};
    use serde_json::Value;

    const APPROVED: &str = "Approved";

    fn check(policy: CertificatePolicy, signer: &str, usages: &[&str], asked: &[u8], expected: &str) {
        let objects = [csr("c", signer, usages, asked, &[APPROVED])];
        let key = Key::new(SIGNING_REQUESTS, "", "c");
        let planned = crate::testing::plan_with(&options(policy), &CONTROLLER, &objects, &key);
        let told = planned.actions.first().map_or(String::new(), |action| match action.split_once("\"message\":\"") {
            Some((_, rest)) => rest.split('"').next().unwrap_or_default().to_owned(),
            None => action.clone(),
        });
        assert_eq!(told, expected, "{policy:?} {signer} {usages:?}");
    }

    #[test]
    fn each_policy_signs_for_its_signers_what_they_may_sign() {
        let serving = ["digital signature", "key encipherment", "server auth"];
        let client = ["client auth", "digital signature"];
        let (plain, node, named) = (request("jane", "dev", false), kubelet(false), kubelet(true));
        let (clients, sign) = ("kubernetes.io/kube-apiserver-client", "sign c");
        let apps = "beta.eks.amazonaws.com/app-serving";
        check(Upstream, clients, &client, &plain, sign);
        check(Upstream, clients, &serving, &plain, "invalid usage for client certificate: server auth");
        check(
            Upstream,
            clients,
            &["digital signature"],
            &plain,
            "missing required usage for client certificate: client auth",
        );
        check(Upstream, KUBELET_CLIENT, &client, &node, sign);
        check(Upstream, KUBELET_CLIENT, &client, &named, "DNS subjectAltNames are not allowed");
        check(Upstream, KUBELET_CLIENT, &client, &plain, "subject organization is not system:nodes");
        check(
            Upstream,
            KUBELET_CLIENT,
            &serving,
            &node,
            "usages did not match [client auth digital signature key encipherment]",
        );
        check(Upstream, apps, &serving, &plain, "");
        check(Eks, apps, &serving, &plain, sign);
        check(Eks, apps, &client, &plain, "invalid usage for serving certificate: client auth");
        check(Eks, clients, &client, &plain, "");
        check(Eks, KUBELET_CLIENT, &client, &node, "");
        check(Eks, "example.com/other", &client, &plain, "");
        for policy in [Eks, Upstream] {
            check(policy, KUBELET_SERVING, &serving, &named, sign);
            check(policy, KUBELET_SERVING, &serving, &node, "DNS or IP subjectAltName is required");
        }
    }

    #[test]
    fn only_what_is_approved_and_not_yet_issued_is_signed() {
        let key = Key::new(SIGNING_REQUESTS, "", "c");
        let apps = "beta.eks.amazonaws.com/app-serving";
        let asked = request("jane", "dev", false);
        for conditions in [&[][..], &["Denied"], &["Approved", "Denied"], &["Approved", "Failed"]] {
            check_with(&options(Eks), &CONTROLLER, &[csr("c", apps, &["server auth"], &asked, conditions)], &key, &[]);
        }
        let mut issued: Value = csr("c", apps, &["server auth"], &asked, &[APPROVED]).value();
        issued["status"]["certificate"] = json!("eA==");
        check_with(&options(Eks), &CONTROLLER, &[object(&SIGNING_REQUESTS, "", "c", issued)], &key, &[]);
    }
}
