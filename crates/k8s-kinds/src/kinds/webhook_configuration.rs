//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration: webhooks that are asked before something is written.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::admission_rules::{
    FAILURE_POLICIES, GROUP, REINVOCATION_POLICIES, default_match, default_rules, match_conditions, match_policy,
    one_of, rule,
};
use crate::causes::{duplicate, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, default_to, items, items_mut, text};
use crate::names::{dns_1035, label_selector};
use crate::web::{client_config, fully_qualified};
use crate::{Context, Kind, Scope};

/// Forms of a review that a webhook may understand of which the server knows one.
const KNOWN_REVIEWS: [&str; 2] = ["v1", "v1beta1"];
/// What a webhook may do beside answering, today and in objects from before.
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

const CONFIGURATION: Kind = Kind {
    group: GROUP,
    scope: Scope::Cluster,
    categories: &["api-extensions"],
    columns: &[
        NAME,
        Column::integer("Webhooks", "Number of webhooks.", |object, _| items(object, "webhooks").len().into()),
        AGE,
    ],
    has_generation: true,
    updates_name_version: true,
    ..Kind::BASE
};

pub(crate) static MUTATING: Kind = Kind {
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    type_name: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    default: |object, _| {
        default(object);
        items_mut(object, "webhooks").for_each(|webhook| default_to(webhook, "reinvocationPolicy", "Never"));
    },
    validate,
    ..CONFIGURATION
};

pub(crate) static VALIDATING: Kind = Kind {
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    type_name: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    default: |object, _| default(object),
    validate,
    ..CONFIGURATION
};

fn default(object: &mut Value) {
    for webhook in items_mut(object, "webhooks") {
        default_to(webhook, "failurePolicy", "Fail");
        default_match(webhook);
        default_to(webhook, "timeoutSeconds", 10);
        default_rules(webhook, "rules");
        if !at(webhook, "clientConfig.service").is_null()
            && let Some(service) = child(webhook, "clientConfig").and_then(|config| child(config, "service"))
        {
            default_to(service, "port", 443);
        }
    }
}

/// What must hold of a new configuration, and of a changed one only if it held before.
struct Strict {
    no_side_effects: bool,
    known_reviews: bool,
    unique_names: bool,
    match_conditions: bool,
}

impl Strict {
    fn of(object: &Value, old: Option<&Value>) -> Strict {
        let Some(old) = old.map(|old| items(old, "webhooks")) else {
            return Strict { no_side_effects: true, known_reviews: true, unique_names: true, match_conditions: true };
        };
        let new = items(object, "webhooks");
        let mut names = BTreeSet::new();
        let same_conditions = new.len() == old.len()
            && new.iter().zip(old).all(|(new, old)| at(new, "matchConditions") == at(old, "matchConditions"));
        Strict {
            no_side_effects: old.iter().all(|webhook| NO_SIDE_EFFECTS.contains(&text(webhook, "sideEffects"))),
            known_reviews: old.iter().all(|webhook| {
                let versions = items(webhook, "admissionReviewVersions");
                versions.is_empty() || versions.iter().any(is_known_review)
            }),
            unique_names: old.iter().all(|webhook| names.insert(text(webhook, "name"))),
            match_conditions: !same_conditions,
        }
    }
}

