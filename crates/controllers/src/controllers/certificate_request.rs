//! What the controllers of CertificateSigningRequests share: the request as they read it, and what kubelets may ask for.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_auth::CertificateRequest;
use k8s_client::Change;
use k8s_object::views::Condition;
use k8s_object::{GroupVersionResource, Object};
use serde::Deserialize;
use serde_json::Value;

use crate::controller::{Key, Trigger};
use crate::view::View;

pub(super) const SIGNING_REQUESTS: GroupVersionResource =
    GroupVersionResource::of("certificates.k8s.io", "v1", "certificatesigningrequests");

/// What all controllers of requests look at: the request that changed. Nodes only help to judge one.
pub(super) fn trigger(change: &Change, _: &View<'_>) -> Vec<Trigger> {
    if change.resource != SIGNING_REQUESTS {
        return Vec::new();
    }
    vec![Key { resource: SIGNING_REQUESTS, object: change.key.clone() }.into()]
}

pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SigningRequest {
    pub(super) spec: Spec,
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    /// PEM in base64.
    request: String,
    pub(super) signer_name: String,
    pub(super) expiration_seconds: Option<u64>,
    pub(super) usages: Vec<String>,
    pub(super) username: String,
    pub(super) uid: String,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) conditions: Vec<Condition>,
    /// PEM in base64.
    certificate: String,
}

impl SigningRequest {
    /// Whether it has a condition, whatever the condition's status.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == kind)
    }

    /// Whether it has a condition that is true, which those without a status are.
    pub(super) fn is(&self, kind: &str) -> bool {
        let holds = |own: &&Condition| own.kind == kind && matches!(own.status.as_str(), "" | "True");
        self.status.conditions.iter().any(|own| holds(&own))
    }

    pub(super) fn is_issued(&self) -> bool {
        !self.status.certificate.is_empty()
    }

    /// The certificate in PEM.
    pub(super) fn certificate(&self) -> Vec<u8> {
        STANDARD.decode(&self.status.certificate).unwrap_or_default()
    }

    /// The request in PEM.
    pub(super) fn pem(&self) -> Vec<u8> {
        STANDARD.decode(&self.spec.request).unwrap_or_default()
    }

    fn uses(&self, usages: &[&str]) -> bool {
        let own: BTreeSet<&str> = self.spec.usages.iter().map(String::as_str).collect();
        let with: BTreeSet<&str> = usages.iter().copied().collect();
        let without: BTreeSet<&str> = usages.iter().copied().filter(|usage| *usage != "key encipherment").collect();
        own == with || own == without
    }
}

/// The stored conditions with one more.
pub(super) fn with_one_more(object: &Object, condition: Value) -> Value {
    let mut conditions = object.value()["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.push(condition);
    Value::Array(conditions)
}

/// What is wrong with a kubelet's request for a certificate to serve with (upstream's `ValidateKubeletServingCSR`).
pub(super) fn judge_kubelet_serving(request: &SigningRequest, asked: &CertificateRequest) -> Result<(), String> {
    let usages = ["digital signature", "key encipherment", "server auth"];
    let problem = if asked.organizations != ["system:nodes"] {
        "subject organization is not system:nodes"
    } else if asked.dns_names.is_empty() && asked.addresses.is_empty() {
        "DNS or IP subjectAltName is required"
    } else if !asked.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !asked.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else if !request.uses(&usages) {
        return Err(format!("usages did not match [{}]", usages.join(" ")));
    } else if !asked.common_name.starts_with("system:node:") {
        "subject common name does not begin with system:node:"
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}

/// What is wrong with a kubelet's request for a certificate to call the API server with (upstream's `ValidateKubeletClientCSR`).
pub(super) fn judge_kubelet_client(request: &SigningRequest, asked: &CertificateRequest) -> Result<(), String> {
    let usages = ["client auth", "digital signature", "key encipherment"];
    let problem = if asked.organizations != ["system:nodes"] {
        "subject organization is not system:nodes"
    } else if !asked.dns_names.is_empty() {
        "DNS subjectAltNames are not allowed"
    } else if !asked.emails.is_empty() {
        "Email subjectAltNames are not allowed"
    } else if !asked.addresses.is_empty() {
        "IP subjectAltNames are not allowed"
    } else if !asked.uris.is_empty() {
        "URI subjectAltNames are not allowed"
    } else if !asked.common_name.starts_with("system:node:") {
        "subject common name does not begin with system:node:"
    } else if !request.uses(&usages) {
        return Err(format!("usages did not match [{}]", usages.join(" ")));
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}
