//! PriorityLevelConfiguration: how many requests of a level are carried out at once, and how others wait.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, default_to, default_zero_to, int, items, text};
use crate::strategy::{drop_status, keep_apart};
use crate::{Context, Kind, STATUS, Scope, flow_control};

const QUEUES_LIMIT: i64 = 10_000_000;
/// Bits of the hash from which a flow's queues are drawn.
const HASH_BITS: f64 = 60.0;
/// An annotation of the way from an old version, which nobody may set.
const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

pub(crate) static KIND: Kind = Kind {
    group: flow_control::GROUP,
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    subresources: &[STATUS],
    columns: &[
        NAME,
        Column::text("Type", "Whether there is a limit.", |object, _| text(object, "spec.type").into()),
        Column::text(
            "NominalConcurrencyShares",
            "The level's part of all that is carried out at once.",
            |object, _| number(object, "spec.limited.nominalConcurrencyShares"),
        ),
        Column::text("Queues", "Queues in which requests wait.", |object, _| {
            number(object, "spec.limited.limitResponse.queuing.queues")
        }),
        Column::text("HandSize", "Queues that one flow may use.", |object, _| {
            number(object, "spec.limited.limitResponse.queuing.handSize")
        }),
        Column::text("QueueLengthLimit", "Requests that wait in one queue.", |object, _| {
            number(object, "spec.limited.limitResponse.queuing.queueLengthLimit")
        }),
        AGE,
    ],
    has_generation: true,
    default,
    prepare_create: drop_status,
    prepare_update: keep_apart_and_all_metadata,
    validate,
    ..Kind::BASE
};

fn number(object: &Value, path: &str) -> Value {
    match at(object, path) {
        Value::Null => "<none>".into(),
        number => number.clone(),
    }
}

/// A write of status leaves everything else, all metadata too.
pub(super) fn keep_apart_and_all_metadata(object: &mut Value, context: &Context<'_>) {
    keep_apart(object, context);
    let (Some(old), "status") = (context.old, context.subresource) else { return };
    let (Some(metadata), Some(old)) = (child(object, "metadata"), old["metadata"].as_object()) else { return };
    let kept = ["managedFields", "resourceVersion"].map(|key| (key, metadata.get(key).cloned()));
    *metadata = Value::Object(old.clone());
    for (key, value) in kept {
        match value {
            Some(value) => metadata[key] = value,
            None => {
                metadata.as_object_mut().and_then(|metadata| metadata.remove(key));
            }
        }
    }
}

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    if let Some(exempt) = spec.get_mut("exempt").filter(|exempt| exempt.is_object()) {
        default_to(exempt, "nominalConcurrencyShares", 0);
        default_to(exempt, "lendablePercent", 0);
    }
    let Some(limited) = spec.get_mut("limited").filter(|limited| limited.is_object()) else { return };
    default_to(limited, "nominalConcurrencyShares", 30);
    default_to(limited, "lendablePercent", 0);
    let queuing = limited.get_mut("limitResponse").and_then(|response| response.get_mut("queuing"));
    if let Some(queuing) = queuing.filter(|queuing| queuing.is_object()) {
        default_zero_to(queuing, "handSize", 8);
        default_zero_to(queuing, "queues", 64);
        default_zero_to(queuing, "queueLengthLimit", 50);
    }
}

