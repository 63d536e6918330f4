//! CertificateSigningRequest: somebody wants a certificate, somebody approves it, a signer issues it.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_object::Cause;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::causes::{duplicate, forbidden, invalid, not_supported, required, too_long};
use crate::columns::{AGE, Column, NAME, text_or};
use crate::fields::{at, carry_over, child, default_to, is_empty, items, items_mut, text};
use crate::names::{LABEL_LIMIT, SUBDOMAIN_LIMIT, label, subdomain};
use crate::strategy::drop_status;
use crate::{Context, Kind, STATUS, Scope, Subresource, human_duration, pem};

const GROUP: &str = "certificates.k8s.io";
/// Conditions that are only set by who may approve.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
/// Conditions that once there stay, and are only ever true.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];
/// The signer of requests of before signers had names.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Whose fields are the server's: who asks.
const REQUESTER: [&str; 4] = ["extra", "groups", "uid", "username"];

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    scope: Scope::Cluster,
    type_name: "io.k8s.api.certificates.v1.CertificateSigningRequest",
    subresources: &[Subresource { name: "approval", ..STATUS }, STATUS],
    columns: &[
        NAME,
        AGE,
        Column::text("SignerName", "Who is asked to sign.", |object, _| text_or(object, "spec.signerName", "<none>")),
        Column::text("Requestor", "Who asks.", |object, _| text(object, "spec.username").into()),
        Column::text("RequestedDuration", "How long the certificate is to be valid.", |object, _| {
            match at(object, "spec.expirationSeconds").as_u64() {
                Some(seconds) => human_duration(Duration::from_secs(seconds)).into(),
                None => "<none>".into(),
            }
        }),
        Column::text("Condition", "What has become of it.", |object, _| condition(object).into()),
    ],
    selectable: &["spec.signerName"],
    name_rule: |_, _| Vec::new(),
    prepare_create: |object, context| {
        drop_status(object, context);
        if let Some(spec) = child(object, "spec").and_then(Value::as_object_mut) {
            spec.retain(|key, _| !REQUESTER.contains(&key.as_str()));
        }
    },
    prepare_update,
    validate,
    ..Kind::BASE
};

fn condition(object: &Value) -> String {
    let has = |kind: &str| items(object, "status.conditions").iter().any(|condition| text(condition, "type") == kind);
    let mut told = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        told.push_str(",Failed");
    }
    if !is_empty(at(object, "status.certificate")) {
        told.push_str(",Issued");
    }
    told
}

/// The request itself never changes. Signers write the status but for decisions, and those who approve nothing but conditions.
fn prepare_update(object: &mut Value, context: &Context<'_>) {
    let Some(old) = context.old else { return };
    carry_over(object, old, "spec");
    match context.subresource {
        "status" => {
            keep_decisions(object, old);
            stamp_conditions(object, old, context);
        }
        "approval" => {
            stamp_conditions(object, old, context);
            let conditions = at(object, "status.conditions").clone();
            carry_over(object, old, "status");
            if let Some(status) = child(object, "status").and_then(Value::as_object_mut) {
                status.insert("conditions".to_owned(), conditions);
                status.retain(|_, value| !value.is_null());
            }
        }
        _ => carry_over(object, old, "status"),
    }
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    items(object, "status.conditions").iter().filter(|condition| text(condition, "type") == kind).collect()
}

/// Decisions stay as they are, where as many were sent as there are.
fn keep_decisions(object: &mut Value, old: &Value) {
    for kind in DECISIONS {
        let before = of_type(old, kind);
        if before.len() != of_type(object, kind).len() {
            continue;
        }
        let Some(status) = object.get_mut("status") else { return };
        let sent = items_mut(status, "conditions").filter(|condition| text(condition, "type") == kind);
        for (condition, before) in sent.zip(before) {
            *condition = before.clone();
        }
    }
}

