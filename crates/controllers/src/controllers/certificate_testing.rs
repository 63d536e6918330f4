//! Certificate signing requests for the tests of the controllers that work on them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_auth::PrivateKey;
use k8s_auth::pki::request_pem;
use k8s_object::Object;
use serde_json::{Value, json};
use world::World;

use super::certificate_request::SIGNING_REQUESTS;
use crate::options::{CertificatePolicy, Options};
use crate::testing::object;

pub(super) fn options(certificates: CertificatePolicy) -> Options {
    Options { certificates, ..crate::testing::options() }
}

/// A request in PEM for a subject, with names of node `n1` or without any.
pub(super) fn request(name: &str, group: &str, named: bool) -> Vec<u8> {
    let (world, _simulation) = World::simulated(7);
    let (names, addresses) =
        if named { (&["n1"][..], vec!["10.0.0.7".parse().unwrap()]) } else { (&[][..], Vec::new()) };
    request_pem(&PrivateKey::generate(&world), name, group, names, &addresses).unwrap().into_bytes()
}

/// What the kubelet of node `n1` asks for.
pub(super) fn kubelet(named: bool) -> Vec<u8> {
    request("system:node:n1", "system:nodes", named)
}

pub(super) fn csr(name: &str, signer: &str, usages: &[&str], request: &[u8], conditions: &[&str]) -> Arc<Object> {
    let conditions: Vec<Value> =
        conditions.iter().map(|kind| json!({"type": kind, "status": "True", "reason": "R"})).collect();
    let spec = json!({"signerName": signer, "usages": usages, "request": STANDARD.encode(request)});
    object(&SIGNING_REQUESTS, "", name, json!({"spec": spec, "status": {"conditions": conditions}}))
}

/// The same asked for by somebody.
pub(super) fn asked_by(object: &Object, user: &str, groups: &[&str]) -> Arc<Object> {
    let mut value = object.value();
    value["spec"]["username"] = json!(user);
    value["spec"]["groups"] = json!(groups);
    Arc::new(Object::from_value(&value).unwrap())
}
