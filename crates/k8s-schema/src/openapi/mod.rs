//! OpenAPI documents of a group and version (v3) and of everything (v2), as kubectl reads them.
//!
//! Built on demand from the same schemas that decode and validate; the caller caches and hashes. Version differences of the
//! notation are in [`Flavour`], nowhere else.

mod connect;
mod convert;
mod descriptions;
mod gnostic;
mod merge;
mod paths;
mod server;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

pub use convert::openapi_v3_of_v2;
pub use merge::{keep_openapi_v2_paths, merge_openapi_v2};
pub use server::OPENAPI_ABOUT_THE_SERVER;

use crate::model::{Minor, TypeDef, TypeId, model};
use crate::schema::Schema;

/// Says which kinds a schema is of.
const KINDS: &str = "x-kubernetes-group-version-kind";

/// Says which fields of a custom resource selectors may name.
const SELECTABLE: &str = "x-kubernetes-selectable-fields";

/// One served kind.
#[derive(Clone, Debug)]
pub struct OpenApiKind {
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    /// Whether all of its objects can be deleted at once.
    pub deletes_collection: bool,
    /// Whether its objects can be read and nothing else, not even watched.
    pub read_only: bool,
    /// The OpenAPI name of a built-in type, `io.k8s.api.core.v1.Pod`; for a custom resource any unique name in the same
    /// notation, `com.example.stable.v1.CronTab`.
    pub type_name: String,
    pub schema: Schema,
    pub subresources: Vec<OpenApiSubresource>,
    /// Paths of the fields of a custom resource that selectors may name, `spec.color`.
    pub selectable: Vec<String>,
}

/// A resource below the objects of a kind.
#[derive(Clone, Debug)]
pub struct OpenApiSubresource {
    pub name: String,
    /// Of what is read and written there.
    pub group: String,
    pub version: String,
    pub kind: String,
    /// Its OpenAPI name: that of a built-in type, or of the kind itself.
    pub type_name: String,
    /// As discovery tells them.
    pub verbs: Vec<String>,
}

/// The served kinds of one group (empty for core) and version.
#[derive(Clone, Copy, Debug)]
pub struct OpenApiGroup<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kinds: &'a [OpenApiKind],
}

/// The two notations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    V2,
    V3,
}

impl Flavour {
    fn reference(self, name: &str) -> Value {
        let folder = match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        };
        json!({ "$ref": format!("{folder}{name}") })
    }
}

fn info(minor: Minor) -> Value {
    json!({ "title": "Kubernetes", "version": format!("v1.{minor}.0") })
}

fn bearer_token() -> Value {
    json!({ "BearerToken": {
        "type": "apiKey", "name": "authorization", "in": "header", "description": "A token in a header.",
    } })
}

fn v3(paths: &Value, schemas: &Value, minor: Minor) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": info(minor),
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": bearer_token() },
    })
}

/// The document of one group and version, served at `/openapi/v3/apis/<group>/<version>`.
pub fn openapi_v3(group: &str, version: &str, kinds: &[OpenApiKind], minor: Minor) -> Value {
    let groups = [OpenApiGroup { group, version, kinds }];
    let paths = Value::Object(paths::paths(Flavour::V3, &groups, minor));
    v3(&paths, &Value::Object(schemas(Flavour::V3, &groups, minor)), minor)
}

/// The document of what is above the versions, served at `/openapi/v3/<about>`: `api`, `apis`, `apis/<group>`, or one of
/// [`OPENAPI_ABOUT_THE_SERVER`].
pub fn openapi_v3_root(about: &str, minor: Minor) -> Option<Value> {
    if let Some((path, item, schemas)) = server::root(Flavour::V3, about) {
        return Some(v3(&json!({ path: item }), &Value::Object(schemas), minor));
    }
    let (path, item, answer) = paths::root(Flavour::V3, about)?;
    let mut out = Map::new();
    reach(Flavour::V3, model().by_full_name(answer).into_iter().collect(), minor, &mut out);
    Some(v3(&json!({ path: item }), &Value::Object(out), minor))
}