/// Times that are not told: now, or since when it has been so.
fn stamp_conditions(object: &mut Value, old: &Value, context: &Context<'_>) {
    let now = context.now.to_string();
    let Some(status) = object.get_mut("status") else { return };
    for condition in items_mut(status, "conditions") {
        let same = items(old, "status.conditions").iter().find(|old| {
            ["type", "status"].iter().all(|key| text(old, key) == text(condition, key))
                && !at(old, "lastTransitionTime").is_null()
        });
        let since = same.map_or(now.as_str(), |old| text(old, "lastTransitionTime")).to_owned();
        default_to(condition, "lastUpdateTime", now.as_str());
        default_to(condition, "lastTransitionTime", since);
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = validate_spec(&object["spec"], context.old.map(|old| &old["spec"]));
    causes.extend(validate_conditions(object, context.old));
    let certificate = at(object, "status.certificate");
    let before = context.old.map(|old| at(old, "status.certificate"));
    let tolerated = before.is_some_and(|before| {
        before == certificate || certificate_problem(before.as_str().unwrap_or_default()).is_some()
    });
    if !tolerated && let Some(problem) = certificate_problem(certificate.as_str().unwrap_or_default()) {
        causes.push(invalid("status.certificate", "<certificate data>", &problem));
    }
    if let Some(old) = context.old {
        causes.extend(validate_update(object, old, context.subresource));
    }
    causes
}

fn validate_spec(spec: &Value, old: Option<&Value>) -> Vec<Cause> {
    /// Seconds.
    const LEAST: i64 = 600;
    let mut causes = Vec::new();
    let request = text(spec, "request");
    if let Err(problem) = check_request(request) {
        causes.push(invalid("spec.request", request, &problem));
    }
    let usages: Vec<&str> = items(spec, "usages").iter().filter_map(Value::as_str).collect();
    let before: Vec<&str> =
        old.map(|old| items(old, "usages")).unwrap_or_default().iter().filter_map(Value::as_str).collect();
    if usages.is_empty() {
        causes.push(required("spec.usages", ""));
    }
    if before.iter().all(|usage| USAGES.contains(usage)) {
        for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
            causes.push(not_supported(format!("spec.usages[{index}]"), *usage, &USAGES));
        }
    }
    let mut seen = BTreeSet::new();
    if before.iter().all(|usage| seen.insert(*usage)) {
        let mut seen = BTreeSet::new();
        for (index, usage) in usages.iter().enumerate() {
            if !seen.insert(*usage) {
                causes.push(duplicate(format!("spec.usages[{index}]"), *usage));
            }
        }
    }
    let signer = text(spec, "signerName");
    let was_legacy = old.is_some_and(|old| text(old, "signerName") == LEGACY_SIGNER);
    if signer == LEGACY_SIGNER && !was_legacy {
        let problem = "the legacy signerName is not allowed via this API version";
        causes.push(invalid("spec.signerName", signer, problem));
    } else {
        causes.extend(signer_name(signer, "spec.signerName"));
    }
    if let Some(seconds) = at(spec, "expirationSeconds").as_i64().filter(|seconds| *seconds < LEAST) {
        let problem = "may not specify a duration less than 600 seconds (10 minutes)";
        causes.push(invalid("spec.expirationSeconds", seconds, problem));
    }
    causes
}

/// `example.com/some-signer`
fn signer_name(name: &str, field: &str) -> Vec<Cause> {
    const PATH_LIMIT: usize = SUBDOMAIN_LIMIT + LABEL_LIMIT + 1;
    if name.is_empty() {
        return vec![required(field, "")];
    }
    let [domain, path] = name.split('/').collect::<Vec<_>>()[..] else {
        let problem = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![invalid(field, name, problem)];
    };
    let mut causes = Vec::new();
    if domain.len() > SUBDOMAIN_LIMIT {
        causes.push(too_long(field, SUBDOMAIN_LIMIT));
    }
    let first_wrong = |text: &str, rule: crate::names::Rule| -> Vec<String> {
        let wrong = text.split('.').map(|part| (part.to_owned(), rule(part, false))).find(|(_, told)| !told.is_empty());
        let (part, told) = wrong.unwrap_or_default();
        told.into_iter().map(|problem| format!("validating label {part:?}: {problem}")).collect()
    };
    causes.extend(first_wrong(domain, label).iter().map(|problem| invalid(field, domain, problem)));
    if !domain.contains('.') {
        causes.push(invalid(field, domain, "should be a domain with at least two segments separated by dots"));
    }
    causes.extend(first_wrong(path, subdomain).iter().map(|problem| invalid(field, path, problem)));
    if name.len() > SUBDOMAIN_LIMIT + PATH_LIMIT + 1 {
        causes.push(too_long(field, SUBDOMAIN_LIMIT + PATH_LIMIT + 1));
    }
    causes
}

