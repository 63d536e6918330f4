//! CustomResourceDefinition: a kind that a cluster gets at run time.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::causes::{duplicate, forbidden, immutable, invalid, not_supported, required};
use crate::columns::{CREATED_AT, NAME};
use crate::fields::{at, child, default_to, default_zero_to, flag, is_empty, items, text};
use crate::names::{dns_1035, subdomain};
use crate::strategy::{drop_status, keep_apart};
use crate::{Context, Kind, STATUS, Scope};

pub(crate) static KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    type_name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    subresources: &[STATUS],
    columns: &[NAME, CREATED_AT],
    has_generation: true,
    default,
    prepare_create: |object, context| {
        drop_status(object, context);
        status_from_spec(object);
    },
    prepare_update: keep_apart,
    validate,
    warnings,
    updates_name_version: true,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    let Some(spec) = child(object, "spec") else { return };
    let conversion = child(spec, "conversion");
    if let Some(conversion) = conversion {
        default_zero_to(conversion, "strategy", "None");
    }
    let Some(names) = child(spec, "names") else { return };
    let kind = text(names, "kind").to_owned();
    if !kind.is_empty() {
        default_zero_to(names, "singular", kind.to_lowercase());
        default_zero_to(names, "listKind", format!("{kind}List"));
    }
    let webhook = spec["conversion"].get_mut("webhook").and_then(|webhook| webhook.get_mut("clientConfig"));
    if let Some(service) = webhook.and_then(|config| config.get_mut("service")) {
        default_to(service, "port", 443);
    }
}