/// Conditions have a type each, once.
pub(super) fn validate_conditions(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, condition) in items(object, "status.conditions").iter().enumerate() {
        let field = format!("status.conditions[{index}].type");
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            causes.push(duplicate(&field, kind));
        }
        if kind.is_empty() {
            causes.push(required(field, ""));
        }
    }
    causes
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    if context.subresource == "status" {
        return validate_conditions(object);
    }
    let (name, spec) = (text(object, "metadata.name"), &object["spec"]);
    let mut causes = Vec::new();
    if at(object, "metadata.annotations").get(ZERO_SHARES).is_some() {
        causes.push(forbidden("metadata.annotations", &format!("annotation '{ZERO_SHARES}' is forbidden")));
    }
    causes.extend(validate_spec(name, spec));
    if let Some(fixed) = flow_control::mandatory(flow_control::LEVELS, name) {
        // Only how much the level of the exempt lends may be chosen.
        let (mut fixed, mut own) = (fixed, spec.clone());
        let but = if name == "exempt" { " except the 'spec.exempt' field" } else { "" };
        if name == "exempt" {
            for spec in [&mut fixed, &mut own] {
                spec.as_object_mut().and_then(|spec| spec.remove("exempt"));
            }
        }
        if !flow_control::same(&fixed, &own) {
            let problem = format!("spec of '{name}'{but} must equal the fixed value");
            causes.push(invalid("spec", spec.clone(), &problem));
        }
    }
    causes.extend(validate_conditions(object));
    causes
}

