//! What a custom object must be beyond its schema: of the kind that it is sent to, with metadata of its types, and with numbers of
//! replicas where the definition says that they are (apiextensions `registry/customresource/validator.go`, `schema/objectmeta`).

use std::sync::OnceLock;

use k8s_kinds::{Context, Scope, causes, names};
use k8s_object::{ApiError, Cause};
use k8s_schema::{FieldError, NEWEST_MINOR, Schema};
use serde_json::{Map, Value, json};
use world::Timestamp;

use super::custom;
use crate::metadata;
use crate::registry::Resource;
use crate::schema;

/// What stands for a name where an embedded resource has none: it may have none.
const ANY_NAME: &str = "fakename";

/// The type of `metadata`, which is the same in every minor that matters here.
fn object_meta() -> Option<&'static Schema> {
    static META: OnceLock<Option<Schema>> = OnceLock::new();
    META.get_or_init(|| Schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", NEWEST_MINOR)).as_ref()
}

/// Refuses an object of another kind, which upstream finds out when it judges the object.
pub(crate) fn type_of(resource: &Resource, kind: &str, object: &Value) -> Result<(), ApiError> {
    if kind == resource.kind {
        return Ok(());
    }
    let cause = causes::invalid("kind", kind, &format!("must be {}", resource.kind));
    Err(ApiError::invalid(&resource.group, kind, metadata::text(object, "name"), vec![cause]))
}

/// Brings metadata, that of resources inside of the object too, into its types.
pub(crate) fn coerce(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let unfit = |error: String| {
        let Resource { kind, version, .. } = resource;
        ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
    };
    if let (Some(meta), Some(own)) = (object_meta(), object.get_mut("metadata")) {
        meta.check_types(own).map_err(|error| unfit(error.to_string()))?;
        meta.drop_nulls(own);
    }
    resource.schema.coerce_embedded(object).map_err(|error: FieldError| unfit(error.to_string()))
}

/// What is wrong with an object; `subresource` is the part of it that is written.
pub(crate) fn judge(resource: &Resource, subresource: &str, object: &Value, minor: u8, now: Timestamp) -> Vec<Cause> {
    let mut found = Vec::new();
    if let Some(scale) = custom(resource).and_then(|custom| custom.scale.as_ref()) {
        if subresource != "status" {
            found.extend(replicas(object, &scale.spec));
        }
        found.extend(replicas(object, &scale.status));
        if let Some(path) = &scale.selector {
            found.extend(selector(object, path));
        }
    }
    if subresource != "status" {
        resource.schema.each_embedded(object, &mut |path, map| {
            if found.len() < schema::MAX_CAUSES {
                found.extend(embedded(path, map, minor, now));
            }
        });
    }
    found
}

fn dotted(path: &[String]) -> String {
    format!(".{}", path.join("."))
}

/// The value at a path, and what is wrong with the way there.
fn at<'v>(object: &'v Value, path: &[String]) -> Result<Option<&'v Value>, String> {
    let mut place = object;
    for (index, name) in path.iter().enumerate() {
        let Some(map) = place.as_object() else {
            return Err(wrong(&path[..index], place, "map[string]interface {}"));
        };
        match map.get(name) {
            Some(below) => place = below,
            None => return Ok(None),
        }
    }
    Ok(Some(place))
}

/// In the words of apimachinery's `unstructured` helpers.
fn wrong(path: &[String], value: &Value, expected: &str) -> String {
    let (shown, got) = match value {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(_) => (value.to_string(), "bool"),
        Value::Number(number) if number.is_f64() => (value.to_string(), "float64"),
        Value::Number(_) => (value.to_string(), "int64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(_) => (k8s_apply::typed::as_go_prints(value), "[]interface {}"),
        Value::Object(_) => (k8s_apply::typed::as_go_prints(value), "map[string]interface {}"),
    };
    format!("{} accessor error: {shown} is of the type {got}, expected {expected}", dotted(path))
}

fn replicas(object: &Value, path: &[String]) -> Option<Cause> {
    let problem = |value: i64, problem: &str| Some(causes::invalid(dotted(path), value, problem));
    match at(object, path) {
        Err(error) => problem(0, &error),
        Ok(None) => None,
        Ok(Some(value)) => match value.as_i64() {
            None => problem(0, &wrong(path, value, "int64")),
            Some(count) if count < 0 => problem(count, "should be a non-negative integer"),
            Some(count) if count > i64::from(i32::MAX) => {
                problem(count, &format!("should be less than or equal to {}", i32::MAX))
            }
            Some(_) => None,
        },
    }
}

fn selector(object: &Value, path: &[String]) -> Option<Cause> {
    let error = match at(object, path) {
        Ok(None | Some(Value::String(_))) => return None,
        Ok(Some(value)) => wrong(path, value, "string"),
        Err(error) => error,
    };
    Some(causes::invalid(dotted(path), "", &error))
}

/// A resource inside of an object: its kind and version could be real, and its metadata is that of any object.
fn embedded(path: &str, map: &Map<String, Value>, minor: u8, now: Timestamp) -> Vec<Cause> {
    let mut found = Vec::new();
    let text = |name: &str| map.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(version) = text("apiVersion").filter(|version| version.matches('/').count() > 1) {
        let problem = format!("unexpected GroupVersion string: {version}");
        found.push(causes::invalid(format!("{path}.apiVersion"), version, &problem));
    }
    if let Some(kind) = text("kind") {
        let problems = names::dns_1035(&kind.to_lowercase(), false);
        if !problems.is_empty() {
            let problem = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
            found.push(causes::invalid(format!("{path}.kind"), kind, &problem));
        }
    }
    if let Some(Value::Object(own)) = map.get("metadata") {
        let mut own = own.clone();
        own.entry("name").or_insert_with(|| json!(ANY_NAME));
        let scope = if own.contains_key("namespace") { Scope::Namespaced } else { Scope::Cluster };
        let object = json!({"metadata": own});
        let context = Context { minor, now, old: None, subresource: "" };
        let wrong = names::metadata(&object, scope, names::path_segment, &context).into_iter();
        found.extend(wrong.map(|cause| Cause { field: format!("{path}.{}", cause.field), ..cause }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_small_whole_numbers() {
        let path = ["spec".to_owned(), "replicas".to_owned()];
        for (object, expected) in [
            (json!({}), ""),
            (json!({"spec": {"replicas": 3}}), ""),
            (json!({"spec": {"replicas": -1}}), "Invalid value: -1: should be a non-negative integer"),
            (
                json!({"spec": {"replicas": i64::MAX}}),
                "Invalid value: 9223372036854775807: should be less than or equal to 2147483647",
            ),
            (
                json!({"spec": {"replicas": "3"}}),
                "Invalid value: 0: .spec.replicas accessor error: 3 is of the type string, expected int64",
            ),
            (
                json!({"spec": 3}),
                "Invalid value: 0: .spec accessor error: 3 is of the type int64, expected map[string]interface {}",
            ),
        ] {
            let found = replicas(&object, &path);
            assert_eq!(found.as_ref().map_or("", |cause| &cause.message), expected, "{object}");
            assert!(found.is_none_or(|cause| cause.field == ".spec.replicas"));
        }
    }
}