/// Versions that may be in the store: the storage version of a new definition.
fn status_from_spec(object: &mut Value) {
    let stored: Vec<Value> = items(object, "spec.versions")
        .iter()
        .filter(|version| flag(version, "storage"))
        .map(|version| version["name"].clone())
        .collect();
    let status = json!({
        "acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": stored,
    });
    if let Some(map) = object.as_object_mut() {
        map.insert("status".to_owned(), status);
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let (group, plural) = (text(spec, "group"), text(spec, "names.plural"));
    let mut causes = Vec::new();
    let name = text(object, "metadata.name");
    let required_name = format!("{plural}.{group}");
    if name != required_name {
        causes.push(invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
    match group {
        "" => causes.push(required("spec.group", "")),
        _ if !group.contains('.') => {
            causes.push(invalid("spec.group", group, "should be a domain with at least one dot"));
        }
        _ => causes.extend(subdomain(group, false).iter().map(|problem| invalid("spec.group", group, problem))),
    }
    match text(spec, "scope") {
        "" => causes.push(required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => causes.push(not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
    causes.extend(names(at(spec, "names")));
    causes.extend(versions(spec));
    causes.extend(conversion(at(spec, "conversion"), at(spec, "preserveUnknownFields")));
    causes.extend(approved(object, group));
    if let Some(old) = context.old {
        causes.extend(validate_update(object, old));
    }
    if context.subresource == "status" {
        causes.extend(stored_versions(object));
    } else if context.old.is_none() && !items(spec, "versions").iter().any(|version| flag(version, "storage")) {
        causes.push(invalid("status.storedVersions", Value::Null, "must have at least one stored version"));
    }
    causes
}

fn names(names: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["plural", "singular", "kind", "listKind"] {
        let name = text(names, key);
        let field = format!("spec.names.{key}");
        match (key, name) {
            ("plural", "") => causes.push(required(field, "")),
            (_, "") if key != "plural" => causes.push(required(field, "")),
            ("kind" | "listKind", _) => {
                let problems = dns_1035(&name.to_lowercase(), false);
                let detail = |problem: &str| format!("may have mixed case, but should otherwise match: {problem}");
                causes.extend(problems.iter().map(|problem| invalid(&field, name, &detail(problem))));
            }
            _ => causes.extend(dns_1035(name, false).iter().map(|problem| invalid(&field, name, problem))),
        }
    }
    for key in ["shortNames", "categories"] {
        for (index, name) in items(names, key).iter().filter_map(Value::as_str).enumerate() {
            let field = format!("spec.names.{key}[{index}]");
            causes.extend(dns_1035(name, false).iter().map(|problem| invalid(&field, name, problem)));
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        causes.push(invalid("spec.names.listKind", kind, "kind and listKind may not be the same"));
    }
    causes
}

fn versions(spec: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.versions";
    let mut causes = Vec::new();
    let versions = items(spec, "versions");
    let mut seen = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        let name = text(version, "name");
        causes.extend(dns_1035(name, false).iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
        if seen.contains(&name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
        seen.push(name);
        if at(version, "schema.openAPIV3Schema").is_null() {
            causes.push(required(format!("{field}.schema.openAPIV3Schema"), "schemas are required"));
        } else if flag(spec, "preserveUnknownFields") {
            // Reported once, with the field itself.
        } else {
            causes.extend(structural_root(
                at(version, "schema.openAPIV3Schema"),
                &format!("{field}.schema.openAPIV3Schema"),
            ));
        }
        let warning = at(version, "deprecationWarning");
        if !warning.is_null() && !flag(version, "deprecated") {
            let detail = "can only be set for deprecated versions";
            causes.push(invalid(format!("{field}.deprecationWarning"), warning.clone(), detail));
        }
        causes.extend(scale(at(version, "subresources.scale"), &format!("{field}.subresources.scale")));
        for (at, column) in items(version, "additionalPrinterColumns").iter().enumerate() {
            causes.extend(printer_column(column, &format!("{field}.additionalPrinterColumns[{at}]")));
        }
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        let value = at(spec, "versions").clone();
        causes.push(invalid(FIELD, value, "must have exactly one version marked as storage version"));
    }
    causes
}

/// The root of a schema is an object with a type.
fn structural_root(schema: &Value, field: &str) -> Vec<Cause> {
    match text(schema, "type") {
        "object" => Vec::new(),
        "" => vec![required(format!("{field}.type"), "must not be empty at the root")],
        other => vec![invalid(format!("{field}.type"), other, "must be object at the root")],
    }
}

fn scale(scale: &Value, field: &str) -> Vec<Cause> {
    if scale.is_null() {
        return Vec::new();
    }
    let mut causes = Vec::new();
    for (key, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        match text(scale, key) {
            "" => causes.push(required(format!("{field}.{key}"), "")),
            path if !path.starts_with(root) => {
                let root = root.trim_end_matches('.');
                causes.push(invalid(format!("{field}.{key}"), path, &format!("should be a json path under {root}")));
            }
            _ => {}
        }
    }
    let selector = text(scale, "labelSelectorPath");
    if !selector.is_empty() && !selector.starts_with(".spec.") && !selector.starts_with(".status.") {
        let detail = "should be a json path under either .spec or .status";
        causes.push(invalid(format!("{field}.labelSelectorPath"), selector, detail));
    }
    causes
}

fn printer_column(column: &Value, field: &str) -> Vec<Cause> {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let mut causes = Vec::new();
    if text(column, "name").is_empty() {
        causes.push(required(format!("{field}.name"), ""));
    }
    match text(column, "type") {
        "" => causes.push(required(format!("{field}.type"), &format!("must be one of {}", TYPES.join(",")))),
        kind if TYPES.contains(&kind) => {}
        kind => causes.push(invalid(format!("{field}.type"), kind, &format!("must be one of {}", TYPES.join(",")))),
    }
    let format = text(column, "format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        causes.push(invalid(format!("{field}.format"), format, &format!("must be one of {}", FORMATS.join(","))));
    }
    if text(column, "jsonPath").is_empty() {
        causes.push(required(format!("{field}.jsonPath"), ""));
    }
    causes
}

fn conversion(conversion: &Value, preserve: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match text(conversion, "strategy") {
        "" | "None" => {
            if !at(conversion, "webhook").is_null() {
                let detail = "should not be set when strategy is not set to Webhook";
                causes.push(forbidden("spec.conversion.webhook", detail));
            }
        }
        "Webhook" => {
            causes.extend(client_config(at(conversion, "webhook.clientConfig")));
            causes.extend(review_versions(items(conversion, "webhook.conversionReviewVersions")));
        }
        other => causes.push(not_supported("spec.conversion.strategy", other, &["None", "Webhook"])),
    }
    if preserve == &Value::Bool(true) {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.push(invalid("spec.preserveUnknownFields", true, detail));
    }
    causes
}

/// Paths of causes are those of the internal type, as upstream's are.
fn client_config(config: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.conversion.webhookClientConfig";
    if config.is_null() {
        return vec![required(FIELD, "required when strategy is set to Webhook")];
    }
    let mut causes = Vec::new();
    let service = at(config, "service");
    match (at(config, "url").as_str(), service.is_object()) {
        (None, false) | (Some(_), true) => {
            causes.push(required(FIELD, "exactly one of url or service is required"));
        }
        (Some(url), false) => {
            let host = url.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
            match host {
                None => {
                    let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                    causes.push(invalid(format!("{FIELD}.url"), url, detail));
                }
                Some("") => {
                    let detail = "host must be specified; desired format: https://host[/path]";
                    causes.push(invalid(format!("{FIELD}.url"), url, detail));
                }
                Some(_) => {}
            }
        }
        (None, true) => {
            for (key, detail) in [("name", "service name is required"), ("namespace", "service namespace is required")]
            {
                if text(service, key).is_empty() {
                    causes.push(required(format!("{FIELD}.service.{key}"), detail));
                }
            }
            let path = text(service, "path");
            if !path.is_empty() && !path.starts_with('/') {
                causes.push(invalid(format!("{FIELD}.service.path"), path, "must start with a '/'"));
            }
            let port = at(service, "port").as_i64().unwrap_or(443);
            if !(1..=65_535).contains(&port) {
                let detail = "port is not valid: must be between 1 and 65535, inclusive";
                causes.push(invalid(format!("{FIELD}.service.port"), port, detail));
            }
        }
    }
    causes
}

fn review_versions(versions: &[Value]) -> Vec<Cause> {
    const FIELD: &str = "spec.conversion.conversionReviewVersions";
    if versions.is_empty() {
        return vec![required(FIELD, "")];
    }
    let mut causes = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let (field, name) = (format!("{FIELD}[{index}]"), version.as_str().unwrap_or_default());
        if versions[..index].contains(version) {
            causes.push(invalid(field, name, "duplicate version"));
        } else {
            causes.extend(dns_1035(name, false).iter().map(|problem| invalid(&field, name, problem)));
        }
    }
    if !versions.iter().any(|version| matches!(version.as_str(), Some("v1" | "v1beta1"))) {
        causes.push(invalid(FIELD, Value::Array(versions.to_vec()), "must include at least one of v1, v1beta1"));
    }
    causes
}

/// Groups of the Kubernetes community need its approval (KEP 1111).
fn approved(object: &Value, group: &str) -> Option<Cause> {
    const KEY: &str = "api-approved.kubernetes.io";
    let protected = [".k8s.io", ".kubernetes.io"].iter().any(|suffix| group.ends_with(suffix))
        || matches!(group, "k8s.io" | "kubernetes.io");
    let approval = at(object, "metadata.annotations").get(KEY).and_then(Value::as_str).unwrap_or_default();
    let approved =
        approval.starts_with("unapproved") || approval.starts_with("https://") || approval.starts_with("http://");
    (protected && !approved).then(|| {
        let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
        required(format!("metadata.annotations[{KEY}]"), detail)
    })
}

fn validate_update(object: &Value, old: &Value) -> Vec<Cause> {
    let established = items(old, "status.conditions")
        .iter()
        .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True");
    let mut fixed = vec!["spec.group", "spec.names.plural"];
    if established {
        fixed.extend(["spec.names.kind", "spec.scope"]);
    }
    let changed = |path: &&str| at(object, path) != at(old, path);
    fixed.into_iter().filter(changed).map(|path| immutable(path, at(object, path))).collect()
}

fn stored_versions(object: &Value) -> Vec<Cause> {
    const FIELD: &str = "status.storedVersions";
    let stored = items(object, "status.storedVersions");
    let mut causes = Vec::new();
    if stored.is_empty() {
        causes.push(invalid(FIELD, json!([]), "must have at least one stored version"));
    }
    let versions = items(object, "spec.versions");
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| &version["name"] == name) {
            let detail = "must appear in spec.versions";
            causes.push(invalid(format!("{FIELD}[{index}]"), name.clone(), detail));
        }
    }
    let storage = versions.iter().find(|version| flag(version, "storage")).map(|version| &version["name"]);
    if let Some(storage) = storage.filter(|storage| !stored.contains(storage)) {
        let value = at(object, "status.storedVersions").clone();
        causes.push(invalid(
            FIELD,
            value,
            &format!("must have the storage version {}", storage.as_str().unwrap_or_default()),
        ));
    }
    causes
}

fn warnings(object: &Value, _: &Context<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, version) in items(object, "spec.versions").iter().enumerate() {
        if !is_empty(at(version, "deprecationWarning")) && !flag(version, "served") {
            warnings.push(format!(
                "spec.versions[{index}].deprecationWarning: has no effect on a version that is not served"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use world::Timestamp;

    fn crd() -> Value {
        json!({
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        })
    }

    fn check(mut object: Value, old: Option<Value>) -> Vec<String> {
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: old.as_ref(), subresource: "" };
        default(&mut object, &context);
        validate(&object, &context).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn names_are_filled_in() {
        let mut object = crd();
        let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
        default(&mut object, &context);
        assert_eq!(
            object["spec"]["names"],
            json!({"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"})
        );
        assert_eq!(object["spec"]["conversion"], json!({"strategy": "None"}));
        (KIND.prepare_create)(&mut object, &context);
        assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
        assert!(check(crd(), None).is_empty());
    }

    #[test]
    fn no_version_need_be_served() {
        let mut object = crd();
        object["spec"]["versions"][0]["served"] = json!(false);
        assert!(check(object, None).is_empty());
    }

    #[test]
    fn broken_definitions_are_refused() {
        let cases: [(&str, Value, &str); 8] = [
            (
                "/metadata/name",
                json!("x"),
                r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#,
            ),
            (
                "/spec/scope",
                json!("Galaxy"),
                r#"spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced""#,
            ),
            ("/spec/versions/0/storage", json!(false), "must have exactly one version marked as storage version"),
            ("/spec/versions/0/name", json!("V1"), "spec.versions[0].name: Invalid value: \"V1\": a DNS-1035 label"),
            ("/spec/versions/0/schema/openAPIV3Schema/type", json!("string"), "must be object at the root"),
            (
                "/spec/versions/0/schema",
                json!({}),
                "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            ),
            ("/spec/names/kind", json!("Wid_get"), "may have mixed case, but should otherwise match"),
            (
                "/spec/versions",
                json!([]),
                "status.storedVersions: Invalid value: null: must have at least one stored version",
            ),
        ];
        for (path, value, expected) in cases {
            let mut object = crd();
            *object.pointer_mut(path).unwrap() = value;
            let found = check(object, None);
            assert!(found.iter().any(|cause| cause.contains(expected)), "{path}: {found:?}");
        }
    }

    #[test]
    fn what_is_established_keeps_its_shape() {
        let mut old = crd();
        old["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        let mut new = crd();
        new["spec"]["scope"] = json!("Cluster");
        assert_eq!(check(new, Some(old)), [r#"spec.scope: Invalid value: "Cluster": field is immutable"#]);
    }
}
