//! Which CustomResourceDefinitions are legal (apiextensions `validation.go`), and a clear refusal of what Minato cannot do yet.

use k8s_kinds::{causes, names};
use k8s_object::Cause;
use k8s_schema::Schema;
use serde_json::Value;

use crate::jsonpath::JsonPath;
use crate::schema;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// What is wrong with a definition, beyond what its type says.
pub(crate) fn validate(definition: &Value, old: Option<&Value>, minor: u8) -> Vec<Cause> {
    let mut found = Vec::new();
    let spec = &definition["spec"];
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    if group.is_empty() {
        found.push(causes::required("spec.group", ""));
    } else if !group.contains('.') {
        found.push(causes::invalid("spec.group", group, "should be a domain with at least one dot"));
    } else {
        found
            .extend(names::subdomain(group, false).iter().map(|problem| causes::invalid("spec.group", group, problem)));
    }
    let name = text(&definition["metadata"]["name"]);
    if name != format!("{plural}.{group}") {
        found.push(causes::invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    if !["Namespaced", "Cluster"].contains(&text(&spec["scope"])) {
        found.push(causes::not_supported("spec.scope", text(&spec["scope"]), &["Cluster", "Namespaced"]));
    }
    if spec["preserveUnknownFields"] == true {
        let problem = "must be false in order to use defaults in the schema; set x-kubernetes-preserve-unknown-fields in the schema instead";
        found.push(causes::invalid("spec.preserveUnknownFields", true, problem));
    }
    if let Some(strategy) = spec["conversion"]["strategy"].as_str().filter(|strategy| *strategy != "None") {
        let problem = format!("conversion by {strategy} is not supported by Minato yet; use None");
        found.push(causes::forbidden("spec.conversion.strategy", &problem));
    }
    for field in ["plural", "singular", "kind", "listKind"] {
        let value = text(&spec["names"][field]);
        let path = format!("spec.names.{field}");
        if value.is_empty() && ["plural", "kind"].contains(&field) {
            found.push(causes::required(path, ""));
        } else if !value.is_empty() {
            let problems = names::dns_1035(&value.to_lowercase(), false);
            found.extend(problems.iter().map(|problem| causes::invalid(path.clone(), value, problem)));
        }
    }
    if spec["names"]["kind"] == spec["names"]["listKind"] && spec["names"]["kind"].is_string() {
        found.push(causes::invalid(
            "spec.names.listKind",
            text(&spec["names"]["listKind"]),
            "kind and listKind may not be the same",
        ));
    }
    found.extend(versions(spec));
    found.extend(schemas(spec, old, minor));
    if let Some(old) = old {
        found.extend(update(definition, old));
    }
    found
}

fn versions(spec: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.is_empty() {
        found.push(causes::required("spec.versions", "must have at least one version"));
        return found;
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let value = Value::Array(versions.iter().map(|version| version["name"].clone()).collect());
        found.push(causes::invalid("spec.versions", value, "must have exactly one version marked as storage version"));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = text(&version["name"]);
        let problems = names::dns_1035(name, false);
        found.extend(problems.iter().map(|problem| causes::invalid(format!("{path}.name"), name, problem)));
        if versions[..index].iter().any(|other| other["name"] == version["name"]) {
            found.push(causes::duplicate(format!("{path}.name"), name));
        }
        let schema_path = format!("{path}.schema.openAPIV3Schema");
        if version["schema"]["openAPIV3Schema"].is_null() {
            found.push(causes::required(schema_path, "schemas are required"));
        }
        for (at, column) in version["additionalPrinterColumns"].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.additionalPrinterColumns[{at}]");
            if text(&column["name"]).is_empty() {
                found.push(causes::required(format!("{path}.name"), ""));
            }
            const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
            if !TYPES.contains(&text(&column["type"])) {
                found.push(causes::not_supported(format!("{path}.type"), text(&column["type"]), TYPES));
            }
            if let Err(problem) = JsonPath::parse(text(&column["jsonPath"])) {
                found.push(causes::invalid(format!("{path}.jsonPath"), text(&column["jsonPath"]), &problem));
            }
        }
        let scale = &version["subresources"]["scale"];
        if scale.is_object() {
            for (field, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
                let value = text(&scale[field]);
                let path = format!("{path}.subresources.scale.{field}");
                if value.is_empty() {
                    found.push(causes::required(path, ""));
                } else if !value.starts_with(root) {
                    found.push(causes::invalid(
                        path,
                        value,
                        &format!("should be a json path under {}", root.trim_end_matches('.')),
                    ));
                }
            }
        }
    }
    found
}

/// The schema of each version of a `spec`, by its name.
fn schemas_of(spec: &Value) -> Vec<(&str, &Value)> {
    let versions = spec["versions"].as_array().into_iter().flatten();
    let schemas = versions.map(|version| (text(&version["name"]), &version["schema"]["openAPIV3Schema"]));
    schemas.filter(|(_, schema)| !schema.is_null()).collect()
}

/// What is wrong with schemas. Upstream looks at one that all versions share once, and calls it the definition's own.
fn schemas(spec: &Value, old: Option<&Value>, minor: u8) -> Vec<Cause> {
    let all = schemas_of(spec);
    let before = old.map(|old| schemas_of(&old["spec"])).unwrap_or_default();
    let stored: Vec<&Value> = before.iter().map(|(_, schema)| *schema).collect();
    let mut judged: Vec<(String, &Value)> = Vec::new();
    match all.first() {
        Some((_, first)) if all.iter().all(|(_, schema)| schema == first) => {
            judged.push(("spec.validation.openAPIV3Schema".to_owned(), first));
        }
        _ => {
            for (index, version) in spec["versions"].as_array().into_iter().flatten().enumerate() {
                let schema = &version["schema"]["openAPIV3Schema"];
                if !schema.is_null() {
                    judged.push((format!("spec.versions[{index}].schema.openAPIV3Schema"), schema));
                }
            }
        }
    }
    let judged = judged.into_iter();
    let errors = judged.flat_map(|(path, schema)| Schema::from_new_crd_at(&path, schema, minor, &stored).err());
    errors.flat_map(schema::causes).collect()
}

fn update(definition: &Value, old: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    for (path, pointer) in
        [("spec.group", "/spec/group"), ("spec.scope", "/spec/scope"), ("spec.names.plural", "/spec/names/plural")]
    {
        let new = definition.pointer(pointer).unwrap_or(&Value::Null);
        if old.pointer(pointer).is_some_and(|old| old != new) {
            found.push(causes::immutable(path, new));
        }
    }
    let names: Vec<&str> =
        definition["spec"]["versions"].as_array().into_iter().flatten().map(|version| text(&version["name"])).collect();
    for (index, stored) in definition["status"]["storedVersions"].as_array().into_iter().flatten().enumerate() {
        if !names.contains(&text(stored)) {
            let problem = format!(
                "missing from spec.versions; {} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {} and removes {} from status.storedVersions",
                text(stored),
                text(stored),
                text(stored)
            );
            found.push(causes::invalid(format!("status.storedVersions[{index}]"), text(stored), &problem));
        }
    }
    found
}
