//! Which CustomResourceDefinitions are legal beyond the rules of the kind itself: their schemas, and the paths into them
//! (apiextensions `validation.go`).

use k8s_kinds::causes;
use k8s_object::Cause;
use k8s_schema::Schema;
use serde_json::Value;

use super::names;
use crate::jsonpath::JsonPath;
use crate::schema;

/// Selectable fields of a version (apiextensions `MaxSelectableFields`).
const MAX_SELECTABLE: usize = 8;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// What is wrong with a definition, beyond what its type and kind say.
pub(crate) fn validate(definition: &Value, old: Option<&Value>, minor: u8) -> Vec<Cause> {
    let mut found = schemas(&definition["spec"], old, minor);
    for (index, version) in definition["spec"]["versions"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.versions[{index}]");
        for (at, column) in version["additionalPrinterColumns"].as_array().into_iter().flatten().enumerate() {
            let written = text(&column["jsonPath"]);
            if !written.is_empty()
                && let Err(problem) = JsonPath::parse(written)
            {
                let path = format!("{path}.additionalPrinterColumns[{at}].jsonPath");
                found.push(causes::invalid(path, written, &problem));
            }
        }
        found.extend(selectable(version, &format!("{path}.selectableFields")));
    }
    if let Some(old) = old {
        found.extend(bundle(definition, old));
        found.extend(stored_versions(definition));
    }
    found
}

/// Once a definition is served, the webhook that converts its objects keeps CAs that can be trusted.
fn bundle(definition: &Value, old: &Value) -> Option<Cause> {
    if !names::is_true(old, "Established") || names::bundle_problem(old).is_some() {
        return None;
    }
    let problem = names::bundle_problem(definition)?;
    let given = definition["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].clone();
    Some(causes::invalid("spec.conversion.webhookClientConfig.caBundle", given, &problem))
}

/// The schemas of the versions of a `spec`, each with the place of its version.
fn schemas_of(spec: &Value) -> Vec<(usize, &Value)> {
    let versions = spec["versions"].as_array().into_iter().flatten().enumerate();
    let schemas = versions.map(|(index, version)| (index, &version["schema"]["openAPIV3Schema"]));
    schemas.filter(|(_, schema)| !schema.is_null()).collect()
}

/// What is wrong with schemas. Upstream looks at one that all versions share once, and calls it the definition's own.
fn schemas(spec: &Value, old: Option<&Value>, minor: u8) -> Vec<Cause> {
    let mut all = schemas_of(spec);
    let stored = old.map(|old| schemas_of(&old["spec"])).unwrap_or_default();
    let stored: Vec<&Value> = stored.into_iter().map(|(_, schema)| schema).collect();
    let versions = spec["versions"].as_array().map_or(0, Vec::len);
    let shared = all.len() == versions && all.windows(2).all(|pair| pair[0].1 == pair[1].1);
    if shared {
        all.truncate(1);
    }
    let mut found = Vec::new();
    for (index, schema) in all {
        let path = match shared {
            true => "spec.validation.openAPIV3Schema".to_owned(),
            false => format!("spec.versions[{index}].schema.openAPIV3Schema"),
        };
        let unchanged = old.is_some_and(|old| is_unchanged(&spec["versions"][index], &old["spec"]));
        if let Err(errors) = Schema::from_new_crd_at(&path, schema, minor, &stored, unchanged) {
            found.extend(schema::causes(errors));
        }
    }
    found
}

/// Whether a version had this schema before (apiextensions `findVersionsWithUnchangedSchemas`).
fn is_unchanged(version: &Value, old: &Value) -> bool {
    let mut before = old["versions"].as_array().into_iter().flatten();
    before.any(|before| before["name"] == version["name"] && before["schema"] == version["schema"])
}

/// Fields that selectors may name must be there in the schema, as plain values.
fn selectable(version: &Value, path: &str) -> Vec<Cause> {
    let mut found = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in version["selectableFields"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}].jsonPath");
        let written = text(&field["jsonPath"]);
        if written.is_empty() {
            found.push(causes::required(path, ""));
            continue;
        }
        match schema_at(&version["schema"]["openAPIV3Schema"], written) {
            Err(problem) => found.push(causes::invalid(path, written, &format!("is an invalid path: {problem}"))),
            Ok(_) if written == ".metadata" || written.starts_with(".metadata.") => {
                found.push(causes::invalid(path, written, "must not point to fields in metadata"));
            }
            Ok(schema) if !["string", "boolean", "integer"].contains(&text(&schema["type"])) => {
                let problem = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                found.push(causes::invalid(path, written, problem));
            }
            Ok(_) if seen.contains(&written) => found.push(causes::duplicate(path, written)),
            Ok(_) => seen.push(written),
        }
    }
    if seen.len() > MAX_SELECTABLE {
        found.push(causes::too_many(path, seen.len(), MAX_SELECTABLE));
    }
    found
}