/// A request in PEM whose signature is by the key that it is about.
fn check_request(request: &str) -> Result<(), String> {
    let blocks = pem::blocks(&pem::field_bytes(request));
    let Some(block) = blocks.first().filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    let (rest, request) =
        X509CertificationRequest::from_der(&block.der).map_err(|_| "x509: malformed certificate request".to_owned())?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data".to_owned());
    }
    request.verify_signature().map_err(|_| {
        match request.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => "x509: Ed25519 verification failure",
            oid if oid.starts_with("1.2.840.10045.") => "x509: ECDSA verification failure",
            oid if oid.starts_with("1.2.840.113549.1.1.") => "crypto/rsa: verification error",
            _ => "x509: cannot verify signature: algorithm unimplemented",
        }
        .to_owned()
    })
}

/// What is wrong with certificates in PEM; nothing with none.
fn certificate_problem(certificate: &str) -> Option<String> {
    if certificate.is_empty() {
        return None;
    }
    let blocks = pem::blocks(&pem::field_bytes(certificate));
    for block in &blocks {
        if block.label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if block.der.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        let mut rest = block.der.as_slice();
        while !rest.is_empty() {
            match x509_parser::parse_x509_certificate(rest) {
                Ok((behind, _)) => rest = behind,
                Err(_) => return Some("x509: malformed certificate".to_owned()),
            }
        }
    }
    blocks.is_empty().then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

fn validate_conditions(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    const FIELD: &str = "status.conditions";
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    let before = old.map(|old| items(old, FIELD)).unwrap_or_default();
    let kinds = |conditions: &[Value]| -> Vec<String> {
        conditions.iter().map(|condition| text(condition, "type").to_owned()).collect()
    };
    let old_kinds = kinds(before);
    let had = |kind: &str| old_kinds.iter().any(|old| old == kind);
    let both_allowed = had("Approved") && had("Denied");
    let unique = old_kinds.iter().collect::<BTreeSet<_>>().len() == old_kinds.len();
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, condition) in items(object, FIELD).iter().enumerate() {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() && !had("") {
            causes.push(required(format!("{FIELD}[{index}].type"), ""));
        }
        let allowed: &[&str] = if LASTING.contains(&kind) { &["True"] } else { &STATUSES };
        match status {
            "" => causes.push(required(format!("{FIELD}[{index}].status"), "")),
            status if !allowed.contains(&status) => {
                causes.push(not_supported(format!("{FIELD}[{index}].status"), status, allowed));
            }
            _ => {}
        }
        let other = if kind == "Approved" { "Denied" } else { "Approved" };
        if !both_allowed && DECISIONS.contains(&kind) && seen.contains(other) {
            causes.push(invalid(FIELD, kind, "Approved and Denied conditions are mutually exclusive"));
        }
        if !seen.insert(kind) && unique {
            causes.push(duplicate(format!("{FIELD}[{index}].type"), kind));
        }
    }
    causes
}