/// The document of all groups, served at `/openapi/v2`.
pub fn openapi_v2(groups: &[OpenApiGroup<'_>], minor: Minor) -> Value {
    let mut paths = paths::paths(Flavour::V2, groups, minor);
    let mut definitions = schemas(Flavour::V2, groups, minor);
    let mut roots: Vec<String> = vec!["api".to_owned(), "apis".to_owned()];
    roots.extend(groups.iter().filter(|group| !group.group.is_empty()).map(|group| format!("apis/{}", group.group)));
    roots.dedup();
    for (path, item, answer) in roots.iter().filter_map(|about| paths::root(Flavour::V2, about)) {
        paths.insert(path, item);
        reach(Flavour::V2, model().by_full_name(answer).into_iter().collect(), minor, &mut definitions);
    }
    for (path, item, schemas) in OPENAPI_ABOUT_THE_SERVER.iter().filter_map(|about| server::root(Flavour::V2, about)) {
        paths.insert(path, item);
        definitions.extend(schemas);
    }
    json!({
        "swagger": "2.0",
        "info": info(minor),
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": bearer_token(),
        "security": [{ "BearerToken": [] }],
    })
}

/// The same document as gnostic's message.
pub fn openapi_v2_protobuf(document: &Value) -> Vec<u8> {
    gnostic::v2::document(document)
}

/// A v3 document, as [`openapi_v3`] and [`openapi_v3_root`] make them, as gnostic's message.
pub fn openapi_v3_protobuf(document: &Value) -> Vec<u8> {
    gnostic::v3::document(document)
}

/// Schemas of the kinds, of their lists, and of all types that they lead to.
fn schemas(flavour: Flavour, groups: &[OpenApiGroup<'_>], minor: Minor) -> Map<String, Value> {
    let mut out = Map::new();
    // What can only be created is never deleted or watched.
    let is_kept = groups.iter().any(|group| group.kinds.iter().any(paths::is_listed));
    let shared = paths::shared_types(is_kept).filter_map(|name| model().by_full_name(name));
    let mut queue: Vec<TypeId> = shared.collect();
    let mut served: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for group in groups {
        for kind in group.kinds {
            let gvk = |kind: &str| json!({ "group": group.group, "version": group.version, "kind": kind });
            served.entry(kind.type_name.clone()).or_default().push(gvk(&kind.kind));
            let list = paths::list_name(&kind.type_name);
            served.entry(list.clone()).or_default().push(gvk(&format!("{}List", kind.kind)));
            match (kind.schema.builtin_id(), kind.schema.source()) {
                (Some(id), _) => queue.extend([Some(id), model().by_full_name(&list)].into_iter().flatten()),
                (None, Some(source)) => {
                    queue.extend(model().by_full_name(types::OBJECT_META));
                    queue.extend(model().by_full_name(types::LIST_META));
                    let mut schemas = [types::custom(flavour, source), types::custom_list(flavour, &kind.type_name)];
                    if !kind.selectable.is_empty() {
                        let fields = kind.selectable.iter().map(|path| json!({ "fieldPath": path }));
                        let fields: Value = fields.collect();
                        schemas.iter_mut().for_each(|schema| schema[SELECTABLE] = fields.clone());
                    }
                    let [own, of_list] = schemas;
                    out.insert(kind.type_name.clone(), own);
                    out.insert(list, of_list);
                }
                (None, None) => {}
            }
            let sent =
                |below: &&OpenApiSubresource| below.type_name != kind.type_name && !connect::leads_elsewhere(below);
            for subresource in kind.subresources.iter().filter(sent) {
                queue.extend(model().by_full_name(&subresource.type_name));
                let gvk = json!({
                    "group": subresource.group, "version": subresource.version, "kind": subresource.kind,
                });
                let known = served.entry(subresource.type_name.clone()).or_default();
                if !known.contains(&gvk) {
                    known.push(gvk);
                }
            }
        }
    }
    reach(flavour, queue, minor, &mut out);
    if is_kept {
        out.insert(paths::PATCH.to_owned(), json!({ "type": "object", "description": "A change to an object." }));
    }
    for (name, kinds) in served {
        if let Some(Value::Object(schema)) = out.get_mut(&name).filter(|_| !kinds.is_empty()) {
            schema.insert(KINDS.to_owned(), Value::Array(kinds));
        }
    }
    out
}

/// Adds the schemas of types and of all that they lead to.
fn reach(flavour: Flavour, mut queue: Vec<TypeId>, minor: Minor, out: &mut Map<String, Value>) {
    let mut reached = BTreeSet::new();
    while let Some(id) = queue.pop() {
        if reached.insert(id) {
            let def = model().get(id);
            let mut schema = types::builtin(flavour, def, minor, &mut queue);
            let kinds = kinds_of(def, id, minor);
            if !kinds.is_empty() {
                schema[KINDS] = Value::Array(kinds);
            }
            out.insert(def.full_name(), schema);
        }
    }
}

/// Groups with kinds that no API server of this kind registers for its own.
const ELSEWHERE: [&str; 5] =
    ["apidiscovery.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io", "meta.k8s.io", "metrics.k8s.io"];

/// The kinds that a type is, whether they are served there or not.
fn kinds_of(def: &TypeDef, id: TypeId, minor: Minor) -> Vec<Value> {
    let all = crate::model::kinds().iter().filter(|entry| (entry.since..=entry.until).contains(&minor));
    let gvk = |group: &str, version: &str| json!({ "group": group, "version": version, "kind": def.name });
    match (def.package.short, def.name) {
        ("meta/v1", "APIGroup" | "APIGroupList" | "APIResourceList" | "APIVersions" | "Status") => vec![gvk("", "v1")],
        // These are kinds of every group and version.
        ("meta/v1", "DeleteOptions" | "WatchEvent") => {
            let places: BTreeSet<(&str, &str)> = all.map(|entry| (entry.group, entry.version)).collect();
            places.into_iter().filter(|(group, _)| !ELSEWHERE.contains(group)).map(|(g, v)| gvk(g, v)).collect()
        }
        _ => all.filter(|entry| entry.id == id).map(|entry| gvk(entry.group, entry.version)).collect(),
    }
}
