//! CSINode: the drivers of volumes on a node.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::csi::{COUNTS_ANEW_SINCE, driver_name};
use crate::causes::{duplicate, immutable, invalid, non_negative, required};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, items, text};
use crate::names::qualified;
use crate::{Context, Kind, Scope};

/// Bytes of what a driver calls the node.
const NODE_ID_LIMIT: usize = 256;

pub(crate) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.storage.v1.CSINode",
    columns: &[
        NAME,
        Column::integer("Drivers", "Number of drivers that are there.", |object, _| {
            items(object, "spec.drivers").len().into()
        }),
        AGE,
    ],
    updates_name_version: true,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let drivers = items(object, "spec.drivers");
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, driver) in drivers.iter().enumerate() {
        let field = format!("spec.drivers[{index}]");
        let name = text(driver, "name");
        causes.extend(validate_driver(driver, &field));
        if !seen.insert(name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
        causes.extend(topology_keys(driver, &field));
    }
    let Some(old) = context.old else { return causes };
    for before in items(old, "spec.drivers") {
        for driver in drivers.iter().filter(|driver| text(driver, "name") == text(before, "name")) {
            let (before, driver) = (compared(before, context), compared(driver, context));
            if before != driver {
                causes.push(immutable("spec.drivers", &driver));
            }
        }
    }
    causes
}

/// What of a driver may not change.
fn compared(driver: &Value, context: &Context<'_>) -> Value {
    let mut driver = driver.clone();
    if context.minor >= COUNTS_ANEW_SINCE
        && let Some(driver) = driver.as_object_mut()
    {
        driver.remove("allocatable");
    }
    driver
}

fn validate_driver(driver: &Value, field: &str) -> Vec<Cause> {
    let mut causes = driver_name(text(driver, "name"), &format!("{field}.name"));
    let (id, id_field) = (text(driver, "nodeID"), format!("{field}.nodeID"));
    if id.is_empty() {
        causes.push(required(&id_field, ""));
    }
    if id.len() > NODE_ID_LIMIT {
        causes.push(invalid(id_field, id, &format!("must be {NODE_ID_LIMIT} characters or less")));
    }
    causes.extend(non_negative(format!("{field}.allocatable.count"), at(driver, "allocatable.count")));
    causes
}

fn topology_keys(driver: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for key in items(driver, "topologyKeys").iter().filter_map(Value::as_str) {
        if key.is_empty() {
            causes.push(required(field, ""));
        }
        if !seen.insert(key) {
            causes.push(duplicate(field, key));
        }
        causes.extend(qualified(key).iter().map(|problem| invalid(field, key, problem)));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{lines, told};
    use serde_json::json;

    #[test]
    fn drivers_are_judged() {
        let with = |drivers: Value| json!({"spec": {"drivers": drivers}});
        let cases = [
            (with(json!([{"name": "a.example", "nodeID": "i", "topologyKeys": ["a/b"]}])), vec![]),
            (
                with(json!([{"name": "a"}, {"name": "a", "nodeID": "i", "allocatable": {"count": -1}}])),
                vec![
                    "spec.drivers[0].nodeID: Required value",
                    "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                    r#"spec.drivers[1].name: Duplicate value: "a""#,
                ],
            ),
            (
                with(json!([{"name": "", "nodeID": "i"}])),
                vec![
                    "spec.drivers[0].name: Required value",
                    r#"spec.drivers[0].name: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
    }

    #[test]
    fn a_driver_changes_nothing_but_its_count_and_that_since_1_35() {
        let with = |count: i64, id: &str| json!({"spec": {"drivers": [{"name": "a", "nodeID": id, "allocatable": {"count": count}}]}});
        let cases = [(34, 2, "i", 1), (35, 2, "i", 0), (35, 1, "j", 1), (34, 1, "i", 0)];
        for (minor, count, id, expected) in cases {
            let old = with(1, "i");
            let now = world::Timestamp::from_seconds(0);
            let context = Context { minor, now, old: Some(&old), subresource: "" };
            let causes = lines(validate(&with(count, id), &context));
            assert_eq!(causes.len(), expected, "{minor} {count} {id} {causes:?}");
        }
    }
}