fn validate_spec(name: &str, spec: &Value) -> Vec<Cause> {
    let kind = text(spec, "type");
    let (exempt, limited) = (at(spec, "exempt"), at(spec, "limited"));
    let mut causes = Vec::new();
    if (name == "exempt") != (kind == "Exempt") {
        causes.push(invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    match kind {
        "Exempt" => {
            if !limited.is_null() {
                causes.push(forbidden("spec.limited", "must be nil if the type is not Limited"));
            }
            causes.extend(shares(exempt, "spec.exempt"));
            causes.extend(lendable(exempt, "spec.exempt"));
        }
        "Limited" => {
            if !exempt.is_null() {
                causes.push(forbidden("spec.exempt", "must be nil if the type is Limited"));
            }
            if limited.is_null() {
                causes.push(required("spec.limited", "must not be empty when type is Limited"));
            } else {
                causes.extend(validate_limited(limited));
            }
        }
        other => causes.push(not_supported("spec.type", other, &["Exempt", "Limited"])),
    }
    causes
}

fn shares(part: &Value, field: &str) -> Option<Cause> {
    let shares = at(part, "nominalConcurrencyShares").as_i64().filter(|shares| *shares < 0)?;
    Some(invalid(format!("{field}.nominalConcurrencyShares"), shares, "must be a non-negative integer"))
}

fn lendable(part: &Value, field: &str) -> Option<Cause> {
    let percent = at(part, "lendablePercent").as_i64().filter(|percent| !(0..=100).contains(percent))?;
    Some(invalid(format!("{field}.lendablePercent"), percent, "must be between 0 and 100, inclusive"))
}

fn validate_limited(limited: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.limited";
    let mut causes: Vec<Cause> = shares(limited, FIELD).into_iter().collect();
    let (kind, queuing) = (text(limited, "limitResponse.type"), at(limited, "limitResponse.queuing"));
    let field = format!("{FIELD}.limitResponse.queuing");
    match (kind, queuing.is_null()) {
        ("Reject", false) => {
            causes.push(forbidden(field, "must be nil if limited.limitResponse.type is not Limited"));
        }
        ("Reject", true) => {}
        ("Queue", true) => {
            causes.push(required(field, "must not be empty if limited.limitResponse.type is Limited"));
        }
        ("Queue", false) => causes.extend(validate_queuing(queuing, &field)),
        (other, _) => {
            causes.push(not_supported(format!("{FIELD}.limitResponse.type"), other, &["Queue", "Reject"]));
        }
    }
    causes.extend(lendable(limited, FIELD));
    if let Some(percent) = at(limited, "borrowingLimitPercent").as_i64().filter(|percent| *percent < 0) {
        let problem = "if specified, must be a non-negative integer";
        causes.push(invalid(format!("{FIELD}.borrowingLimitPercent"), percent, problem));
    }
    causes
}

fn validate_queuing(queuing: &Value, field: &str) -> Vec<Cause> {
    let (length, queues, hand) = (int(queuing, "queueLengthLimit"), int(queuing, "queues"), int(queuing, "handSize"));
    let mut causes = Vec::new();
    if length <= 0 {
        causes.push(invalid(format!("{field}.queueLengthLimit"), length, "must be positive"));
    }
    if queues <= 0 {
        causes.push(invalid(format!("{field}.queues"), queues, "must be positive"));
    } else if queues > QUEUES_LIMIT {
        let problem = format!("must not be greater than {QUEUES_LIMIT}");
        causes.push(invalid(format!("{field}.queues"), queues, &problem));
    }
    let field = format!("{field}.handSize");
    if hand <= 0 {
        causes.push(invalid(field, hand, "must be positive"));
    } else if hand > queues {
        causes.push(invalid(field, hand, &format!("should not be greater than queues ({queues})")));
    } else if ((queues as f64).log2() * hand as f64).ceil() > HASH_BITS {
        let problem = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        causes.push(invalid(field, hand, &problem));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told, told_of_update};
    use serde_json::json;

    fn limited(limited: Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"type": "Limited", "limited": limited}})
    }

    #[test]
    fn levels_are_judged() {
        let cases = [
            (limited(json!({"limitResponse": {"type": "Reject"}})), vec![]),
            (limited(json!({"limitResponse": {"type": "Queue", "queuing": {}}})), vec![]),
            (
                json!({"spec": {"type": "Exempt", "limited": {}}}),
                vec![
                    r#"spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if `name` is 'exempt'"#,
                    "spec.limited: Forbidden: must be nil if the type is not Limited",
                ],
            ),
            (
                json!({"spec": {"type": "Limited", "exempt": {}}}),
                vec![
                    "spec.exempt: Forbidden: must be nil if the type is Limited",
                    "spec.limited: Required value: must not be empty when type is Limited",
                ],
            ),
            (
                limited(
                    json!({"nominalConcurrencyShares": -1, "lendablePercent": 101, "borrowingLimitPercent": -1, "limitResponse": {"type": "x"}}),
                ),
                vec![
                    "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                    r#"spec.limited.limitResponse.type: Unsupported value: "x": supported values: "Queue", "Reject""#,
                    "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                    "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
                ],
            ),
            (
                limited(json!({"limitResponse": {"type": "Queue", "queuing": {"queues": 512, "handSize": 7}}})),
                vec![
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 7: required entropy bits of deckSize 512 and handSize 7 should not be greater than 60",
                ],
            ),
            (
                limited(json!({"limitResponse": {"type": "Queue", "queuing": {"queues": 2, "handSize": 3}}})),
                vec![
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 3: should not be greater than queues (2)",
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
    }

    #[test]
    fn what_every_cluster_has_is_valid_and_partly_fixed() {
        for fixed in flow_control::LEVELS {
            assert_eq!(told(&KIND, &flow_control::object(fixed)), Vec::<String>::new(), "{}", fixed.name);
        }
        let exempt =
            json!({"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {"lendablePercent": 50}}});
        assert!(told(&KIND, &exempt).is_empty());
        let catch_all = json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
        assert!(told(&KIND, &catch_all)[0].ends_with("spec of 'catch-all' must equal the fixed value"));
    }

    #[test]
    fn a_write_of_status_leaves_all_metadata() {
        let old = json!({"metadata": {"name": "a", "labels": {"a": "b"}, "resourceVersion": "1"}, "spec": {"type": "Limited"}});
        let mut new =
            json!({"metadata": {"name": "a", "resourceVersion": "2"}, "status": {"conditions": [{"type": "x"}]}});
        let now = world::Timestamp::from_seconds(0);
        keep_apart_and_all_metadata(&mut new, &Context { minor: 34, now, old: Some(&old), subresource: "status" });
        assert_eq!(new["metadata"], json!({"name": "a", "labels": {"a": "b"}, "resourceVersion": "2"}));
        assert_eq!(new["spec"]["type"], "Limited");
        let twice = json!({"status": {"conditions": [{"type": "x"}, {"type": "x"}]}});
        assert_eq!(
            told_of_update(&KIND, &old, &twice, "status"),
            [r#"status.conditions[1].type: Duplicate value: "x""#]
        );
        assert!(created(&KIND, &twice)["status"].is_null());
    }
}
