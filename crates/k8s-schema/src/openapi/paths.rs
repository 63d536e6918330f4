//! Paths and operations: where a kind is, which verbs it has, and which query parameters they take. kubectl reads from
//! them the kind behind a resource name and whether `fieldValidation` and `dryRun` are known.

use serde_json::{Map, Value, json};

use super::{Flavour, OpenApiGroup, OpenApiKind};
use crate::model::model;

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// Types that operations of every kind refer to.
pub(super) fn shared_types() -> impl Iterator<Item = &'static str> {
    [DELETE_OPTIONS, STATUS].into_iter()
}

/// Query parameters with their JSON type.
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const PATCHING: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];

const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

pub(super) fn list_name(type_name: &str) -> String {
    format!("{type_name}List")
}

pub(super) fn paths(flavour: Flavour, groups: &[OpenApiGroup<'_>]) -> Map<String, Value> {
    let mut out = Map::new();
    for group in groups {
        let root = match group.group {
            "" => format!("/api/{}", group.version),
            name => format!("/apis/{name}/{}", group.version),
        };
        for kind in group.kinds {
            let writer = Writer { flavour, group, kind };
            let listed = !kind.schema.is_builtin() || model().by_full_name(&list_name(&kind.type_name)).is_some();
            let collection = match kind.namespaced {
                true => format!("{root}/namespaces/{{namespace}}/{}", kind.plural),
                false => format!("{root}/{}", kind.plural),
            };
            let mut parameters = Vec::new();
            if !listed {
                // A review or a binding: it is created, and never read back.
                parameters.extend(kind.namespaced.then(|| writer.path_parameter("namespace")));
                out.insert(collection, json!({ "parameters": parameters, "post": writer.create() }));
                continue;
            }
            if kind.namespaced {
                out.insert(format!("{root}/{}", kind.plural), json!({ "get": writer.list("ForAllNamespaces") }));
                parameters.push(writer.path_parameter("namespace"));
            }
            out.insert(collection.clone(), writer.collection(&parameters));
            parameters.push(writer.path_parameter("name"));
            out.insert(format!("{collection}/{{name}}"), writer.item(&parameters));
        }
    }
    out
}

struct Writer<'a> {
    flavour: Flavour,
    group: &'a OpenApiGroup<'a>,
    kind: &'a OpenApiKind,
}

impl Writer<'_> {
    fn path_parameter(&self, name: &str) -> Value {
        self.parameter("path", name, "string")
    }

    fn parameter(&self, place: &str, name: &str, ty: &str) -> Value {
        let mut parameter = json!({ "name": name, "in": place, "uniqueItems": true });
        if place == "path" {
            parameter["required"] = json!(true);
        }
        match self.flavour {
            Flavour::V2 => parameter["type"] = json!(ty),
            Flavour::V3 => parameter["schema"] = json!({ "type": ty, "uniqueItems": true }),
        }
        parameter
    }

    fn collection(&self, parameters: &[Value]) -> Value {
        json!({
            "parameters": parameters,
            "get": self.list(""),
            "post": self.create(),
            "delete": self.operation("deletecollection", "deleteCollection", "", DELETE, Some(DELETE_OPTIONS), STATUS),
        })
    }

    fn create(&self) -> Value {
        let name = self.kind.type_name.as_str();
        self.operation("post", "create", "", WRITE, Some(name), name)
    }

    fn item(&self, parameters: &[Value]) -> Value {
        let name = self.kind.type_name.as_str();
        json!({
            "parameters": parameters,
            "get": self.operation("get", "read", "", &[], None, name),
            "put": self.operation("put", "replace", "", WRITE, Some(name), name),
            "patch": self.operation("patch", "patch", "", PATCHING, Some(PATCH), name),
            "delete": self.operation("delete", "delete", "", DELETE, Some(DELETE_OPTIONS), STATUS),
        })
    }

    fn list(&self, suffix: &str) -> Value {
        self.operation("list", "list", suffix, LIST, None, &list_name(&self.kind.type_name))
    }

    fn operation(
        &self,
        action: &str,
        verb: &str,
        suffix: &str,
        query: &[(&str, &str)],
        body: Option<&str>,
        answer: &str,
    ) -> Value {
        let group = self.group.group;
        let scope = if self.kind.namespaced && suffix.is_empty() { "Namespaced" } else { "" };
        let mut parameters: Vec<Value> = query.iter().map(|(name, ty)| self.parameter("query", name, ty)).collect();
        let mut operation = json!({
            "operationId": format!("{verb}{}{}{scope}{}{suffix}", camel(if group.is_empty() { "core" } else { group }), camel(self.group.version), self.kind.kind),
            "tags": [tag(group, self.group.version)],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": { "group": group, "version": self.group.version, "kind": self.kind.kind },
        });
        let reference = |name: &str| match name {
            PATCH => json!({ "type": "object" }),
            name => self.flavour.reference(name),
        };
        match self.flavour {
            Flavour::V2 => {
                if let Some(body) = body {
                    let required = !matches!(body, DELETE_OPTIONS);
                    parameters
                        .push(json!({ "name": "body", "in": "body", "required": required, "schema": reference(body) }));
                }
                operation["consumes"] = if body == Some(PATCH) { json!(PATCH_TYPES) } else { json!(["*/*"]) };
                operation["produces"] = json!(["application/json", "application/yaml"]);
                operation["responses"] = json!({ "200": { "description": "OK", "schema": reference(answer) } });
            }
            Flavour::V3 => {
                if let Some(body) = body {
                    let types: &[&str] = if body == PATCH { PATCH_TYPES } else { &["*/*"] };
                    let content: Map<String, Value> =
                        types.iter().map(|ty| ((*ty).to_owned(), json!({ "schema": reference(body) }))).collect();
                    operation["requestBody"] = json!({ "content": content });
                }
                let content = json!({ "application/json": { "schema": reference(answer) } });
                operation["responses"] = json!({ "200": { "description": "OK", "content": content } });
            }
        }
        operation["parameters"] = Value::Array(parameters);
        operation
    }
}

/// `apps`, `v1` is `apps_v1`; the core group is `core_v1`.
fn tag(group: &str, version: &str) -> String {
    format!("{}_{version}", if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) })
}

fn camel(text: &str) -> String {
    text.split(['.', '-'])
        .next()
        .into_iter()
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect()
}
