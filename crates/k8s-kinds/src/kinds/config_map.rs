//! ConfigMap: data for pods, optionally immutable.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{forbidden, invalid, too_long};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, entries};
use crate::names::config_key;
use crate::{Context, Kind};

/// Bytes of all values together (core `MaxSecretSize`).
const SIZE_LIMIT: usize = 1 << 20;

pub(crate) static KIND: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    type_name: "io.k8s.api.core.v1.ConfigMap",
    columns: &[
        NAME,
        Column::count("Data", "Number of entries.", |object, _| {
            (entries(object, "data").count() + entries(object, "binaryData").count()).into()
        }),
        AGE,
    ],
    validate,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut bytes = 0;
    for (list, other) in [("data", "binaryData"), ("binaryData", "data")] {
        for (key, value) in entries(object, list) {
            let field = format!("{list}[{key}]");
            causes.extend(config_key(key).iter().map(|problem| invalid(&field, key.as_str(), problem)));
            if list == "data" && at(object, other).get(key).is_some() {
                causes.push(invalid(&field, key.as_str(), "duplicate of key present in binaryData"));
            }
            let length = value.as_str().map_or(0, str::len);
            bytes += if list == "data" { length } else { length / 4 * 3 };
        }
    }
    if bytes > SIZE_LIMIT {
        causes.push(too_long("", SIZE_LIMIT));
    }
    causes.extend(immutable(object, context));
    causes
}

/// Once immutable, neither the data nor the mark changes. Secrets have the same rule.
pub(crate) fn immutable(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let Some(old) = context.old.filter(|old| old["immutable"] == true) else { return Vec::new() };
    let mut causes = Vec::new();
    if object["immutable"] != true {
        causes.push(forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for key in ["data", "binaryData", "stringData"] {
        if at(object, key) != at(old, key) {
            causes.push(forbidden(key, "field is immutable when `immutable` is set"));
        }
    }
    causes
}