/// Decisions are made by who may, and not taken back; certificates are issued once.
fn validate_update(object: &Value, old: &Value, subresource: &str) -> Vec<Cause> {
    const FIELD: &str = "status.conditions";
    let mut causes = Vec::new();
    for kind in LASTING.iter().filter(|kind| of_type(object, kind).len() < of_type(old, kind).len()) {
        causes.push(forbidden(FIELD, &format!("updates may not remove a condition of type {kind:?}")));
    }
    if subresource != "approval" {
        for kind in DECISIONS {
            let (new, old) = (of_type(object, kind), of_type(old, kind));
            if new.len() > old.len() {
                causes.push(forbidden(FIELD, &format!("updates may not add a condition of type {kind:?}")));
            } else if new.len() == old.len() && new != old {
                causes.push(forbidden(FIELD, &format!("updates may not modify a condition of type {kind:?}")));
            }
        }
    }
    let (new, before) = (text(object, "status.certificate"), text(old, "status.certificate"));
    if new != before {
        if subresource != "status" {
            causes.push(forbidden("status.certificate", "updates may not set certificate content"));
        } else if !before.is_empty() {
            causes.push(forbidden("status.certificate", "updates may not modify existing certificate content"));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};
    use serde_json::json;
    use world::Timestamp;

    /// A request by a P-256 key for `CN=test`, made by openssl for this test.
    const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIS01IRUNBUUF3RHpFTk1Bc0dBMVVFQXd3RWRHVnpkREJaTUJN\
        R0J5cUdTTTQ5QWdFR0NDcUdTTTQ5QXdFSApBMElBQktMYnM3NitRbnY0OFpIdzBINWZKdmpOa3hhOUlDclF4OFlNc1ByMXNFaTl6\
        eEVqV01tajlOWTBNK0RKCmZCbE80VGpjS2s4VHZBVktJMkdUVDhVVk1PdWdBREFLQmdncWhrak9QUVFEQWdOSkFEQkdBaUVBaHJn\
        ZG92YkgKaTFFUndRYzVoME5LRk1peWFnaWpwUEp4WkZyK05GVmovalFDSVFEWTZ2S3pHL3ZSOVd0bk5qUFVRbDh2ajE5dwpBbGdI\
        VUNOTzNZZWpuVGRIY3c9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

    fn request(changes: Value) -> Value {
        let mut spec = json!({
            "request": REQUEST, "signerName": "a.example/signer", "usages": ["client auth"],
            "username": "somebody else",
        });
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        json!({"metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn requests_are_judged() {
        let broken = {
            let mut text = String::from_utf8(pem::field_bytes(REQUEST)).unwrap();
            // The last characters of the last line are of the signature.
            let at = text.rfind("\n-----END").unwrap() - 6;
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            text.replace_range(at..=at, other);
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.encode(text)
        };
        let cases = [
            (request(json!({})), vec![]),
            (
                request(json!({"request": "YWJj"})),
                vec![r#"spec.request: Invalid value: "YWJj": PEM block type must be CERTIFICATE REQUEST"#.to_owned()],
            ),
            (
                request(json!({"request": broken})),
                vec![format!("spec.request: Invalid value: \"{broken}\": x509: ECDSA verification failure")],
            ),
            (
                request(json!({"usages": ["x", "any", "any"], "expirationSeconds": 599})),
                vec![
                    format!("spec.usages[0]: Unsupported value: \"x\": supported values: {}", USAGES.map(|usage| format!("{usage:?}")).join(", ")),
                    r#"spec.usages[2]: Duplicate value: "any""#.to_owned(),
                    "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)".to_owned(),
                ],
            ),
            (
                request(json!({"signerName": "kubernetes.io/legacy-unknown"})),
                vec![r#"spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version"#.to_owned()],
            ),
            (
                request(json!({"signerName": "a/b"})),
                vec![r#"spec.signerName: Invalid value: "a": should be a domain with at least two segments separated by dots"#.to_owned()],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        let made = created(&KIND, &request(json!({})));
        assert!(made["spec"]["username"].is_null(), "who asks is not the client's to say");
    }

    fn with_status(status: Value) -> Value {
        let mut object = request(json!({}));
        object["status"] = status;
        object
    }

    #[test]
    fn each_writer_has_a_part() {
        let approved = json!({"type": "Approved", "status": "True"});
        let cases = [
            // The path, the status before and sent, what is told.
            ("", json!(null), json!({"conditions": [approved]}), vec![]),
            (
                "status",
                json!(null),
                json!({"conditions": [approved]}),
                vec![r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#],
            ),
            ("approval", json!(null), json!({"conditions": [approved], "certificate": "eA=="}), vec![]),
            (
                "approval",
                json!({"conditions": [approved]}),
                json!({"conditions": []}),
                vec![r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#],
            ),
            (
                "approval",
                json!(null),
                json!({"conditions": [approved, {"type": "Denied", "status": "False"}]}),
                vec![
                    r#"status.conditions[1].status: Unsupported value: "False": supported values: "True""#,
                    r#"status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#,
                ],
            ),
            (
                "status",
                json!(null),
                json!({"certificate": "eA=="}),
                vec![
                    r#"status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block"#,
                ],
            ),
        ];
        for (path, before, sent, expected) in cases {
            let told = told_of_update(&KIND, &with_status(before), &with_status(sent.clone()), path);
            assert_eq!(told, expected, "{path} {sent}");
        }
    }

    #[test]
    fn times_of_conditions_are_filled() {
        let old = with_status(
            json!({"conditions": [{"type": "Approved", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}),
        );
        let mut new = with_status(
            json!({"conditions": [{"type": "Approved", "status": "True"}, {"type": "x", "status": "True"}]}),
        );
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: Some(&old), subresource: "approval" };
        prepare_update(&mut new, &context);
        let conditions = &new["status"]["conditions"];
        assert_eq!(conditions[0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(conditions[0]["lastUpdateTime"], "1970-01-01T00:00:00Z");
        assert_eq!(conditions[1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(condition(&new), "Approved");
        assert_eq!(
            condition(&json!({"status": {"conditions": [{"type": "Failed"}], "certificate": "eA=="}})),
            "Pending,Failed,Issued"
        );
    }
}