/// The schema of the field at a path of names, `.spec.color`.
fn schema_at<'a>(root: &'a Value, path: &str) -> Result<&'a Value, String> {
    let names = path.strip_prefix('.').ok_or_else(|| format!("expected . but got: {path}"))?;
    names.split('.').try_fold(root, |schema, name| {
        let field = &schema["properties"][name];
        match name.is_empty() || name.contains(['[', ']', '\'', '"']) {
            true => Err("only names of fields may stand between dots".to_owned()),
            false if field.is_null() => Err(format!("does not refer to a valid field: {path}")),
            false => Ok(field),
        }
    })
}

/// No version may go in which objects may still be stored.
fn stored_versions(definition: &Value) -> Vec<Cause> {
    let versions = definition["spec"]["versions"].as_array();
    let names: Vec<&str> = versions.into_iter().flatten().map(|version| text(&version["name"])).collect();
    let stored = definition["status"]["storedVersions"].as_array().into_iter().flatten().map(text).enumerate();
    let gone = stored.filter(|(_, name)| !names.contains(name)).map(|(index, name)| {
        let problem = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        causes::invalid(format!("status.storedVersions[{index}]"), name, &problem)
    });
    gone.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_that_costs_too_much_stays_where_it_was() {
        let definition = |version: &str, rule: &str| {
            let items =
                json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": rule}]});
            let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"list": items}}});
            json!({"spec": {"versions": [{"name": version, "schema": schema}]}})
        };
        const EXPENSIVE: &str = "self.all(a, self.all(b, a == b))";
        let refused = |new: &Value, old: Option<&Value>| {
            let found = validate(new, old, 34);
            found.iter().any(|cause| cause.message.contains("estimated rule cost exceeds budget"))
        };
        let stored = definition("v1", EXPENSIVE);
        assert!(refused(&stored, None), "it is refused where it is new");
        assert!(!refused(&stored, Some(&stored)));
        assert!(refused(&definition("v2", EXPENSIVE), Some(&stored)), "of another version");
        assert!(refused(&definition("v1", "self.all(a, self.all(b, a != b))"), Some(&stored)));
    }

    #[test]
    fn selectable_fields_are_plain_values_of_the_schema() {
        let check = |paths: &[&str]| -> Vec<String> {
            let fields: Vec<Value> = paths.iter().map(|path| json!({"jsonPath": path})).collect();
            let version = json!({
                "selectableFields": fields,
                "schema": {"openAPIV3Schema": {"properties": {
                    "spec": {"properties": {"color": {"type": "string"}, "sizes": {"type": "array"}}},
                    "metadata": {"properties": {"name": {"type": "string"}}},
                }}},
            });
            selectable(&version, "f").into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
        };
        assert!(check(&[".spec.color"]).is_empty());
        for (path, expected) in [
            ("", "f[0].jsonPath: Required value"),
            ("spec.color", "is an invalid path: expected . but got: spec.color"),
            (".spec.shape", "does not refer to a valid field: .spec.shape"),
            (".spec.sizes", "must point to a field of type string, boolean or integer"),
            (".spec.sizes[0]", "is an invalid path"),
            (".metadata.name", "must not point to fields in metadata"),
        ] {
            let found = check(&[path]);
            assert!(found.len() == 1 && found[0].contains(expected), "{path}: {found:?}");
        }
        assert_eq!(check(&[".spec.color", ".spec.color"]).len(), 1);
    }
}
