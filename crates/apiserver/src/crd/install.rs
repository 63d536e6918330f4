//! A definition becomes rows of the registry, or ceases to be.

use std::sync::Arc;

use k8s_object::{GroupVersionKind, Object};
use k8s_schema::Schema;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::convert::Webhook;
use super::{Custom, CustomColumn, Scale, is_established};
use crate::fields::Extractor;
use crate::jsonpath::JsonPath;
use crate::registry::{Definition, Registry, Resource, Strategy, Subresource, compare_versions};
use crate::schema::TypeSchema;

const READ_WRITE: &[&str] = &["get", "patch", "update"];

/// Serves what a definition says from now on; `None` when it is gone.
pub(crate) fn changed(registry: &Registry, name: &str, definition: Option<&Object>, revision: i64) {
    match definition {
        Some(definition) if is_established(definition) => install(registry, &definition.value(), revision),
        _ => {
            if let Some((plural, group)) = name.split_once('.') {
                registry.uninstall(group, plural, revision);
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn install(registry: &Registry, definition: &Value, revision: i64) {
    let versions = definition["spec"]["versions"].as_array().cloned().unwrap_or_default();
    let mut selectable: Vec<String> = versions.iter().flat_map(selectable_fields).collect();
    selectable.sort();
    selectable.dedup();
    let webhook = Webhook::of(&definition["spec"]["conversion"]).map(Arc::new);
    let differs = versions.windows(2).any(|pair| pair[0]["schema"] != pair[1]["schema"]);
    let now = registry.served();
    let mut resources: Vec<(bool, Arc<Resource>)> = versions
        .iter()
        .map(|version| {
            let mut resource = resource(definition, version, webhook.clone(), differs);
            resource.served &= !now.is_built_in(&resource.group, &resource.version);
            (version["storage"] == true, Arc::new(resource))
        })
        .collect();
    resources.sort_by(|(_, a), (_, b)| compare_versions(&b.version, &a.version));
    // Validation requires exactly one.
    let storage = resources.iter().position(|(storage, _)| *storage).unwrap_or(0);
    let resources = resources.into_iter().map(|(_, resource)| resource).collect();
    let digest = Sha256::new().chain_update(definition["spec"].to_string());
    let digest = digest.chain_update(definition["status"]["acceptedNames"].to_string()).finalize();
    let identity = Definition { uid: text(&definition["metadata"]["uid"]), digest: digest.into() };
    registry.install(identity, resources, storage, Extractor::paths(selectable), revision);
}

fn selectable_fields(version: &Value) -> Vec<String> {
    let fields = version["selectableFields"].as_array().into_iter().flatten();
    fields.map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned()).collect()
}

/// What clients are warned of that use a version which says no more than that it is deprecated (apiextensions
/// `defaultDeprecationWarning`).
fn deprecated(spec: &Value, version: &str) -> String {
    let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
    let own = format!("{group}/{version} {kind} is deprecated");
    let versions = spec["versions"].as_array().into_iter().flatten();
    let better = versions.filter(|other| other["served"] == true && other["deprecated"] != true);
    let better = better.filter_map(|other| other["name"].as_str());
    let better = better.filter(|other| compare_versions(version, other).is_lt());
    match better.max_by(|a, b| compare_versions(a, b)) {
        Some(better) => format!("{own}; use {group}/{better} {kind}"),
        None => own,
    }
}

fn resource(definition: &Value, version: &Value, conversion: Option<Arc<Webhook>>, differs: bool) -> Resource {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let subresources = &version["subresources"];
    let has_status = subresources["status"].is_object();
    let scale = subresources["scale"].as_object().map(|scale| {
        let path = |key: &str| scale.get(key).and_then(Value::as_str).map(field_names);
        Scale {
            spec: path("specReplicasPath").unwrap_or_default(),
            status: path("statusReplicasPath").unwrap_or_default(),
            selector: path("labelSelectorPath"),
        }
    });
    let mut below = Vec::new();
    if has_status {
        below.push(Subresource { name: "status".into(), kind: None, verbs: READ_WRITE });
    }
    if scale.is_some() {
        let kind = Some(GroupVersionKind::of("autoscaling", "v1", "Scale"));
        below.push(Subresource { name: "scale".into(), kind, verbs: READ_WRITE });
    }
    let terminating = definition["metadata"]["deletionTimestamp"].is_string();
    let deprecation = (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
        Some(own) => own.to_owned(),
        None => deprecated(spec, version["name"].as_str().unwrap_or("")),
    });
    let selectable = selectable_fields(version);
    let custom = Custom { columns: columns(version), has_status, scale, terminating, conversion, differs, selectable };
    Resource {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        plural: text(&spec["names"]["plural"]),
        singular: text(&names["singular"]),
        kind: text(&names["kind"]),
        list_kind: text(&names["listKind"]),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: k8s_kinds::ALL_VERBS,
        deprecation,
        served: version["served"] == true,
        subresources: below,
        strategy: Strategy::Custom(custom),
        // Validation has read it once already; a definition from older storage that cannot be read takes any fields.
        schema: TypeSchema(Schema::from_crd(&version["schema"]["openAPIV3Schema"]).ok()),
    }
}

fn field_names(path: &str) -> Vec<String> {
    path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn columns(version: &Value) -> Vec<CustomColumn> {
    let declared = version["additionalPrinterColumns"].as_array().into_iter().flatten();
    let columns = declared.filter_map(|column| {
        Some(CustomColumn {
            name: text(&column["name"]),
            kind: text(&column["type"]),
            format: text(&column["format"]),
            description: match column["description"].as_str() {
                None | Some("") => {
                    format!("Custom resource definition column (in JSONPath format): {}", text(&column["jsonPath"]))
                }
                Some(own) => own.to_owned(),
            },
            priority: column["priority"].as_i64().unwrap_or(0),
            path: JsonPath::parse(column["jsonPath"].as_str()?).ok()?,
        })
    });
    let columns: Vec<CustomColumn> = columns.collect();
    if !columns.is_empty() || version["additionalPrinterColumns"].is_array() {
        return columns;
    }
    // What upstream shows when nothing is declared.
    let path = JsonPath::parse(".metadata.creationTimestamp").expect("a valid path");
    let description = "CreationTimestamp is a timestamp representing the server time when this object was created.";
    vec![CustomColumn {
        name: "Age".into(),
        kind: "date".into(),
        format: String::new(),
        description: description.into(),
        priority: 0,
        path,
    }]
}
