//! OpenAPI documents of a group and version (v3) and of everything (v2), as kubectl reads them.
//!
//! Built on demand from the same schemas that decode and validate; the caller caches and hashes. Without prose: the
//! table has none. Version differences of the notation are in [`Flavour`], nowhere else.

mod paths;
mod protobuf;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::model::{Minor, TypeId, model};
use crate::schema::Schema;

pub use protobuf::openapi_v2_protobuf;

/// One served kind.
#[derive(Clone, Debug)]
pub struct OpenApiKind {
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    /// The OpenAPI name of a built-in type, `io.k8s.api.core.v1.Pod`; for a custom resource any unique name in the same
    /// notation, `com.example.stable.v1.CronTab`.
    pub type_name: String,
    pub schema: Schema,
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

/// The document of one group and version, served at `/openapi/v3/apis/<group>/<version>`.
pub fn openapi_v3(group: &str, version: &str, kinds: &[OpenApiKind], minor: Minor) -> Value {
    let groups = [OpenApiGroup { group, version, kinds }];
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": format!("v1.{minor}.0") },
        "paths": paths::paths(Flavour::V3, &groups),
        "components": { "schemas": schemas(Flavour::V3, &groups, minor) },
    })
}

/// The document of all groups, served at `/openapi/v2`.
pub fn openapi_v2(groups: &[OpenApiGroup<'_>], minor: Minor) -> Value {
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": format!("v1.{minor}.0") },
        "paths": paths::paths(Flavour::V2, groups),
        "definitions": schemas(Flavour::V2, groups, minor),
    })
}

/// Schemas of the kinds, of their lists, and of all types that they lead to.
fn schemas(flavour: Flavour, groups: &[OpenApiGroup<'_>], minor: Minor) -> Map<String, Value> {
    let mut out = Map::new();
    let mut reached = BTreeSet::new();
    let mut queue: Vec<TypeId> = paths::shared_types().filter_map(|name| model().by_full_name(name)).collect();
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
                    out.insert(kind.type_name.clone(), types::custom(flavour, source));
                    out.insert(list, types::custom_list(flavour, &kind.type_name));
                }
                (None, None) => {}
            }
        }
    }
    while let Some(id) = queue.pop() {
        if reached.insert(id) {
            let def = model().get(id);
            out.insert(def.full_name(), types::builtin(flavour, def, minor, &mut queue));
        }
    }
    for (name, kinds) in served {
        if let Some(Value::Object(schema)) = out.get_mut(&name) {
            schema.insert("x-kubernetes-group-version-kind".to_owned(), Value::Array(kinds));
        }
    }
    out
}
