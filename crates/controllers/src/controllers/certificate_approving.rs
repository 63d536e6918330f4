//! Approves what kubelets ask for, if they may (upstream's `csrapproving`), and as EKS does their certificates to serve with.

use std::time::Duration;

use k8s_auth::CertificateRequest;
use k8s_object::resources::NODES;
use k8s_object::views::Node;
use k8s_object::{DecodeError, NamespacedName};
use serde_json::json;
use world::Timestamp;

use super::certificate_request::{
    KUBELET_CLIENT, KUBELET_SERVING, SIGNING_REQUESTS, SigningRequest, judge_kubelet_client, judge_kubelet_serving,
    trigger, with_one_more,
};
use crate::controller::{Action, Controller, Key, Plan, Planned, Watched};
use crate::options::CertificatePolicy;
use crate::view::{AccessReview, Read, View};

pub(super) static CONTROLLER: Controller = Controller {
    name: "certificatesigningrequest-approving-controller",
    event_source: "certificatesigningrequest-approving-controller",
    service_account: "certificate-controller",
    about: "Approves the certificate signing requests of kubelets.",
    watches: &[Watched { resource: NODES, indices: &[] }, Watched { resource: SIGNING_REQUESTS, indices: &[] }],
    watches_everything: false,
    triggers: trigger,
    plan,
    reports_failures: false,
    concurrency: 5,
    rest: Duration::ZERO,
};

/// How soon to look again at a request that its kubelet was not allowed to make: permissions and nodes come later than requests.
const AGAIN: Duration = Duration::from_secs(1);

