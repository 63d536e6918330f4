//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction and ClusterTrustBundleAttest: who may have a signer sign
//! what.

use k8s_auth::Attributes;
use k8s_object::ApiError;
use serde_json::Value;

use super::asks::{Ask, Question};
use super::{Operation, Review, Said, forbidden};
use crate::ports::Decision;

const GROUP: &str = "certificates.k8s.io";
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";

pub(super) fn judge_approval(review: &Review<'_, '_>, object: &Value, said: &mut Said) -> Result<(), ApiError> {
    let Some(old) = request(review, "approval") else { return Ok(()) };
    may(review, object, said, ("approve", signer(old)), "approve requests with")
}

pub(super) fn judge_signing(review: &Review<'_, '_>, object: &Value, said: &mut Said) -> Result<(), ApiError> {
    let Some(old) = request(review, "status") else { return Ok(()) };
    let unchanged = |field: &str| old["status"][field] == object["status"][field];
    if unchanged("certificate") && unchanged("conditions") {
        return Ok(());
    }
    may(review, object, said, ("sign", signer(old)), "sign requests with")
}

pub(super) fn judge_subject(review: &Review<'_, '_>, object: &Value, _: &mut Said) -> Result<(), ApiError> {
    if !review.is_create() || !review.call.resource.is(GROUP, "certificatesigningrequests") || signer(object) != CLIENTS
    {
        return Ok(());
    }
    let subject = super::request_subject(object)
        .map_err(|error| forbidden(review, object, &format!("failed to parse CSR: {error}")))?;
    if subject.organizations.iter().any(|group| group == "system:masters") {
        let why = format!("use of {CLIENTS} signer with system:masters group is not allowed");
        return Err(forbidden(review, object, &why));
    }
    Ok(())
}

pub(super) fn judge_trust_bundle(review: &Review<'_, '_>, object: &Value, said: &mut Said) -> Result<(), ApiError> {
    if !review.call.resource.is(GROUP, "clustertrustbundles") || signer(object).is_empty() {
        return Ok(());
    }
    if review.old.is_some_and(|old| old["spec"] == object["spec"]) {
        return Ok(());
    }
    may(review, object, said, ("attest", signer(object)), "attest for")
}

fn signer(object: &Value) -> &str {
    object["spec"]["signerName"].as_str().unwrap_or("")
}

/// The request before an update of one of its subresources.
fn request<'a>(review: &'a Review<'_, '_>, subresource: &str) -> Option<&'a Value> {
    let call = review.call;
    let concerned = call.resource.is(GROUP, "certificatesigningrequests")
        && call.request.subresource == subresource
        && review.operation == Operation::Update;
    review.old.filter(|_| concerned)
}

/// Whether the user has a verb on a signer, by its name or by that of all signers of its domain.
fn may(
    review: &Review<'_, '_>,
    object: &Value,
    said: &mut Said,
    (verb, signer): (&str, &str),
    what: &str,
) -> Result<(), ApiError> {
    let call = review.call;
    let domain = format!("{}/*", signer.split('/').next().unwrap_or(""));
    let attributes =
        |name| Attributes { name, version: "v1", ..Attributes::resource(call.user, verb, GROUP, "signers") };
    let refusal = || forbidden(review, object, &format!("user not permitted to {what} signerName {signer:?}"));
    if call.core.auth.has_webhooks() {
        let one_of = [signer, &domain].map(|name| Question::of(&attributes(name))).into();
        said.asks.push(Ask { one_of, refusal: refusal() });
        return Ok(());
    }
    let decide = |name| call.core.auth.decide_at_once(call.core, &attributes(name));
    match [signer, &domain].into_iter().any(|name| matches!(decide(name), Decision::Allow(_))) {
        true => Ok(()),
        false => Err(refusal()),
    }
}