fn is_known_review(version: &Value) -> bool {
    version.as_str().is_some_and(|version| KNOWN_REVIEWS.contains(&version))
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let strict = Strict::of(object, context.old);
    let before: Vec<&str> = context
        .old
        .map(|old| items(old, "webhooks"))
        .unwrap_or_default()
        .iter()
        .flat_map(|webhook| items(webhook, "matchConditions"))
        .map(|condition| text(condition, "expression"))
        .collect();
    let mut causes = Vec::new();
    let mut names = BTreeSet::new();
    for (index, webhook) in items(object, "webhooks").iter().enumerate() {
        let field = format!("webhooks[{index}]");
        causes.extend(validate_webhook(webhook, &field, &strict, &before, context.minor));
        causes.extend(review_versions(webhook, &format!("{field}.admissionReviewVersions"), &strict));
        let name = text(webhook, "name");
        if strict.unique_names && !name.is_empty() && !names.insert(name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
    }
    causes
}

fn validate_webhook(webhook: &Value, field: &str, strict: &Strict, before: &[&str], minor: u8) -> Vec<Cause> {
    let mut causes = fully_qualified(&format!("{field}.name"), text(webhook, "name"));
    for (index, entry) in items(webhook, "rules").iter().enumerate() {
        causes.extend(rule(entry, &format!("{field}.rules[{index}]")));
    }
    causes.extend(one_of(webhook, "failurePolicy", field, &FAILURE_POLICIES));
    causes.extend(match_policy(webhook, field));
    let allowed: &[&str] = if strict.no_side_effects { &NO_SIDE_EFFECTS } else { &SIDE_EFFECTS };
    match at(webhook, "sideEffects").as_str() {
        None => {
            let detail = format!("must specify one of {}", allowed.join(", "));
            causes.push(required(format!("{field}.sideEffects"), &detail));
        }
        Some(effects) if !allowed.contains(&effects) => {
            causes.push(not_supported(format!("{field}.sideEffects"), effects, allowed));
        }
        Some(_) => {}
    }
    if let Some(seconds) = at(webhook, "timeoutSeconds").as_i64().filter(|seconds| !(1..=30).contains(seconds)) {
        let problem = "the timeout value must be between 1 and 30 seconds";
        causes.push(invalid(format!("{field}.timeoutSeconds"), seconds, problem));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        causes.extend(label_selector(at(webhook, key), &format!("{field}.{key}")));
    }
    causes.extend(one_of(webhook, "reinvocationPolicy", field, &REINVOCATION_POLICIES));
    causes.extend(client_config(at(webhook, "clientConfig"), &format!("{field}.clientConfig")));
    if strict.match_conditions {
        let field = format!("{field}.matchConditions");
        causes.extend(match_conditions(items(webhook, "matchConditions"), &field, false, before, minor));
    }
    causes
}

fn review_versions(webhook: &Value, field: &str, strict: &Strict) -> Vec<Cause> {
    let versions = items(webhook, "admissionReviewVersions");
    if versions.is_empty() {
        return vec![required(field, &format!("must specify one of {}", KNOWN_REVIEWS.join(", ")))];
    }
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().filter_map(Value::as_str).enumerate() {
        let field = format!("{field}[{index}]");
        if !seen.insert(version) {
            causes.push(invalid(field, version, "duplicate version"));
            continue;
        }
        causes.extend(dns_1035(version, false).iter().map(|problem| invalid(&field, version, problem)));
    }
    if strict.known_reviews && !versions.iter().any(is_known_review) {
        let problem = format!("must include at least one of {}", KNOWN_REVIEWS.join(", "));
        causes.push(invalid(field, versions.to_vec(), &problem));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};
    use serde_json::json;

    fn with(changes: Value) -> Value {
        let mut webhook = json!({
            "name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "n"}},
        });
        for (key, value) in changes.as_object().unwrap() {
            webhook[key] = value.clone();
        }
        json!({"webhooks": [webhook]})
    }

    #[test]
    fn webhooks_are_judged() {
        let cases = [
            (with(json!({})), vec![]),
            (
                with(json!({"name": "a.b"})),
                vec![
                    r#"webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#,
                ],
            ),
            (
                with(json!({"sideEffects": null})),
                vec!["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
            ),
            (
                with(json!({"sideEffects": "Some"})),
                vec![r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#],
            ),
            (
                with(json!({"timeoutSeconds": 31, "failurePolicy": "x", "matchPolicy": "y"})),
                vec![
                    r#"webhooks[0].failurePolicy: Unsupported value: "x": supported values: "Fail", "Ignore""#,
                    r#"webhooks[0].matchPolicy: Unsupported value: "y": supported values: "Equivalent", "Exact""#,
                    "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                ],
            ),
            (
                with(json!({"admissionReviewVersions": []})),
                vec!["webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"],
            ),
            (
                with(json!({"admissionReviewVersions": ["v2", "v2"]})),
                vec![
                    r#"webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version"#,
                    r#"webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1"#,
                ],
            ),
            (
                with(json!({"clientConfig": {}})),
                vec!["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&VALIDATING, &object), expected, "{object}");
            assert_eq!(told(&MUTATING, &object), expected, "{object}");
        }
        let twice = json!({"webhooks": [with(json!({}))["webhooks"][0], with(json!({}))["webhooks"][0]]});
        assert_eq!(told(&VALIDATING, &twice), [r#"webhooks[1].name: Duplicate value: "a.b.c""#]);
        assert_eq!(
            told(&MUTATING, &with(json!({"reinvocationPolicy": "x"}))),
            [r#"webhooks[0].reinvocationPolicy: Unsupported value: "x": supported values: "IfNeeded", "Never""#]
        );
    }

    #[test]
    fn what_was_wrong_before_stays_allowed() {
        let old = with(json!({"sideEffects": "Some", "admissionReviewVersions": ["v2"]}));
        let new = with(json!({"sideEffects": "Unknown", "admissionReviewVersions": ["v2"], "failurePolicy": "Ignore"}));
        assert!(told_of_update(&VALIDATING, &old, &new, "").is_empty());
        assert_eq!(told_of_update(&VALIDATING, &with(json!({})), &new, "").len(), 2);
    }

    #[test]
    fn webhooks_get_defaults() {
        let made = created(&MUTATING, &with(json!({"rules": [{}]})));
        let webhook = &made["webhooks"][0];
        let got = [
            &webhook["failurePolicy"],
            &webhook["matchPolicy"],
            &webhook["timeoutSeconds"],
            &webhook["reinvocationPolicy"],
            &webhook["rules"][0]["scope"],
            &webhook["clientConfig"]["service"]["port"],
            &webhook["objectSelector"],
        ];
        let expected =
            [json!("Fail"), json!("Equivalent"), json!(10), json!("Never"), json!("*"), json!(443), json!({})];
        assert_eq!(got, expected.each_ref());
        assert!(created(&VALIDATING, &with(json!({})))["webhooks"][0]["reinvocationPolicy"].is_null());
    }
}