/// What is recognized, the permission that its requester needs, and what approval says.
struct Recognizer {
    recognize: fn(&View<'_>, &SigningRequest, &CertificateRequest) -> bool,
    permission: &'static str,
    message: &'static str,
}

static RECOGNIZERS: &[Recognizer] = &[
    Recognizer {
        recognize: |view, request, asked| is_for_itself(request, asked) && is_client(view, request, asked),
        permission: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    },
    Recognizer {
        recognize: is_client,
        permission: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    },
    Recognizer {
        recognize: is_serving,
        permission: "selfnodeserver",
        message: "Auto approving self kubelet server certificate after SubjectAccessReview.",
    },
];

fn is_for_itself(request: &SigningRequest, asked: &CertificateRequest) -> bool {
    request.spec.username == asked.common_name
}

fn is_client(_: &View<'_>, request: &SigningRequest, asked: &CertificateRequest) -> bool {
    request.spec.signer_name == KUBELET_CLIENT && judge_kubelet_client(request, asked).is_ok()
}

/// Where EKS is the control plane, a kubelet's own names and addresses, which are those that its node has.
fn is_serving(view: &View<'_>, request: &SigningRequest, asked: &CertificateRequest) -> bool {
    let eks = view.options().certificates == CertificatePolicy::Eks;
    if !eks || request.spec.signer_name != KUBELET_SERVING || !is_for_itself(request, asked) {
        return false;
    }
    if judge_kubelet_serving(request, asked).is_err() {
        return false;
    }
    let name = asked.common_name.trim_start_matches("system:node:");
    let Some(node) = view.get(&NODES, &NamespacedName::new("", name)) else { return false };
    let Ok(node) = node.view::<Node>() else { return false };
    let has = |wanted: &str| node.status.addresses.iter().any(|own| own.address == wanted);
    asked.dns_names.iter().all(|name| has(name)) && asked.addresses.iter().all(|own| has(&own.to_string()))
}

fn plan(view: &View<'_>, key: &Key, now: Timestamp) -> Planned {
    let mut plan = Plan::nothing();
    let Some(object) = view.get(&SIGNING_REQUESTS, &key.object) else { return Ok(plan) };
    let request = object.view::<SigningRequest>()?;
    let is_decided = request.is_issued() || request.has("Approved") || request.has("Denied");
    if is_decided || ![KUBELET_CLIENT, KUBELET_SERVING].contains(&request.spec.signer_name.as_str()) {
        return Ok(plan);
    }
    let item = object.meta().uid.clone();
    let wait = view.backoff(&item, now);
    if !wait.is_zero() {
        plan.requeue(wait);
        return Ok(plan);
    }
    let asked = CertificateRequest::parse(&request.pem()).map_err(|error| DecodeError {
        what: format!("CertificateSigningRequest {}", key.object),
        problem: error.to_string(),
    })?;
    for recognizer in RECOGNIZERS.iter().filter(|own| (own.recognize)(view, &request, &asked)) {
        let review = Read::Access(AccessReview {
            user: request.spec.username.clone(),
            uid: request.spec.uid.clone(),
            groups: request.spec.groups.clone(),
            extra: request.spec.extra.clone(),
            group: "certificates.k8s.io",
            resource: "certificatesigningrequests",
            subresource: recognizer.permission,
            verb: "create",
        });
        let Some(answer) = view.live(&review) else { return Ok(Plan::ask(vec![review])) };
        if answer.iter().any(|review| review.value()["status"]["allowed"] == true) {
            let condition =
                json!({"type": "Approved", "status": "True", "reason": "AutoApproved", "message": recognizer.message});
            let change = json!({"status": {"conditions": with_one_more(&object, condition)}});
            plan.then(Action::Update { resource: SIGNING_REQUESTS, base: object, subresource: "approval", change });
            return Ok(plan);
        }
    }
    plan.then(Action::Backoff { item });
    plan.requeue(AGAIN);
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::super::certificate_testing::{asked_by, csr, kubelet, options};
    use super::*;
    use crate::testing::{object, plan_with};
    use CertificatePolicy::{Eks, Upstream};

    #[test]
    fn kubelets_get_what_they_may_ask_for() {
        let client = ["client auth", "digital signature", "key encipherment"];
        let serving = ["digital signature", "server auth"];
        let node = |address: &str| {
            let addresses =
                json!([{"type": "InternalIP", "address": address}, {"type": "InternalDNS", "address": "n1"}]);
            object(&NODES, "", "n1", json!({"status": {"addresses": addresses}}))
        };
        let own = "system:node:n1";
        let cases = [
            (
                "a kubelet's own",
                Upstream,
                KUBELET_CLIENT,
                &client[..],
                own,
                &[][..],
                false,
                "10.0.0.7",
                "selfnodeclient",
            ),
            ("another's", Upstream, KUBELET_CLIENT, &client, "bootstrap", &[], false, "10.0.0.7", "nodeclient"),
            ("without permission", Upstream, KUBELET_CLIENT, &client, own, &["denied"], false, "10.0.0.7", ""),
            ("with names", Upstream, KUBELET_CLIENT, &client, own, &[], true, "10.0.0.7", ""),
            ("to serve with", Eks, KUBELET_SERVING, &serving, own, &[], true, "10.0.0.7", "selfnodeserver"),
            ("to serve with on another address", Eks, KUBELET_SERVING, &serving, own, &[], true, "10.0.0.8", ""),
            ("to serve with as another", Eks, KUBELET_SERVING, &serving, "system:node:n2", &[], true, "10.0.0.7", ""),
            ("which upstream leaves to people", Upstream, KUBELET_SERVING, &serving, own, &[], true, "10.0.0.7", ""),
        ];
        for (name, policy, signer, usages, user, groups, named, address, approved) in cases {
            let request = asked_by(&csr("c", signer, usages, &kubelet(named), &[]), user, groups);
            let key = Key::new(SIGNING_REQUESTS, "", "c");
            let plan = plan_with(&options(policy), &CONTROLLER, &[request, node(address)], &key);
            let action = &plan.actions[0];
            if approved.is_empty() {
                assert!(action.starts_with("back off") && plan.requeue_after == Some(AGAIN), "{name}: {action}");
            } else {
                assert!(action.starts_with("update certificatesigningrequests/approval c "), "{name}: {action}");
                let message = RECOGNIZERS.iter().find(|own| own.permission == approved).unwrap().message;
                assert!(action.contains(message), "{name}: {action}");
            }
        }
    }
}
