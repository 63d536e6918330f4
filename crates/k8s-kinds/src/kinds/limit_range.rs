//! LimitRange: bounds and defaults of what pods, containers and claims of a namespace ask for.

use std::collections::BTreeSet;

use k8s_object::{Cause, Quantity};
use serde_json::{Map, Value};

use crate::causes::{duplicate, forbidden, invalid, required};
use crate::columns::{CREATED_AT, NAME};
use crate::fields::{at, child, entries, is_empty, items, items_mut, text};
use crate::names::qualified;
use crate::pod_spec::quantity;
use crate::{Context, Kind, resource_names};

pub(crate) static KIND: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    type_name: "io.k8s.api.core.v1.LimitRange",
    columns: &[NAME, CREATED_AT],
    default,
    validate,
    creates_on_update: true,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    for item in items_mut(spec, "limits").filter(|item| text(item, "type") == "Container") {
        // What is not limited is limited to the most; what is not requested is as much as the limit, or the least.
        fill(item, "default", "max");
        fill(item, "defaultRequest", "default");
        fill(item, "defaultRequest", "min");
        for list in ["default", "defaultRequest"] {
            if is_empty(at(item, list))
                && let Some(map) = item.as_object_mut()
            {
                map.remove(list);
            }
        }
    }
}

fn fill(item: &mut Value, list: &str, from: &str) {
    let from: Map<String, Value> = at(item, from).as_object().cloned().unwrap_or_default();
    if let Some(to) = crate::fields::map_in(item, list) {
        for (name, amount) in from {
            to.entry(name).or_insert(amount);
        }
    }
}

fn validate(object: &Value, _: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, item) in items(object, "spec.limits").iter().enumerate() {
        let field = format!("spec.limits[{index}]");
        let kind = text(item, "type");
        causes.extend(limit_type(kind, &format!("{field}.type")));
        if !seen.insert(kind) {
            causes.push(duplicate(format!("{field}.type"), kind));
        }
        causes.extend(names(item, kind, &field));
        let mut keys = BTreeSet::new();
        for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            keys.extend(entries(item, list).map(|(name, _)| name.as_str()));
        }
        for name in keys {
            causes.extend(relations(item, kind, name, &field));
        }
    }
    causes
}

fn limit_type(kind: &str, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = qualified(kind).iter().map(|problem| invalid(field, kind, problem)).collect();
    if causes.is_empty() && !kind.contains('/') && !matches!(kind, "Container" | "PersistentVolumeClaim" | "Pod") {
        causes.push(invalid(field, kind, "must be a standard limit type or fully qualified"));
    }
    causes
}

fn names(item: &Value, kind: &str, field: &str) -> Vec<Cause> {
    let rule = if matches!(kind, "Container" | "Pod") { resource_names::of_container } else { resource_names::any };
    let of = |list: &str| -> Vec<Cause> {
        entries(item, list).flat_map(|(name, _)| rule(name, &format!("{field}.{list}[{name}]"))).collect()
    };
    let mut causes = of("max");
    causes.extend(of("min"));
    for list in ["default", "defaultRequest"] {
        if kind != "Pod" {
            causes.extend(of(list));
        } else if !is_empty(at(item, list)) {
            causes.push(forbidden(format!("{field}.{list}"), "may not be specified when `type` is 'Pod'"));
        }
    }
    let has_storage = |list: &str| at(item, list).get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        causes.push(required(format!("{field}.limits"), detail));
    }
    causes.extend(of("maxLimitRequestRatio"));
    causes
}

/// How the amounts of one resource relate to each other.
fn relations(item: &Value, kind: &str, name: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let amount = |list: &str| {
        let written = at(item, list).get(name)?;
        let text = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
        Some((quantity(written)?, text))
    };
    let own = |list: &str| if kind == "Pod" { None } else { amount(list) };
    let (least, most, ratio) = (amount("min"), amount("max"), amount("maxLimitRequestRatio"));
    let (limit, request) = (own("default"), own("defaultRequest"));
    let mut refuse = |list: &str, value: &str, detail: String| {
        causes.push(invalid(format!("{field}.{list}[{name}]"), value, &detail));
    };
    // Pairs of which the first may not be more than the second, with the field that is blamed and its value.
    for (low, high, list, value, words) in [
        (&least, &most, "min", &least, "min value {low} is greater than max value {high}"),
        (&least, &request, "defaultRequest", &request, "min value {low} is greater than default request value {high}"),
        (&request, &most, "defaultRequest", &request, "default request value {low} is greater than max value {high}"),
        (
            &request,
            &limit,
            "defaultRequest",
            &request,
            "default request value {low} is greater than default limit value {high}",
        ),
        (&least, &limit, "default", &least, "min value {low} is greater than default value {high}"),
        (&limit, &most, "default", &most, "default value {low} is greater than max value {high}"),
    ] {
        if let (Some(low), Some(high), Some(value)) = (low, high, value)
            && low.0 > high.0
        {
            refuse(list, &value.1, words.replace("{low}", &low.1).replace("{high}", &high.1));
        }
    }
    if let Some((ratio, written)) = &ratio {
        if *ratio < Quantity::units(1) {
            refuse("maxLimitRequestRatio", written, format!("ratio {written} is less than 1"));
        }
        if let (Some((least, _)), Some((most, _))) = (&least, &most) {
            let bound = most.milli() as f64 / least.milli() as f64;
            if ratio.milli() as f64 / 1000.0 > bound {
                let detail = format!("ratio {written} is greater than max/min = {bound:.6}");
                refuse("maxLimitRequestRatio", written, detail);
            }
        }
    }
    if let (Some((limit, limit_text)), Some((request, request_text))) = (&limit, &request)
        && limit != request
        && !resource_names::is_overcommit_allowed(name)
    {
        let detail = format!("default value {limit_text} must equal to defaultRequest value {request_text} in {name}");
        refuse("defaultRequest", request_text, detail);
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    fn check(limits: Value) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        let causes = validate(&json!({"spec": {"limits": limits}}), &context);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn containers_get_their_defaults_from_the_bounds() {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        let mut object = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1Mi"}},
            {"type": "Pod", "max": {"cpu": "2"}},
        ]}});
        default(&mut object, &context);
        let first = &object["spec"]["limits"][0];
        assert_eq!(first["default"], json!({"cpu": "2"}));
        assert_eq!(first["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
        assert_eq!(object["spec"]["limits"][1], json!({"type": "Pod", "max": {"cpu": "2"}}));
    }

    #[test]
    fn bounds_are_judged() {
        let cases = [
            (json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]), vec![]),
            (
                json!([{"type": "Node"}]),
                vec![r#"spec.limits[0].type: Invalid value: "Node": must be a standard limit type or fully qualified"#],
            ),
            (
                json!([{"type": "Pod"}, {"type": "Pod", "default": {"cpu": "1"}}]),
                vec![
                    r#"spec.limits[1].type: Duplicate value: "Pod""#,
                    "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
                ],
            ),
            (
                json!([{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]),
                vec![r#"spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#],
            ),
            (
                json!([{"type": "PersistentVolumeClaim"}]),
                vec![
                    "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                ],
            ),
            (
                json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}}]),
                vec![
                    r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000"#,
                ],
            ),
            (
                json!([{"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}}]),
                vec![
                    r#"spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/gpu"#,
                ],
            ),
        ];
        for (limits, expected) in cases {
            assert_eq!(check(limits.clone()), expected, "{limits}");
        }
    }
}
